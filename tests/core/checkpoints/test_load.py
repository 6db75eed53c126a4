"""From a name, a file or a folder to models: what is recognised, where the numbers lie, what is refused."""

import sys
from pathlib import Path

import pytest
import torch
from transformers import ByT5Tokenizer

from byav_core.checkpoints import CheckpointError, detect, load_models, load_network, save_models, save_network
from byav_core.checkpoints import load as loading
from byav_core.checkpoints.tensors import write_safetensors
from byav_core.config import tiny
from byav_core.encoders.untrained import as_words
from byav_core.network import Network
from byav_core.types import Conditioning, Scene

PROMPT = "left blond in blue, still, park"


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """No weights of the network are in the box."""
    monkeypatch.setattr(loading, "TINY", tmp_path / "tiny.safetensors")


def test_tiny_needs_no_files_and_says_that_it_is_untrained(bare):
    models = load_models("tiny")
    assert models.config == models.network.config == tiny()
    assert models.config.trained == "untrained"
    assert models.text(PROMPT).shape == (1, 24, 96)


def test_tiny_is_the_same_each_time_and_leaves_the_random_state_alone(bare, equal_states):
    state = torch.random.get_rng_state()
    one, other = load_models("tiny"), load_models("tiny")
    assert torch.equal(torch.random.get_rng_state(), state)
    equal_states(one.network, other.network)
    assert torch.equal(one.text(PROMPT), other.text(PROMPT))


def test_weights_for_tiny_are_used_when_they_are_there(bare, tmp_path):
    models = load_models("tiny")
    with torch.no_grad():
        models.network.router.norm.weight.fill_(3.0)
    save_models(models, tmp_path / "tiny.safetensors")
    assert (load_models("tiny").network.router.norm.weight == 3.0).all()


def test_tiny_in_half_precision_on_disk_is_whole_in_memory_and_finds_what_lies_beside_it(bare, tmp_path):
    models = load_models("tiny")
    for name in ("text", "video"):
        half = {key: x.half() for key, x in getattr(models, name).module.state_dict().items()}
        said = {"config": as_words(getattr(tiny(), name)), "trained": "drawn world"}
        write_safetensors(half, tmp_path / f"tiny_{name}.safetensors", said)
    save_network(models.network.half(), tmp_path / "tiny.safetensors")
    read = load_models("tiny")
    for module in (read.network, read.text.module, read.video.module):
        assert {tensor.dtype for tensor in module.state_dict().values()} == {torch.float32}
    assert load_network(tmp_path / "tiny.safetensors").transformer.dtype == torch.float16
    torch.testing.assert_close(read.text(PROMPT), models.text(PROMPT), atol=0.02, rtol=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_models_are_in_the_precision_asked_for(bare, dtype, tmp_path):
    save_models(load_models("tiny"), tmp_path / "all.safetensors")
    for models in (load_models("tiny", dtype=dtype), load_models(tmp_path / "all.safetensors", dtype=dtype)):
        for module in (models.network, models.text.module, models.video.module):
            assert {tensor.dtype for tensor in module.state_dict().values()} == {dtype}


def test_the_precision_of_most_numbers_is_that_of_the_network(network, tmp_path):
    mixed = Network.seeded(network.config, seed=3).bfloat16()
    mixed.router.norm.float()
    save_network(mixed, tmp_path / "mixed.safetensors")
    read = load_network(tmp_path / "mixed.safetensors")
    assert {tensor.dtype for tensor in read.state_dict().values()} == {torch.bfloat16}


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_every_parameter_lies_in_the_mapped_file_and_nowhere_else(network, authors_folder, tmp_path):
    """So none of them is in memory twice, nor at all before it is used."""
    save_network(network, tmp_path / "one.safetensors")
    folder = authors_folder(network)
    for path, files in ((tmp_path / "one.safetensors", [tmp_path / "one.safetensors"]), (folder, folder.rglob("*.*"))):
        read = load_network(path)
        mapped = [_extents(file) for file in files]
        for key, tensor in read.state_dict().items():
            address = tensor.data_ptr()
            assert any(first <= address < end for extents in mapped for first, end in extents), key


def test_nothing_is_left_without_numbers(network, tmp_path):
    save_network(network, tmp_path / "one.safetensors")
    read = load_network(tmp_path / "one.safetensors")
    assert {t.device.type for t in (*read.parameters(), *read.buffers())} == {"cpu"}
    assert not read.training


@torch.no_grad()
def test_a_network_from_released_files_computes_the_same(network, authors_folder):
    """Conditions, router and transformer, before and after."""

    def run(network: Network) -> tuple[torch.Tensor, ...]:
        config, generator = network.config, torch.Generator().manual_seed(2)

        def random(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=generator)

        characters = network.face_extractor(random(3, 72), [random(3, 17, 64) for _ in range(5)])[None]
        speech = network.speech_projector(random(2, 17, 5, 3, 72))[None]
        noisy = random(1, 5, config.transformer.in_channels, 8, 12)
        told = Conditioning(random(1, 11, 48), characters, speech, random(1, 2, 3).sigmoid())
        masks = network.router.plan(Scene(network.transformer.grid(noisy), ("a", "b", "c")))
        binding = network.transformer.project(told)
        sample, routed = network.transformer(noisy, told.text, torch.tensor([500]), binding, masks)
        return sample, *(each.mask for each in routed)

    before, after = run(network), run(load_network(authors_folder(network)))
    assert len(before) == 1 + network.config.transformer.face_layers
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)  # sums run otherwise where numbers lie otherwise


