"""Masks known before a forward: given by hand, found in a picture, tracked in a video, or the truth in training."""

import warnings
from dataclasses import dataclass, field
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from ..protocols import MaskRefiner, MaskSource
from ..types import Routed, Scene
from .rasterize import Rasterizer, check_extent, soft

EMPTY = 0.05  # a character who nowhere covers more than this of a token owns nothing
SAME_PLACE = 0.8  # intersection over union from which two characters cannot be told apart


class FixedMask:
    """The same mask at every layer and step; a single row serves every row of a batch.

    Raises ValueError when values are not numbers in 0..1, or the characters and tokens asked for are others.
    """

    def __init__(self, mask: Float[Tensor, "b n s"]):
        if not ((mask >= 0) & (mask <= 1)).all():
            raise ValueError(f"mask values should be numbers in 0..1, but span {_span(mask)}")
        self.mask = mask
        self._placed = mask

    def __call__(self, layer: int, q: Float[Tensor, "b heads s d"], k: Float[Tensor, "#b n heads k d"]) -> Routed:
        if self.mask.shape[1:] != (k.shape[1], q.shape[2]):
            raise ValueError(
                f"masks for {self.mask.shape[1]} characters and {self.mask.shape[2]} tokens do not fit "
                f"{k.shape[1]} characters and {q.shape[2]} tokens; plan the routing for this cast and this scene"
            )
        if (self._placed.device, self._placed.dtype) != (q.device, q.dtype):
            self._placed = self.mask.to(q)
        return Routed(self._placed.expand(len(q), -1, -1))


class FixedRouter:
    """Reads the masks that the scene was given."""

    def __init__(self, rasterize: Rasterizer = soft):
        self.rasterize = rasterize

    def plan(self, scene: Scene) -> MaskSource:
        if scene.given is None:
            raise ValueError(
                f"fixed routing needs a mask for each character ({', '.join(scene.names)}); connect them, or choose "
                "another router"
            )
        return masks_on_grid(scene.given, scene, self.rasterize)


def masks_on_grid(
    masks: Float[Tensor, "n f H W"], scene: Scene, rasterize: Rasterizer, refiner: MaskRefiner | None = None
) -> FixedMask:
    """Masks of pixels as fixed masks of tokens, cleaned up by the refiner if there is one.

    Raises ValueError when there are more or fewer masks than characters, when they do not fit the video, hold values
    that are no masks, or leave a character without a token.
    """
    if len(masks) != len(scene.names):
        raise ValueError(
            f"{len(masks)} masks for {len(scene.names)} characters ({', '.join(scene.names)}); give one for each, in "
            "the order of the cast"
        )
    for name, mask in zip(scene.names, masks, strict=True):
        if not ((mask >= 0) & (mask <= 1)).all():
            raise ValueError(f"the mask of {name} should hold numbers in 0..1, but spans {_span(mask)}")
    check_extent(masks, scene)
    on_tokens = rasterize(masks, scene.grid)
    _check_everybody_is_somewhere(on_tokens, scene)
    _warn_of_two_in_one_place(on_tokens, scene)
    flat = scene.grid.flatten(on_tokens[None])
    return FixedMask(refiner(flat, scene.grid) if refiner else flat)


def _check_everybody_is_somewhere(masks: Float[Tensor, "n t h w"], scene: Scene) -> None:
    for name, mask in zip(scene.names, masks, strict=True):
        if mask.max() <= EMPTY:
            raise ValueError(
                f"the mask of {name} is empty on the {scene.grid.w}x{scene.grid.h} token grid: nowhere does it cover "
                f"more than {EMPTY:.0%} of a token; paint a larger area, not hidden by the others"
            )


def _warn_of_two_in_one_place(masks: Float[Tensor, "n t h w"], scene: Scene) -> None:
    for (name, mask), (other, rival) in combinations(zip(scene.names, masks, strict=True), 2):
        overlap = (torch.minimum(mask, rival).sum() / torch.maximum(mask, rival).sum()).item()
        if overlap >= SAME_PLACE:
            warnings.warn(
                f"the masks of {name} and {other} overlap by {overlap:.0%}, so their faces and voices cannot be kept "
                "apart; check that each character has a mask of its own",
                stacklevel=2,
            )


def _span(mask: Tensor) -> str:
    return "NaN" if mask.isnan().any() else f"{mask.min().item():.3g} to {mask.max().item():.3g}"


@dataclass
class TeacherForced:
    """Appendix B: the true mask is injected, disturbed, while the head learns to predict it from detached features.

    dropout: share of the mask's values set to zero. noise: standard deviation of what is added to all of them.
    The target stays as it is (the released code disturbs it as well, by mistake). Each layer is disturbed once, so a
    block that is run again in the backward pass meets the same mask: make a new one for every training step.
    """

    head: MaskSource
    target: Float[Tensor, "b n s"]
    dropout: float
    noise: float
    generator: torch.Generator
    _injected: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, layer: int, q: Float[Tensor, "b heads s d"], k: Float[Tensor, "#b n heads k d"]) -> Routed:
        if layer not in self._injected:
            self._injected[layer] = self.disturbed().to(q)
        return Routed(self._injected[layer], self.head(layer, q.detach(), k.detach()).logits)

    def disturbed(self) -> Float[Tensor, "b n s"]:
        kept = torch.rand(self.target.shape, generator=self.generator, device=self.generator.device) >= self.dropout
        added = torch.randn(self.target.shape, generator=self.generator, device=self.generator.device) * self.noise
        return (self.target * kept.to(self.target) + added.to(self.target)).clamp(0, 1)
