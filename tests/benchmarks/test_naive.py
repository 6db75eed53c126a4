"""The savings of the whole forward are exact: the plainly written step gives the same numbers."""

import pytest
import torch

from benchmarks import naive
from byav_core.config import tiny
from byav_core.network import Network
from byav_core.types import Conditioning, Routed, Scene, TokenGrid

GRID = TokenGrid(2, 3, 5)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("how", ["router", "given"])
def test_the_plain_forward_gives_the_same_numbers(n, how):
    config = tiny()
    network = Network.seeded(config, dtype=torch.float64).eval()
    t, f, s = config.transformer, config.face_extractor, config.speech_projector

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64)

    height, width = t.patch_size * GRID.h, t.patch_size * GRID.w
    latents, text = random(2, GRID.t, t.in_channels, height, width), random(2, 7, t.text_embed_dim)
    timestep = torch.tensor([999, 1])
    identity, maps = random(n, f.identity_dim), [random(n, 11, f.feature_dim) for _ in range(f.scales)]
    windows, matrix = random(n, 5, s.window, s.layers, s.channels), torch.rand(n, n, dtype=torch.float64)
    given = torch.rand(n, GRID.tokens, dtype=torch.float64) if how == "given" else None

    with torch.no_grad():
        plain = naive.forward(network, latents, text, timestep, identity, maps, windows, matrix, given)
        characters, speech = network.face_extractor(identity, maps)[None], network.speech_projector(windows)[None]
        binding = network.transformer.project(Conditioning(text, characters, speech, matrix[None]))
        planned = network.router.plan(Scene(GRID, ("someone",) * n))
        masks = planned if given is None else lambda *_: Routed(given[None])
        ours, _ = network.transformer(latents, text, timestep, binding, masks)
    torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-10)
