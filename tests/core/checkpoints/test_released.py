"""The authors' folder to a network and back."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from byav_core.checkpoints import CheckpointError, load_network
from byav_core.checkpoints.released import PARTS, read_released, write_released
from byav_core.model.lora import merge_lora
from byav_core.network import Network


def test_the_authors_folder_is_read_to_the_same_network(network, authors_folder, equal_states):
    read = load_network(authors_folder(network))
    assert read.config == network.config
    equal_states(read, network)


def test_what_we_write_is_what_the_authors_would_have_written(network, authors_folder, tmp_path):
    theirs, ours = authors_folder(network), tmp_path / "ours"
    write_released(network.state_dict(), network.config, ours)
    for part in PARTS[:3]:
        read = (torch.load(folder / part.path, weights_only=True) for folder in (theirs, ours))
        assert _same(*read)
    weights = "transformer/diffusion_pytorch_model.safetensors"
    assert _same(load_file(theirs / weights), load_file(ours / weights))


def test_a_network_survives_the_way_there_and_back(network, tmp_path, equal_states):
    write_released(network.state_dict(), network.config, tmp_path / "there")
    equal_states(load_network(tmp_path / "there"), network)
    read = read_released(tmp_path / "there")
    again = read.fitted(Network.on_meta(read.config))
    write_released(again, read.config, tmp_path / "again")
    equal_states(load_network(tmp_path / "again"), network)


def test_a_folder_we_write_states_its_extents_under_the_released_names(network, tmp_path):
    write_released(network.state_dict(), network.config, tmp_path / "there")
    stated = json.loads((tmp_path / "there/transformer/config.json").read_text())
    assert stated["cross_attn_interval"] == network.config.transformer.face_interval
    assert stated["LFE_num_querie"] == network.config.face_extractor.queries
    assert stated["num_layers"] == network.config.transformer.num_layers


def test_pytorch_files_written_from_a_mapped_file_hold_only_their_own_tensors(network, tmp_path):
    write_released(network.state_dict(), network.config, tmp_path / "one")
    checkpoint = read_released(tmp_path / "one")
    write_released(checkpoint.fitted(network), checkpoint.config, tmp_path / "two")
    for part in PARTS:
        one, two = ((tmp_path / folder / part.path).stat().st_size for folder in ("one", "two"))
        assert two == pytest.approx(one, rel=0.05)


@pytest.fixture
def lora(released_network) -> dict[str, torch.Tensor]:
    """Adapters as the release names them, on one query and one key."""
    generator = torch.Generator().manual_seed(9)
    dim = released_network.config.transformer.dim
    sites = ("transformer_blocks.0.attn1.to_q", "transformer_blocks.3.attn1.to_k")
    shapes = {"lora_A": (7, dim), "lora_B": (dim, 7)}
    return {
        f"transformer.module.{site}.{half}.weight": torch.randn(shape, generator=generator)
        for site in sites
        for half, shape in shapes.items()
    }


@pytest.mark.parametrize("prefix", ["transformer.module.", "base_model.model."])
def test_adapters_are_merged_at_scale_one(released_network, authors_folder, lora, prefix, equal_states):
    named = {prefix + name.removeprefix("transformer.module."): tensor for name, tensor in lora.items()}
    read = load_network(authors_folder(released_network, lora=named))
    merged = Network.seeded(released_network.config, seed=4)
    merge_lora(merged.transformer, lora)
    equal_states(read, merged)
    before, after = released_network.state_dict(), read.state_dict()
    assert len([key for key in before if not torch.equal(before[key], after[key])]) == 2


def test_names_left_by_an_adapter_wrapper_are_understood(released_network, authors_folder, lora, equal_states):
    """As if the transformer had been saved with its adapters inside; those in the file of their own replace them."""

    def wrap(tensors):
        for name in [name for name in tensors if ".attn1.to_q." in name or ".attn1.to_k." in name]:
            site, kind = name.rsplit(".", 1)
            tensors[f"module.{site}.base_layer.{kind}"] = tensors.pop(name)
        for name, tensor in lora.items():
            site = name.removeprefix("transformer.module.").replace(".weight", ".default.weight")
            tensors[site] = torch.full_like(tensor, 5.0)

    wrapped = load_network(authors_folder(released_network, lora=lora, edit=wrap))
    plain = load_network(authors_folder(released_network, lora=lora, name="plain"))
    equal_states(wrapped, plain)


def test_half_an_adapter_or_one_without_its_place_is_reported(released_network, authors_folder, lora):
    first, *_ = lora
    half = {name: tensor for name, tensor in lora.items() if name != first}
    half["transformer.transformer_blocks.9.attn1.to_q.lora_A.weight"] = torch.zeros(7, 128)
    with pytest.raises(CheckpointError) as error:
        load_network(authors_folder(released_network, lora=half))
    for said in ("pytorch_lora_weights.safetensors: unknown (2)", "transformer_blocks.9.attn1.to_q.lora_A.weight"):
        assert said in str(error.value)


def test_a_patch_embedding_of_32_channels_is_widened_with_zeros(released_network, authors_folder):
    name, key = "patch_embed.proj.weight", "transformer.patch_embed.proj.weight"
    whole = released_network.state_dict()[key]
    third = whole.shape[1] // 3

    def narrow(tensors):
        tensors[name] = tensors[name][:, : 2 * third].contiguous()

    read = load_network(authors_folder(released_network, edit=narrow)).state_dict()[key]
    assert read.shape == whole.shape
    assert torch.equal(read[:, : 2 * third], whole[:, : 2 * third])
    assert not read[:, 2 * third :].any()


def test_a_patch_embedding_of_too_many_channels_is_refused(released_network, authors_folder):
    def widen(tensors):
        tensors["patch_embed.proj.weight"] = tensors["patch_embed.proj.weight"].repeat(1, 2, 1, 1)

    with pytest.raises(CheckpointError, match=r"has shape .* \(1\): patch_embed.proj.weight"):
        load_network(authors_folder(released_network, edit=widen))


def test_files_in_half_precision_give_a_network_in_half_precision(released_network, authors_folder, lora):
    def halve(tensors):
        tensors |= {name: tensor.bfloat16() for name, tensor in tensors.items()}

    halved = {name: tensor.bfloat16() for name, tensor in lora.items()}
    read = load_network(authors_folder(released_network, lora=halved, edit=halve))
    assert {tensor.dtype for tensor in read.state_dict().values()} == {torch.bfloat16}
    site = "transformer.transformer_blocks.0.attn1.to_q.weight"
    down, up = (halved[f"transformer.module.{site[12:-7]}.lora_{half}.weight"].float() for half in "AB")
    sum_once_rounded = (released_network.state_dict()[site].bfloat16().float() + up @ down).bfloat16()
    assert torch.equal(read.state_dict()[site], sum_once_rounded)


def test_the_averaged_transformer_goes_before_the_other(released_network, authors_folder):
    folder = authors_folder(released_network)
    (folder / "transformer").rename(folder / "transformer_ema")
    (folder / "transformer").mkdir()
    load_network(folder)


def test_later_files_replace_what_the_transformer_holds_of_their_parts(released_network, authors_folder, equal_states):
    folder = authors_folder(released_network)
    weights = folder / "transformer/diffusion_pytorch_model.safetensors"
    stale = {"router.norm.weight": torch.full_like(released_network.router.norm.weight, 9.0)}
    save_file(load_file(weights) | stale, weights)
    equal_states(load_network(folder), released_network)


@pytest.mark.parametrize(
    "name, file",
    [
        ("audio_model.layers.2.attn.to_out.0.bias", "audio_modules.pt"),
        ("local_facial_extractor.layers.4.1.3.weight", "face_modules.pt"),
        ("perceiver_cross_attention.1.to_kv.weight", "face_modules.pt"),
        ("router.to_k.1.weight", "router_modules.pt"),
        ("router.pos_emb", "router_modules.pt"),
        ("transformer_blocks.3.ff.net.2.weight", "diffusion_pytorch_model.safetensors"),
        ("patch_embed.pos_embedding", "diffusion_pytorch_model.safetensors"),
    ],
)
def test_one_renamed_key_is_named_under_both_names_and_its_file(released_network, authors_folder, name, file):
    def rename(tensors):
        tensors[name + "_renamed"] = tensors.pop(name)

    with pytest.raises(CheckpointError) as error:
        load_network(authors_folder(released_network, edit=rename))
    missing, unknown = str(error.value).splitlines()[1:3]
    assert f"missing (1): {name}" in missing
    assert f"{file}: unknown (1): {name}_renamed" in unknown
    assert file in missing or file.startswith("diffusion")


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.path)
def test_a_missing_file_is_named_with_the_places_searched(released_network, authors_folder, part):
    folder = authors_folder(released_network)
    (folder / part.path).unlink()
    with pytest.raises(FileNotFoundError) as error:
        load_network(folder)
    assert str(folder) in str(error.value) and part.path in str(error.value)


def test_a_missing_transformer_is_named_under_both_its_names(released_network, authors_folder):
    folder = authors_folder(released_network)
    (folder / "transformer").rename(folder / "renamed")
    with pytest.raises(FileNotFoundError, match="transformer_ema/ or transformer/"):
        load_network(folder)
    (folder / "transformer").mkdir()
    with pytest.raises(FileNotFoundError, match="no weights in .*transformer"):
        load_network(folder)


def test_safetensors_in_place_of_the_pickles_will_do(released_network, authors_folder, equal_states):
    folder = authors_folder(released_network)
    for part in PARTS[:3]:
        nested = torch.load(folder / part.path, weights_only=True)
        flat = {}
        for name, value in nested.items():
            layers = {"": value} if isinstance(value, torch.Tensor) else value
            layers = dict(enumerate(layers)) if isinstance(layers, list) else layers
            for inner, tensor in layers.items():
                rest = tensor if isinstance(tensor, dict) else {"": tensor}
                flat |= {".".join(str(p) for p in (name, inner, last) if p != ""): t for last, t in rest.items()}
        save_file(flat, (folder / part.path).with_suffix(".safetensors"))
        (folder / part.path).unlink()
    equal_states(load_network(folder), released_network)


def test_a_transformer_in_shards_is_put_together_and_a_missing_shard_is_named(
    released_network, authors_folder, equal_states
):
    folder = authors_folder(released_network)
    weights = folder / "transformer/diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    shards = [f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    held = {name: shards[number % 2] for number, name in enumerate(tensors)}
    for shard in shards:
        save_file({name: tensors[name] for name in tensors if held[name] == shard}, weights.with_name(shard))
    weights.unlink()
    equal_states(load_network(folder), released_network)
    weights.with_name(f"{weights.name}.index.json").write_text(json.dumps({"weight_map": held}))
    equal_states(load_network(folder), released_network)
    weights.with_name(shards[1]).unlink()
    with pytest.raises(FileNotFoundError, match=shards[1]):
        load_network(folder)


def test_a_configuration_that_does_not_fit_together_is_refused(released_network, authors_folder):
    folder = authors_folder(released_network)
    config = folder / "transformer/config.json"
    config.write_text(config.read_text().replace('"text_embed_dim": 48', '"text_embed_dim": 47'))
    with pytest.raises(CheckpointError, match="text_embed_dim is 47 but text.d_model is 48"):
        load_network(folder)


def test_a_folder_that_is_there_is_not_overwritten_and_a_failure_leaves_nothing(network, tmp_path, monkeypatch):
    (tmp_path / "taken").mkdir()
    with pytest.raises(FileExistsError, match="taken is already there"):
        write_released(network.state_dict(), network.config, tmp_path / "taken")

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="no space"):
        write_released(network.state_dict(), network.config, tmp_path / "new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]


def test_a_network_in_the_wrong_dialect_is_reported_and_not_half_loaded(released_network, authors_folder):
    config = replace(released_network.config, router=replace(released_network.config.router, head="softmax"))
    network = Network.seeded(config)
    folder = authors_folder(network)
    path = folder / "transformer/config.json"
    path.write_text(path.read_text().replace('"softmax"', '"sigmoid"'))
    with pytest.raises(CheckpointError, match="router_modules.pt: missing .*: router.layer_merge"):
        load_network(folder)


def _same(one, other) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return torch.equal(one, other)
