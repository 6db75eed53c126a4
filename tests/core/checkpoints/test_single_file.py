import json
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from byav_core.checkpoints import CheckpointError, load_models, load_network, save_models, save_network
from byav_core.checkpoints.single_file import CONFIG
from byav_core.checkpoints.tensors import read_metadata
from byav_core.network import Network


def test_a_saved_network_is_loaded_equal(network, tmp_path, equal_states):
    save_network(network, tmp_path / "one.safetensors")
    read = load_network(tmp_path / "one.safetensors")
    assert read.config == network.config
    equal_states(read, network)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows replaces no file that is mapped")
def test_a_network_saved_over_the_file_it_is_mapped_from_stays_whole(network, tmp_path, equal_states):
    path = tmp_path / "one.safetensors"
    save_network(network, path)
    save_network(load_network(path), path)
    equal_states(load_network(path), network)


@torch.no_grad()
def test_changing_a_loaded_network_does_not_change_the_file(network, tmp_path, equal_states):
    save_network(network, tmp_path / "one.safetensors")
    load_network(tmp_path / "one.safetensors").router.norm.weight.fill_(7.0)
    equal_states(load_network(tmp_path / "one.safetensors"), network)


def test_a_file_with_all_models_needs_no_other(tmp_path, equal_states):
    models = load_models("tiny")
    with torch.no_grad():
        next(models.text.module.parameters()).add_(1.0)
        next(models.video.module.parameters()).add_(1.0)
    save_models(models, tmp_path / "alone" / "all.safetensors")
    read = load_models(tmp_path / "alone" / "all.safetensors")
    equal_states(read.network, models.network)
    assert torch.equal(read.text("a cat"), models.text("a cat"))
    latents = torch.ones(1, 2, models.config.video.latent_channels, 4, 6)
    assert torch.equal(read.video.decode(latents), models.video.decode(latents))


@pytest.fixture
def edited(network, tmp_path):
    """A saved network whose tensors or configuration were changed by hand."""

    def edit(tensors=lambda tensors: None, config=lambda text: text):
        path = tmp_path / "edited.safetensors"
        save_network(network, path)
        content, text = load_file(path), read_metadata(path)[CONFIG]
        tensors(content)
        save_file(content, path, metadata={CONFIG: config(text)})
        return path

    return edit


def test_every_misfit_is_in_one_error(edited):
    def spoil(tensors):
        tensors["transformer.proj_out.sheight"] = tensors.pop("transformer.proj_out.weight")
        tensors["router.norm.weight"] = torch.zeros(5)
        for layer in range(5):
            del tensors[f"face_extractor.layers.{layer}.0.to_q.weight"]

    with pytest.raises(CheckpointError) as error:
        load_network(edited(tensors=spoil))
    for said in (
        "edited.safetensors: missing (6): face_extractor.layers.{0-4}.0.to_q.weight, transformer.proj_out.weight",
        "edited.safetensors: unknown (1): transformer.proj_out.sheight",
        "has shape (5,) instead of (32,) (1): router.norm.weight",
    ):
        assert said in str(error.value)


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda text: text[:-9], "the model configuration is not JSON"),
        (lambda text: json.dumps(json.loads(text) | {"flavour": 1}), "unknown fields \\['flavour'\\]"),
        (lambda text: json.dumps(json.loads(text) | {"transformer": 1}), "config.transformer should be an object"),
    ],
)
def test_a_damaged_configuration_is_said_to_be_damaged_or_newer(edited, spoil, said):
    with pytest.raises(CheckpointError, match=f"edited.safetensors: .*{said}.*damaged or from a newer version"):
        load_network(edited(config=spoil))


def test_a_network_on_the_meta_device_has_nothing_to_save(network, tmp_path):
    with pytest.raises(ValueError, match="have no numbers"):
        save_network(Network.on_meta(network.config), tmp_path / "empty.safetensors")
    assert not (tmp_path / "empty.safetensors").exists()


def test_what_a_file_says_of_its_training_is_kept(network, tmp_path):
    trained = Network.seeded(replace(network.config, trained="stage 2"))
    save_network(trained, tmp_path / "s.safetensors")
    assert load_network(tmp_path / "s.safetensors").config.trained == "stage 2"
