import pytest
import torch

from byav_core.checkpoints.fit import CheckpointError
from byav_core.checkpoints.names import released_name, to_released, without_additions
from byav_core.config import released
from byav_core.network import Network


@pytest.fixture(scope="module")
def full() -> Network:
    return Network.on_meta(released())


def test_every_key_and_shape_of_the_full_size_released_model_is_accounted_for_both_ways(full, full_shapes):
    theirs = to_released(full.state_dict(), full.config.transformer)
    assert len(full_shapes) == 2034
    assert {name: tuple(tensor.shape) for name, tensor in theirs.items()} == full_shapes


def test_no_two_parameters_share_a_released_name(full):
    assert len({released_name(key, full.config.transformer) for key in full.state_dict()}) == len(full.state_dict())


@pytest.mark.parametrize(
    "file, keys",
    [("audio_model.", 432), ("local_facial_extractor.", 172), ("perceiver_cross_attention.", 147), ("router.", 258)],
)
def test_each_part_has_as_many_keys_as_its_released_file(full, below, file, keys):
    assert len(below(to_released(full.state_dict(), full.config.transformer), file)) == keys


def test_cross_attentions_are_counted_by_their_own_layers(full):
    name = released_name("transformer.transformer_blocks.40.face.to_q.weight", full.config.transformer)
    assert name == "perceiver_cross_attention.20.to_q.weight"
    name = released_name("transformer.transformer_blocks.41.audio.attn.to_out.0.bias", full.config.transformer)
    assert name == "audio_model.layers.41.attn.to_out.0.bias"


def test_a_name_of_no_part_is_refused():
    with pytest.raises(KeyError, match="tokenizer.weight is no parameter"):
        released_name("tokenizer.weight", released().transformer)


@pytest.mark.parametrize(
    "written, plain",
    [
        ("transformer.module.transformer_blocks.0.attn1.to_q.lora_A.weight", "to_q.lora_A.weight"),
        ("base_model.model.transformer_blocks.0.attn1.to_q.lora_B.default.weight", "to_q.lora_B.weight"),
        ("module.transformer_blocks.0.attn1.to_q.base_layer.weight", "to_q.weight"),
        ("base_model.model.transformer.transformer_blocks.0.attn1.to_q.base_layer.bias", "to_q.bias"),
        ("transformer_blocks.0.attn1.to_q.weight", "to_q.weight"),
    ],
)
def test_what_engines_and_adapters_add_to_a_name_is_taken_off(written, plain):
    assert list(without_additions({written: torch.zeros(1)})) == [f"transformer_blocks.0.attn1.{plain}"]


def test_two_names_for_one_parameter_are_refused():
    with pytest.raises(CheckpointError, match="two tensors are both norm.weight"):
        without_additions({"norm.weight": torch.zeros(1), "module.norm.weight": torch.ones(1)})
