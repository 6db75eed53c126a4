from dataclasses import replace

import pytest
import torch

from byav_core.config import tiny
from byav_core.protocols import MaskSource, Router
from byav_core.routing import ROUTERS, FixedMask, IntraDenoiseRouter, LabelSpreading, Refined, RouterParts, make_router


def side_by_side(n: int, frames: int) -> torch.Tensor:
    """Each of n has a strip of the picture, half in doubt."""
    return torch.eye(n).repeat_interleave(96 // n, dim=1)[:, None, None].expand(n, frames, 64, 96) * 0.5


def locate(picture, cast):
    return side_by_side(len(cast), 1)[:, 0]


def follow(video, cast):
    return side_by_side(len(cast), len(video))


@pytest.fixture
def parts():
    return RouterParts(IntraDenoiseRouter(tiny().router, face_layers=2), locate, follow)


@pytest.fixture
def whole(scene):
    return replace(
        scene,
        inpainting_frame=torch.zeros(3, 64, 96),
        given=side_by_side(2, 1),
        coarse_video=lambda: torch.zeros(9, 3, 64, 96),
    )


def test_the_menu_is_in_order():
    assert list(ROUTERS) == ["intra", "pre", "post", "fixed", "uniform"]


@pytest.mark.parametrize("name", ROUTERS)
@pytest.mark.parametrize("refiner", [None, LabelSpreading()])
def test_every_router_plans_masks_that_fit_the_transformer(parts, whole, name, refiner):
    router = make_router(name, replace(parts, refiner=refiner))
    source = router.plan(whole)
    assert isinstance(router, Router) and isinstance(source, MaskSource)
    mask = source(1, torch.randn(3, 4, whole.grid.tokens, 24), torch.randn(3, 2, 4, 8, 24)).mask
    assert mask.shape == (3, 2, whole.grid.tokens) and mask.min() >= 0 and mask.sum(dim=1).max() <= 1 + 1e-6


def test_learned_masks_are_refined_when_asked_and_given_ones_obeyed(parts, whole):
    parts = replace(parts, refiner=LabelSpreading())
    assert isinstance(make_router("intra", parts).plan(whole), Refined)
    given = make_router("fixed", parts).plan(whole)
    assert isinstance(given, FixedMask) and given.mask.unique().tolist() == [0, 0.5]


def test_a_router_nobody_knows_is_refused_with_the_menu():
    with pytest.raises(ValueError, match="no router 'sam'; choose one of intra, pre, post, fixed, uniform"):
        make_router("sam", RouterParts())


@pytest.mark.parametrize(
    "name, missing", [("intra", "a model with a router"), ("pre", "a character locator"), ("post", "a segmenter")]
)
def test_a_missing_part_is_named(name, missing):
    with pytest.raises(ValueError, match=missing):
        make_router(name, RouterParts())


@pytest.mark.parametrize("rule, still", [("soft", False), ("released", True)])
def test_the_dialect_of_the_model_says_how_masks_reach_the_tokens(whole, rule, still):
    router = IntraDenoiseRouter(replace(tiny().router, rasterize=rule), face_layers=1)
    moving = torch.zeros(2, 9, 64, 96)
    moving[0, :5, :, :32] = moving[0, 5:, :, 32:64] = moving[1, :, :, 64:] = 1
    mask = make_router("fixed", RouterParts(router)).plan(replace(whole, given=moving)).mask
    folded = whole.grid.fold(mask)
    assert bool((folded == folded[:, :, :1]).all()) is still
