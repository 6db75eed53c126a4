import pytest
import torch

from byav_core.types import Character, FaceFeatures, Scene, TokenGrid


def person(name: str) -> Character:
    nothing = FaceFeatures(torch.zeros(1), (), torch.zeros(3, 2, 2))
    return Character(name, torch.zeros(3, 2, 2), nothing)


@pytest.fixture
def grid() -> TokenGrid:
    return TokenGrid(t=3, h=4, w=6)


@pytest.fixture
def scene(grid) -> Scene:
    """Two people, nine frames of 64 x 96 pixels."""
    cast = (person("Anna"), person("Ben"))
    return Scene(grid, tuple(character.name for character in cast), cast, frames=9)


@pytest.fixture
def ask():
    """Asks a mask source as the transformer does; without a router, what q and k hold does not matter."""

    def routed(source, grid: TokenGrid, n: int, b: int = 1, layer: int = 0):
        return source(layer, torch.zeros(b, 2, grid.tokens, 5), torch.zeros(b, n, 2, 7, 5))

    return routed


@pytest.fixture
def halves() -> torch.Tensor:
    """The left half of a 64 x 96 picture for the first of two, the right for the second."""
    masks = torch.zeros(2, 1, 64, 96)
    masks[0, ..., :48] = 1
    masks[1, ..., 48:] = 1
    return masks
