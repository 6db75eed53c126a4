"""Progress, time left, notes, links, and the host's own layers in place of torch's."""

import os
import types
import warnings

import pytest
import torch
from torch import nn


@pytest.fixture
def runtime(part):
    return part("nodes.runtime")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min 01 s"), (3600, "1 h 00 min"), (9999, "2 h 46 min")]
)
def test_durations_read_like_durations(seconds, text, runtime):
    assert runtime.duration(seconds) == text


def test_progress_tells_step_and_time_left_on_its_node(runtime, monkeypatch):
    said = []
    monkeypatch.setattr(runtime, "say", lambda node, text: said.append((node, text)))
    progress = runtime.StepProgress("7")
    for step in (1, 2):
        progress(types.SimpleNamespace(step=step, steps=2))
    assert [node for node, _ in said] == ["7", "7"]
    assert said[0][1].startswith("step 1/2") and said[1][1].endswith("0 s left")


def test_links_to_an_output_are_seen_and_others_are_not(runtime):
    graph = {
        "1": {"inputs": {}},
        "2": {"inputs": {"mask": ["1", 1], "number": 5}},
        "3": {"inputs": {"router": ["1", 0], "list": ["1", 1, 2]}},
    }
    assert runtime.connected("1", (1, 2), graph)
    assert runtime.connected("1", (0,), graph)
    assert not runtime.connected("1", (2,), graph)
    assert not runtime.connected("2", (1,), graph)


def test_warnings_of_the_pack_become_notes_and_others_stay_warnings(runtime):
    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("always")
        with runtime.listening(None) as notes:
            warnings.warn_explicit("no face in Ben", UserWarning, str(runtime.PACK / "byav_core" / "x.py"), 1)
            warnings.warn_explicit("old way", FutureWarning, "/elsewhere/torch.py", 1)
    assert notes == ["no face in Ben"]
    assert [str(other.message) for other in others] == ["old way"]


def test_bare_tensors_beside_child_modules_are_brought(runtime):
    class WithBare(nn.Module):
        def __init__(self):
            super().__init__()
            self.latents, self.child = nn.Parameter(torch.zeros(2)), nn.Linear(2, 3)
            self.register_buffer("table", torch.zeros(4))

    module = WithBare()
    runtime.bring_bare_tensors(module, torch.device("meta"))
    assert module.latents.device.type == module.table.device.type == "meta"


def test_the_hosts_layers_compute_what_torchs_do(runtime, host):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(5, 6), nn.LayerNorm(6), nn.Unflatten(1, (6, 1)), nn.Conv1d(6, 7, 1), nn.GroupNorm(7, 7)
    )
    x = torch.randn(3, 5)
    plain = net(x)
    runtime.give_to_comfy_ops(net)
    torch.testing.assert_close(net(x), plain)


@pytest.mark.skipif(
    "COMFYUI_PATH" not in os.environ, reason="only ComfyUI's own layers fetch weights; set COMFYUI_PATH"
)
def test_weights_in_half_precision_serve_inputs_in_full(runtime, host):
    net = nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6)).to(torch.bfloat16)
    runtime.give_to_comfy_ops(net)
    assert net(torch.randn(3, 5)).dtype == torch.float32


def test_precision_auto_is_full_on_a_cpu(runtime, host):
    assert runtime.precision("auto") == torch.float32
    assert runtime.precision("bfloat16") == torch.bfloat16


def test_a_package_that_is_not_installed_is_said_with_how_to_install_it(runtime):
    with pytest.raises(ModuleNotFoundError, match="package no_such_package.*requirements.txt"):
        with runtime.told_what_to_install():
            import no_such_package  # noqa: F401
