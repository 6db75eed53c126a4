import json
import pickle
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from byav_core.config import FaceEncoderConfig
from byav_core.encoders.eva_clip import EvaTower, load_eva_tower, rotary_angles

NARROW = FaceEncoderConfig(image_size=56, width=32, depth=24, heads=2, embed_dim=24)


@pytest.fixture(scope="module")
def weights(vectors, recipe):
    """Those behind the vectors; the rotary tables in the file follow from the configuration."""
    shapes = json.loads((vectors / "eva_tiny.config.json").read_text())["shapes"]
    rotary = {key: torch.zeros(shape) for key, shape in shapes.items() if "rope." in key}
    return recipe.state_dict(66, {key: tuple(shape) for key, shape in shapes.items()}, rotary)


@pytest.fixture
def file(tmp_path, weights):
    save_file(weights, tmp_path / "tower.safetensors")
    return tmp_path / "tower.safetensors"


@pytest.fixture(scope="module")
def recorded(vectors):
    return load_file(vectors / "eva_tiny.outputs.safetensors")


def off(found, expected) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@torch.no_grad()
def test_embedding_and_feature_maps_are_those_of_the_release(file, recorded):
    embedding, hidden = load_eva_tower(file, NARROW)(recorded["image"])
    assert off(embedding, recorded["embed"]) < 2e-5
    assert len(hidden) == 5
    for index, tokens in enumerate(hidden):
        assert off(tokens, recorded[f"hidden.{index}"]) < 2e-5


@torch.no_grad()
def test_the_official_layout_loads_as_well(tmp_path, weights, recorded):
    whole = {f"visual.{key}": value.half() for key, value in weights.items()}
    whole |= {"text.positional_embedding": torch.zeros(7, 5), "logit_scale": torch.tensor(4.6)}
    torch.save(whole, tmp_path / "EVA02_CLIP_L_336_psz14_s6B.pt")
    embedding, _ = load_eva_tower(tmp_path / "EVA02_CLIP_L_336_psz14_s6B.pt", NARROW)(recorded["image"])
    assert embedding.dtype == torch.float32
    assert off(embedding, recorded["embed"]) < 2e-2  # the weights were rounded to half precision


def test_misfits_are_listed_together(tmp_path, weights):
    wrong = {key: value for key, value in weights.items() if key != "blocks.3.attn.q_bias"}
    wrong |= {"blocks.0.extra": torch.zeros(3), "head.bias": torch.zeros(23)}
    save_file(wrong, tmp_path / "tower.safetensors")
    with pytest.raises(
        ValueError, match="q_bias is missing.*blocks.0.extra is unknown.*head.bias is .23.*.24"
    ) as error:
        load_eva_tower(tmp_path / "tower.safetensors", NARROW)
    assert "tower.safetensors" in str(error.value)


def test_code_in_a_pickle_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    (tmp_path / "EVA.pt").write_bytes(pickle.dumps({"visual.norm.weight": Trap()}, protocol=2))
    with pytest.raises(ValueError, match="EVA.pt cannot be read as weights"):
        load_eva_tower(tmp_path / "EVA.pt", NARROW)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["cut.pt", "cut.safetensors"])
def test_a_truncated_file_is_named(tmp_path, weights, name):
    whole = tmp_path / f"whole{name[3:]}"
    (torch.save if name.endswith("pt") else save_file)(weights, whole)
    (tmp_path / name).write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(ValueError, match=f"{name} cannot be read as weights"):
        load_eva_tower(tmp_path / name, NARROW)


@torch.no_grad()
def test_other_sizes_and_taps():
    config = replace(NARROW, image_size=84, width=48, depth=3, heads=3, embed_dim=11, taps=(0, 2))
    embedding, hidden = EvaTower(config)(torch.randn(2, 3, 84, 84, generator=torch.Generator().manual_seed(0)))
    assert embedding.shape == (2, 11)
    assert [tuple(tokens.shape) for tokens in hidden] == [(2, 37, 48), (2, 37, 48)]


def test_rotary_positions_are_scaled_to_the_grid_of_pre_training():
    fine, coarse = rotary_angles(24, 16, 16), rotary_angles(12, 16, 16)
    torch.testing.assert_close(fine.reshape(24, 24, 16)[::2, ::2], coarse.reshape(12, 12, 16))


def test_rows_turn_the_first_half_of_the_channels_and_columns_the_second():
    angles = rotary_angles(5, 8, 5).reshape(5, 5, 8)
    assert (angles[:, :1, :4] == angles[:, :, :4]).all() and (angles[:1, :, 4:] == angles[:, :, 4:]).all()
    assert angles[3, 0, 0] == 3 and angles[0, 2, 4] == 2
