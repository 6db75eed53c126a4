import json

import pytest
import torch
from safetensors.torch import load_file

from byav_core.config import FaceExtractorConfig, released
from byav_core.model.cross_attention import FaceCrossAttention
from byav_core.model.face_extractor import FaceExtractor

SMALL = FaceExtractorConfig(
    identity_dim=7, feature_dim=9, dim=12, scales=3, depth=6, heads=3, head_dim=5, identity_tokens=2, queries=4,
    output_dim=10, ff_mult=2,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("no_grad")


def fill(module: torch.nn.Module, recipe, seed: int) -> None:
    module.load_state_dict({key: recipe.tensor(seed, key, tuple(x.shape)) for key, x in module.state_dict().items()})


@pytest.mark.slow
def test_at_the_released_size_number_for_number(vectors, recipe, agree):
    """The face extractor and, fed by it, one face cross-attention."""
    described = json.loads((vectors / "lfe_real.config.json").read_text())
    faces = FaceExtractor(FaceExtractorConfig())
    assert {key: list(x.shape) for key, x in faces.state_dict().items()} == described["shapes"]
    fill(faces, recipe, 55)
    hidden = [recipe.network_input(55, f"lfe.vit.{scale}", 1, 577, 1024) for scale in range(5)]
    tokens = faces(recipe.network_input(55, "lfe.id", 1, 1280), hidden)
    agree(tokens, load_file(vectors / "lfe_real.outputs.safetensors")["out"])

    config, vector = released().transformer, load_file(vectors / "perceiver_real.slices.safetensors")
    attention = FaceCrossAttention(config.dim, config.face_dim, config.face_heads, config.face_head_dim)
    fill(attention, recipe, 56)
    k, v = attention.project(torch.stack([tokens, 0.5 * tokens.flip(1)], dim=1))
    q = attention.query(recipe.network_input(56, "pca.hidden", 1, 64, config.dim)[:, ::16])
    agree(q, vector["q_out"])
    agree(k[0, :, :, ::8], vector["k_out"])
    agree(q * config.face_head_dim**-0.5 @ k[0].mT, vector["weight_out"])
    for i in range(2):
        only = torch.eye(2)[i][None, :, None].expand(1, 2, 4)
        agree(attention(q, k, v, only), vector["out"][i : i + 1])


@pytest.mark.parametrize("batch", [1, 3])
def test_every_face_is_extracted_by_itself(batch):
    faces = FaceExtractor(SMALL)
    identity, hidden = torch.randn(batch, 7), [torch.randn(batch, 11, 9) for _ in range(3)]
    together = faces(identity, hidden)
    assert together.shape == (batch, 4, 10)
    for i in range(batch):
        alone = faces(identity[i : i + 1], [x[i : i + 1] for x in hidden])
        torch.testing.assert_close(together[i : i + 1], alone)


def test_every_feature_map_and_the_identity_are_looked_at():
    faces = FaceExtractor(SMALL)
    identity, hidden = torch.randn(1, 7), [torch.randn(1, 11, 9) for _ in range(3)]
    before = faces(identity, hidden)
    assert not torch.allclose(faces(identity + 1, hidden), before)
    for scale in range(3):
        other = [x + (s == scale) * torch.randn_like(x) for s, x in enumerate(hidden)]
        assert not torch.allclose(faces(identity, other), before)


def test_wrong_numbers_of_feature_maps_or_layers_are_refused():
    with pytest.raises(ValueError, match="2 feature maps were given; this face extractor reads 3"):
        FaceExtractor(SMALL)(torch.randn(1, 7), [torch.randn(1, 11, 9)] * 2)
    with pytest.raises(ValueError, match="depth 10 cannot be shared by 3 scales"):
        FaceExtractor(FaceExtractorConfig(scales=3))


def test_bare_parameters_follow_what_they_meet():
    """A host that casts linear layers as they run leaves these two as they are stored."""
    faces = FaceExtractor(SMALL)
    inputs = torch.randn(1, 7), [torch.randn(1, 11, 9) for _ in range(3)]
    full = faces(*inputs)
    faces.latents.data, faces.proj_out.data = faces.latents.bfloat16(), faces.proj_out.bfloat16()
    stored_in_half = faces(*inputs)
    assert stored_in_half.dtype == torch.float32
    torch.testing.assert_close(stored_in_half, full, rtol=0.05, atol=0.05)
