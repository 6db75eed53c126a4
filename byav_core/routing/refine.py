"""§3.3.1 (c), refinement: uncertain tokens are dropped and labelled anew from the confident ones around them."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from ..protocols import MaskRefiner, MaskSource, Router
from ..types import Routed, Scene, TokenGrid


@dataclass(frozen=True)
class LabelSpreading:
    """Semi-supervised clustering over space and time: Zhou et al., "Learning with local and global consistency".

    The same as scikit-learn's LabelSpreading with a radial kernel on (t, h, w): labels F of all tokens settle between
    those of their neighbours and the confident ones Y, F = alpha S F + (1 - alpha) Y. On a grid that kernel is a
    product of one small matrix per axis, so a round costs s (t + h + w) instead of s^2 and runs where the mask is.

    confidence: the probability below which a token loses its label. alpha: how far neighbours may overrule it. reach:
    standard deviation of the kernel in tokens and latent frames. trust: of the support a token would have if all were
    confident, the share below which it goes to the background.
    """

    confidence: float = 0.6
    alpha: float = 0.7
    reach_in_space: float = 0.6
    reach_in_time: float = 1.0
    trust: float = 0.05
    rounds: int = 30

    @torch.no_grad()
    def __call__(self, mask: Float[Tensor, "b n s"], grid: TokenGrid) -> Float[Tensor, "b n s"]:
        """Hard masks. A character of whom nothing is certain, or nothing is left, keeps the mask it came with."""
        labels = self.confident(mask.float())
        everything = torch.ones_like(labels[:, :1])
        spread = grid.flatten(self.spread(grid.fold(torch.cat([labels, everything], dim=1)), grid))
        claims, possible = spread[:, :-1], spread[:, -1]
        n = mask.shape[1]
        owner = claims.argmax(dim=1).where(claims.sum(dim=1) >= self.trust * possible, n)
        hard = one_hot(owner, n + 1)[..., :n].mT.to(mask)
        lost = (hard.sum(dim=-1, keepdim=True) == 0) * mask
        return hard * (1 - lost.sum(dim=1, keepdim=True)).clamp(min=0) + lost

    def confident(self, mask: Float[Tensor, "b n s"]) -> Float[Tensor, "b classes s"]:
        """One-hot labels of the tokens that are sure of theirs, background last; zeros elsewhere."""
        classes = torch.cat([mask, (1 - mask.sum(dim=1, keepdim=True)).clamp(min=0)], dim=1)
        share, label = (classes / classes.sum(dim=1, keepdim=True)).max(dim=1)
        return one_hot(label, classes.shape[1]).mT * (share >= self.confidence)[:, None].to(mask)

    def spread(self, labels: Float[Tensor, "b c t h w"], grid: TokenGrid) -> Float[Tensor, "b c t h w"]:
        kernels = self.kernels(grid, labels)
        degree = _neighbours(torch.ones_like(labels[:1, :1]), kernels)
        scale = degree.clamp(min=torch.finfo(labels.dtype).tiny).rsqrt()
        settled = labels
        for _ in range(self.rounds):
            settled = self.alpha * scale * _neighbours(scale * settled, kernels) + (1 - self.alpha) * labels
        return settled

    def kernels(self, grid: TokenGrid, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        reach = (self.reach_in_time, self.reach_in_space, self.reach_in_space)
        places = (torch.arange(extent, device=like.device).to(like) for extent in (grid.t, grid.h, grid.w))
        return tuple(torch.exp(-((x[:, None] - x) ** 2) / (2 * r**2)) for x, r in zip(places, reach, strict=True))


def _neighbours(x: Float[Tensor, "b c t h w"], kernels: tuple[Tensor, Tensor, Tensor]) -> Float[Tensor, "b c t h w"]:
    """Weighted sum over all other tokens."""
    time, rows, columns = kernels
    around = torch.einsum("tu,bcuhw->bcthw", time, rows @ x @ columns)
    return around - x


@dataclass(frozen=True)
class Refined:
    """A mask source whose masks are cleaned up before they are used; its logits stay as they are."""

    source: MaskSource
    refiner: MaskRefiner
    grid: TokenGrid

    def __call__(self, layer: int, q: Float[Tensor, "b heads s d"], k: Float[Tensor, "#b n heads k d"]) -> Routed:
        routed = self.source(layer, q, k)
        return replace(routed, mask=self.refiner(routed.mask.detach(), self.grid))


@dataclass(frozen=True)
class RefinedRouter:
    """A router whose masks are known only during denoising, refined at every layer that asks."""

    router: Router
    refiner: MaskRefiner

    def plan(self, scene: Scene) -> MaskSource:
        return Refined(self.router.plan(scene), self.refiner, scene.grid)