@pytest.fixture
def model_folder(authors_folder, released_network) -> Path:
    """A released folder with text encoder, tokenizer and autoencoder beside the five files."""
    folder, models = authors_folder(released_network), loading.untrained_models(released_network.config)
    models.text.module.save_pretrained(folder / "text_encoder")
    ByT5Tokenizer().save_pretrained(folder / "tokenizer")
    models.video.module.save_pretrained(folder / "vae")
    return folder


def test_a_whole_released_folder_gives_all_models(model_folder, released_network, equal_states):
    models, beside = load_models(model_folder), loading.untrained_models(released_network.config)
    equal_states(models.network, released_network)
    assert torch.equal(models.text("a cat"), beside.text("a cat"))
    latents = torch.ones(1, 2, 8, 4, 6)
    torch.testing.assert_close(models.video.decode(latents), beside.video.decode(latents))


def test_text_encoder_and_autoencoder_are_found_beside_a_file_or_where_one_says(
    model_folder, released_network, tmp_path
):
    save_network(released_network, model_folder / "one.safetensors")
    save_network(released_network, tmp_path / "elsewhere" / "one.safetensors")
    beside = load_models(model_folder / "one.safetensors")
    said = load_models(tmp_path / "elsewhere" / "one.safetensors", companions=model_folder)
    assert torch.equal(beside.text("a cat"), said.text("a cat"))
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        load_models(tmp_path / "elsewhere" / "one.safetensors")


@pytest.mark.parametrize("part", ["text_encoder", "tokenizer", "vae"])
def test_a_missing_companion_is_named(model_folder, part):
    (model_folder / part).rename(model_folder / "renamed")
    with pytest.raises(FileNotFoundError, match=part):
        load_models(model_folder)


def test_formats_are_told_apart(network, authors_folder, tmp_path):
    save_network(network, tmp_path / "one.safetensors")
    assert detect(tmp_path / "one.safetensors") == "byav"
    folder = authors_folder(network)
    assert detect(folder) == "released"
    (folder / "router/router_modules.pt").unlink()
    assert detect(folder) == "released"


def test_what_is_no_model_is_told_what_would_be_one(tmp_path, authors_folder, network):
    with pytest.raises(FileNotFoundError, match="there is no .*nowhere"):
        load_models(tmp_path / "nowhere")
    folder = authors_folder(network)
    for path in (tmp_path, folder / "audio_module/audio_modules.pt", folder / "transformer"):
        with pytest.raises(CheckpointError, match="none of the models that can be loaded.*CogVideoX-5B-I2V"):
            load_models(path)


def test_a_truncated_file_is_said_to_be_cut_short(network, tmp_path):
    path = tmp_path / "one.safetensors"
    save_network(network, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="one.safetensors .* is not a whole safetensors file"):
        load_models(path)


def test_a_released_folder_with_code_in_it_is_refused(network, authors_folder, monkeypatch, tmp_path):
    class Code:
        def __reduce__(self):
            return __import__, ("antigravity",)

    folder = authors_folder(network)
    torch.save({"norm.weight": Code()}, folder / "router/router_modules.pt")
    with pytest.raises(CheckpointError, match="router_modules.pt .*would run .*__import__.*not opened"):
        load_models(folder)
    assert "antigravity" not in sys.modules


def _extents(file: Path) -> list[tuple[int, int]]:
    """Where a file is mapped into memory."""
    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(file))]
    return [tuple(int(number, 16) for number in line.split()[0].split("-")) for line in lines]
