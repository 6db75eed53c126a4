"""§3.3.1 (c), refinement: uncertain tokens are dropped and labelled anew from the confident ones around them."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..protocols import MaskRefiner, MaskSource, Router
from ..types import Routed, Scene, TokenGrid


@dataclass(frozen=True)
class LabelSpreading:
    """Zhou et al. 2003."""

    confidence: float = 0.6

    def __call__(self, mask: Float[Tensor, "b n s"], grid: TokenGrid) -> Float[Tensor, "b n s"]:
        return mask


@dataclass(frozen=True)
class Refined:
    """A mask source whose masks are cleaned up before they are used; its logits stay as they are."""

    source: MaskSource
    refiner: MaskRefiner
    grid: TokenGrid

    def __call__(self, layer: int, q: Float[Tensor, "b heads s d"], k: Float[Tensor, "#b n heads k d"]) -> Routed:
        routed = self.source(layer, q, k)
        with torch.no_grad():
            return replace(routed, mask=self.refiner(routed.mask.detach(), self.grid))


@dataclass(frozen=True)
class RefinedRouter:
    """A router whose masks are only known during denoising, refined at every layer that asks."""

    router: Router
    refiner: MaskRefiner

    def plan(self, scene: Scene) -> MaskSource:
        return Refined(self.router.plan(scene), self.refiner, scene.grid)
