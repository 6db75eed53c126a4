import pytest
import torch
from safetensors.torch import load_file

from byav_core.model.lora import add_lora, lora_state_dict, merge_lora

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.fixture
def lora(vectors) -> dict[str, torch.Tensor]:
    return load_file(vectors / "tiny_lora.safetensors")


def linear(transformer, key: str) -> torch.Tensor:
    return transformer.get_submodule(key).weight


@pytest.mark.parametrize("prefix", ["transformer.module.", "transformer.", "module.", ""])
def test_the_released_lora_gives_the_released_output(released, vectors, lora, agree, prefix):
    vector = load_file(vectors / "tiny_lora.outputs.safetensors")
    agree(released.run(released.conditioning(), released.routed()), vector["base"])
    merge_lora(released.transformer, {prefix + key.removeprefix("transformer.module."): x for key, x in lora.items()})
    agree(released.run(released.conditioning(), released.routed()), vector["with_lora"])


def test_merging_adds_b_times_a_and_touches_nothing_else(released, lora):
    before = {key: value.clone() for key, value in released.transformer.state_dict().items()}
    merge_lora(released.transformer, lora)
    for key, value in released.transformer.state_dict().items():
        name = "transformer.module." + key.removesuffix(".weight")
        product = (
            lora[name + ".lora_B.weight"] @ lora[name + ".lora_A.weight"] if name + ".lora_A.weight" in lora else 0
        )
        torch.testing.assert_close(value, before[key] + product)


def test_adapters_start_without_effect_and_give_the_merged_output_once_trained(released):
    generator = torch.Generator().manual_seed(5)
    told, transformer = released.conditioning(), released.transformer
    before = released.run(told, released.routed())
    add_lora(transformer, rank=6, alpha=6)
    assert torch.equal(released.run(told, released.routed()), before)

    trained = [p for p in transformer.parameters() if p.requires_grad]
    assert len(trained) == 2 * 2 * len(transformer.transformer_blocks)
    for p in trained:
        p.copy_(torch.randn(p.shape, generator=generator) * 0.1)
    with_adapters, saved = released.run(told, released.routed()), lora_state_dict(transformer)
    assert not torch.allclose(with_adapters, before)

    transformer.delete_adapters("default")
    merge_lora(transformer, saved)
    torch.testing.assert_close(released.run(told, released.routed()), with_adapters, rtol=1e-4, atol=1e-5)


def test_a_lora_that_does_not_fit_says_everything_that_is_wrong_and_merges_nothing(released, lora):
    place = "transformer.module.transformer_blocks.{}.attn1.to_q.lora_{}.weight"
    lora[place.format(9, "A")], lora[place.format(9, "B")] = torch.zeros(4, 48), torch.zeros(48, 4)
    lora[place.format(0, "A")] = torch.zeros(128, 47)
    del lora[place.format(1, "B")]
    before = linear(released.transformer, "transformer_blocks.2.attn1.to_q").clone()
    with pytest.raises(ValueError) as error:
        merge_lora(released.transformer, lora)
    for part in ("transformer_blocks.9", "(128, 47)", "transformer_blocks.1.attn1.to_q.lora_A.weight: neither half"):
        assert part in str(error.value)
    assert torch.equal(linear(released.transformer, "transformer_blocks.2.attn1.to_q"), before)
