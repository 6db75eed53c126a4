"""Who owns which visual token: ways to find the masks, chosen by name (§3.3.1)."""

from collections.abc import Callable
from dataclasses import dataclass

from ..protocols import CharacterLocator, MaskRefiner, Router, VideoSegmenter
from .fixed import FixedMask, FixedRouter, TeacherForced
from .intra_denoise import IntraDenoiseRouter
from .post_denoise import PostDenoiseRouter
from .pre_denoise import PreDenoiseRouter
from .rasterize import RASTERIZERS, Rasterizer, soft
from .refine import LabelSpreading, Refined, RefinedRouter
from .uniform import UniformRouter

__all__ = [
    "RASTERIZERS",
    "ROUTERS",
    "FixedMask",
    "FixedRouter",
    "IntraDenoiseRouter",
    "LabelSpreading",
    "PostDenoiseRouter",
    "PreDenoiseRouter",
    "Refined",
    "RefinedRouter",
    "RouterParts",
    "TeacherForced",
    "UniformRouter",
    "make_router",
]


@dataclass(frozen=True)
class RouterParts:
    """What routers are made of. Each takes what it needs and says so if it is missing."""

    intra: IntraDenoiseRouter | None = None
    locator: CharacterLocator | None = None
    segmenter: VideoSegmenter | None = None
    refiner: MaskRefiner | None = None

    @property
    def rasterize(self) -> Rasterizer:
        """How masks of pixels become masks of tokens: as the model's configuration says."""
        return RASTERIZERS[self.intra.config.rasterize] if self.intra else soft


def _intra(parts: RouterParts) -> Router:
    router = _part(parts.intra, "Intra-Denoise routing needs a model with a router; load one, or choose another router")
    return RefinedRouter(router, parts.refiner) if parts.refiner else router


def _pre(parts: RouterParts) -> Router:
    locator = _part(parts.locator, "Pre-Denoise routing needs a way to find faces in a picture (a character locator)")
    return PreDenoiseRouter(locator, parts.rasterize, parts.refiner)


def _post(parts: RouterParts) -> Router:
    segmenter = _part(parts.segmenter, "Post-Denoise routing needs a way to follow people in a video (a segmenter)")
    return PostDenoiseRouter(segmenter, parts.rasterize, parts.refiner)


def _fixed(parts: RouterParts) -> Router:
    """Masks given by hand are obeyed as they are: no refinement."""
    return FixedRouter(parts.rasterize)


def _uniform(parts: RouterParts) -> Router:
    return UniformRouter()


ROUTERS: dict[str, Callable[[RouterParts], Router]] = {
    "intra": _intra,
    "pre": _pre,
    "post": _post,
    "fixed": _fixed,
    "uniform": _uniform,
}


def make_router(name: str, parts: RouterParts) -> Router:
    """Raises ValueError when there is no such router or a part that it needs is missing."""
    if name not in ROUTERS:
        raise ValueError(f"there is no router {name!r}; choose one of {', '.join(ROUTERS)}")
    return ROUTERS[name](parts)


def _part(part: object, sentence: str):
    if part is None:
        raise ValueError(sentence)
    return part
