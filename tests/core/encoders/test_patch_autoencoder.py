"""The tiny model's video autoencoder: encoding is linear, decoding is linear and then refined."""

from dataclasses import replace

import pytest
import torch

from byav_core.config import PatchAutoencoderConfig
from byav_core.encoders.patch_autoencoder import PatchAutoencoder
from byav_core.encoders.untrained import seeded_weights

CONFIG = PatchAutoencoderConfig(latent_channels=11, patch=4, temporal_compression_ratio=2, width=6, depth=2, fold=2)


@pytest.fixture(scope="module")
def module():
    """Refined by something: untrained, the refinement adds nothing."""
    with seeded_weights(0):
        module = PatchAutoencoder(CONFIG)
        torch.nn.init.normal_(module.refinement.outward.weight, std=0.1)
    return module.requires_grad_(False)


def pixels(frames: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, frames, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def encode(module: PatchAutoencoder, video: torch.Tensor) -> torch.Tensor:
    return module.encode(video).latent_dist.mean


@pytest.mark.parametrize("frames, height, width", [(1, 8, 12), (3, 4, 20), (5, 16, 4), (9, 12, 28)])
def test_any_extent_in_whole_patches_goes_there_and_back(module, frames, height, width):
    latents = encode(module, pixels(frames, height, width))
    assert latents.shape == (2, 11, 1 + (frames - 1) // 2, height // 4, width // 4)
    assert module.decode(latents).sample.shape == (2, 3, frames, height, width)


def test_encoding_is_linear(module):
    one, other = pixels(5, 8, 12, 1), pixels(5, 8, 12, 2)
    between = 0.3 * encode(module, one) + 0.7 * encode(module, other)
    torch.testing.assert_close(encode(module, 0.3 * one + 0.7 * other), between, atol=1e-5, rtol=1e-5)


def test_nothing_is_left_to_chance(module):
    found = module.encode(pixels(3, 8, 12)).latent_dist
    assert found.std.shape == found.mean.shape and not found.std.any()


def test_without_refinement_decoded_latents_are_encoded_to_themselves():
    """When what leads there and what leads back are inverse to each other, as the fitted ones are."""
    with seeded_weights(3):
        module = PatchAutoencoder(CONFIG).requires_grad_(False)
        basis = torch.linalg.qr(torch.randn(module.synthesis.out_features, 11)).Q
    module.synthesis.weight.copy_(basis), module.analysis.weight.copy_(basis.T)
    module.analysis.bias.copy_(-module.synthesis.bias @ basis)
    latents = torch.randn(1, 11, 4, 2, 3, generator=torch.Generator().manual_seed(4))
    again = encode(module, module.decode(latents).sample)
    torch.testing.assert_close(again[:, :, 1:], latents[:, :, 1:], atol=1e-4, rtol=1e-4)  # the first has lost a frame


def test_the_first_latent_frame_stands_for_the_first_frame_alone(module):
    one, other = pixels(5, 8, 12, 1), pixels(5, 8, 12, 2)
    other[:, :, 0] = one[:, :, 0]
    first, second = encode(module, one), encode(module, other)
    assert torch.equal(first[:, :, 0], second[:, :, 0]) and not torch.allclose(first[:, :, 1], second[:, :, 1])
    torch.testing.assert_close(encode(module, one[:, :, :1])[:, :, 0], first[:, :, 0])


def test_untrained_the_refinement_adds_nothing():
    with seeded_weights(0):
        module = PatchAutoencoder(CONFIG)
    latents = torch.randn(1, 11, 2, 2, 3)
    assert torch.equal(module.decode(latents).sample, module.frames(module.groups(latents)))


def test_the_refinement_looks_beyond_the_borders_of_patches(module):
    latents = torch.randn(1, 11, 3, 2, 3, generator=torch.Generator().manual_seed(5))
    changed = latents.clone()
    changed[:, :, 1, 0, 0] += 1
    difference = (module.decode(changed).sample - module.decode(latents).sample).abs().amax(dim=(0, 1, 2))
    assert difference[:4, :4].min() > 0 and difference[:4, 4:6].max() > 0


def test_another_size_of_squares_keeps_every_extent():
    module = PatchAutoencoder(replace(CONFIG, fold=4, width=5))
    assert module.decode(torch.zeros(1, 11, 2, 3, 2)).sample.shape == (1, 3, 3, 12, 8)
