"""Masks known before a forward: given by hand, found in a picture, tracked in a video, or the truth in training."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ..protocols import MaskRefiner, MaskSource
from ..types import Routed, Scene
from .rasterize import Rasterizer, rasterize_soft


class FixedMask:
    """The same mask at every layer and step; a single row serves every row of a batch."""

    def __init__(self, mask: Float[Tensor, "b n s"]):
        if not (torch.isfinite(mask).all() and mask.min() >= 0 and mask.max() <= 1):
            raise ValueError(
                f"mask values span {mask.min().item():.3g} to {mask.max().item():.3g}; masks are finite numbers in 0..1"
            )
        self.mask = mask

    def __call__(self, layer: int, q: Float[Tensor, "b heads s d"], k: Float[Tensor, "#b n heads k d"]) -> Routed:
        if self.mask.shape[1:] != (k.shape[1], q.shape[2]):
            raise ValueError(
                f"masks for {self.mask.shape[1]} characters and {self.mask.shape[2]} tokens meet "
                f"{k.shape[1]} characters and {q.shape[2]} tokens; plan the routing for this cast and this scene"
            )
        self.mask = self.mask.to(q)
        return Routed(self.mask.expand(len(q), -1, -1))


class FixedRouter:
    """Reads the masks that the scene was given; one frame is held still."""

    def __init__(self, rasterize: Rasterizer = rasterize_soft):
        self.rasterize = rasterize

    def plan(self, scene: Scene) -> MaskSource:
        if scene.given is None:
            raise ValueError(
                f"fixed routing needs one mask per character ({', '.join(scene.names)}); connect them, "
                "or choose another router"
            )
        return masks_on_grid(scene.given, scene, self.rasterize)


def masks_on_grid(
    masks: Float[Tensor, "n f H W"], scene: Scene, rasterize: Rasterizer, refiner: MaskRefiner | None = None
) -> FixedMask:
    """Pixel masks as fixed token masks, refused with a sentence where they cannot be meant."""
    if len(masks) != len(scene.names):
        raise ValueError(
            f"{len(masks)} masks for {len(scene.names)} characters ({', '.join(scene.names)}); "
            "give one mask per character, in the order of the cast"
        )
    mask = rasterize(masks, scene.grid)
    for name, largest in zip(scene.names, mask.amax(dim=(1, 2, 3)).tolist(), strict=True):
        if largest < EMPTY:
            raise ValueError(f"the mask of {name} is empty on the token grid; paint a larger area")
    mask = scene.grid.flatten(mask[None])
    return FixedMask(refiner(mask, scene.grid) if refiner else mask)


EMPTY = 0.05  # a character whose mask never covers more than this of a token owns nothing


@dataclass
class TeacherForced:
    """Appendix B."""

    head: MaskSource
    target: Float[Tensor, "b n s"]
    dropout: float
    noise: float
    generator: torch.Generator
    _injected: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def __call__(self, layer: int, q: Float[Tensor, "b heads s d"], k: Float[Tensor, "#b n heads k d"]) -> Routed:
        if layer not in self._injected:
            self._injected[layer] = self.disturbed()
        return Routed(self._injected[layer], self.head(layer, q.detach(), k.detach()).logits)

    def disturbed(self) -> Float[Tensor, "b n s"]:
        random = dict(generator=self.generator, device=self.target.device)
        kept = torch.rand(self.target.shape, **random) >= self.dropout
        return (self.target * kept + self.noise * torch.randn(self.target.shape, **random)).clamp(0, 1)
