import pytest
import torch

from byav_core.checkpoints import CheckpointError, convert, load_network, save_network
from byav_core.checkpoints.tensors import read_tensors
from byav_core.network import Network


def test_the_released_files_become_one_and_again_five(network, authors_folder, tmp_path, equal_states):
    folder, one, again = authors_folder(network), tmp_path / "one.safetensors", tmp_path / "again"
    convert(folder, one)
    equal_states(load_network(one), network)
    convert(one, again, to="released")
    equal_states(load_network(again), network)
    convert(again, tmp_path / "two.safetensors")
    first, second = read_tensors(one), read_tensors(tmp_path / "two.safetensors")
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_every_tensor_keeps_its_own_precision(released_network, authors_folder, tmp_path):
    def halve(tensors):
        tensors["router.pos_emb"] = tensors["router.pos_emb"].double()
        tensors["proj_out.weight"] = tensors["proj_out.weight"].bfloat16()

    convert(authors_folder(released_network, edit=halve), tmp_path / "one.safetensors")
    read = read_tensors(tmp_path / "one.safetensors")
    assert read["router.pos_emb"].dtype == torch.float64
    assert read["transformer.proj_out.weight"].dtype == torch.bfloat16
    assert read["router.norm.weight"].dtype == torch.float32


def test_adapters_are_merged_on_the_way_and_the_way_back_has_ones_without_effect(
    released_network, authors_folder, tmp_path, equal_states
):
    site, dim = "transformer.transformer_blocks.1.attn1.to_k", released_network.config.transformer.dim
    lora = {f"{site}.lora_A.weight": torch.ones(3, dim), f"{site}.lora_B.weight": torch.ones(dim, 3)}
    convert(authors_folder(released_network, lora=lora), tmp_path / "one.safetensors")
    merged = load_network(tmp_path / "one.safetensors")
    weight = f"{site}.weight"
    torch.testing.assert_close(merged.state_dict()[weight], released_network.state_dict()[weight] + 3)
    convert(tmp_path / "one.safetensors", tmp_path / "five", to="released")
    equal_states(load_network(tmp_path / "five"), merged)
    adapters = read_tensors(tmp_path / "five/lora_weight/pytorch_lora_weights.safetensors")
    assert len(adapters) == 2 * 2 * released_network.config.transformer.num_layers
    assert not any(tensor.any() for tensor in adapters.values())


@pytest.mark.parametrize("to", ["byav", "released"])
def test_what_is_there_already_is_not_overwritten(network, tmp_path, to):
    save_network(network, tmp_path / "one.safetensors")
    (tmp_path / "taken").touch()
    with pytest.raises(FileExistsError, match="taken is already there"):
        convert(tmp_path / "one.safetensors", tmp_path / "taken", to=to)


def test_a_source_that_does_not_fit_leaves_no_target(released_network, authors_folder, tmp_path):
    folder = authors_folder(released_network, edit=lambda tensors: tensors.pop("router.norm.bias"))
    with pytest.raises(CheckpointError, match="router.norm.bias"):
        convert(folder, tmp_path / "one.safetensors")
    assert [entry.name for entry in tmp_path.iterdir()] == [folder.name]


def test_a_target_that_is_no_safetensors_file_is_refused(network, tmp_path):
    save_network(network, tmp_path / "one.safetensors")
    with pytest.raises(ValueError, match="two.pt should end in .safetensors"):
        convert(tmp_path / "one.safetensors", tmp_path / "two.pt")


def test_converting_builds_no_network_with_numbers(network, authors_folder, tmp_path, monkeypatch):
    folder = authors_folder(network)
    monkeypatch.setattr(Network, "seeded", None)
    monkeypatch.setattr(Network, "load_state_dict", None)
    convert(folder, tmp_path / "one.safetensors")
