import pytest

from byav_core.routing import UniformRouter


@pytest.mark.parametrize("n", [1, 2, 5])
def test_everybody_owns_the_same_share_of_every_token(ask, scene, n):
    mask = ask(UniformRouter().plan(scene), scene.grid, n=n, b=3).mask
    assert tuple(mask.shape) == (3, n, scene.grid.tokens)
    assert (mask == 1 / n).all()
