"""What training minimises: one pure function for each equation of the paper (§3.4, Appendix B).

All are means, over tokens, layers and rows, so that their weights mean the same on every grid and at every depth.
Axes beside those of `types`: classes are the n characters and, last, the background.
"""

from collections.abc import Sequence

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor

from ..types import TokenGrid


def noised(
    clean: Float[Tensor, "b t c H W"], noise: Float[Tensor, "b t c H W"], signal: Float[Tensor, " b"]
) -> Float[Tensor, "b t c H W"]:
    """z_t = sqrt(ᾱ) z_0 + sqrt(1 - ᾱ) ε. signal: ᾱ, from 1, all video, to 0, nothing but noise."""
    kept, added = _shares(signal, clean)
    return kept * clean + added * noise


def velocity(
    clean: Float[Tensor, "b t c H W"], noise: Float[Tensor, "b t c H W"], signal: Float[Tensor, " b"]
) -> Float[Tensor, "b t c H W"]:
    """v = sqrt(ᾱ) ε - sqrt(1 - ᾱ) z_0, what the network predicts. Finite at both ends of the schedule: at ᾱ = 0,
    where noise says nothing of the video, it is -z_0."""
    kept, added = _shares(signal, clean)
    return kept * noise - added * clean


def denoising_loss(
    predicted: Float[Tensor, "b t c H W"],
    true: Float[Tensor, "b t c H W"],
    weight: Float[Tensor, "#b #t 1 #H #W"] | None = None,
) -> Float[Tensor, ""]:
    """Eq. 1 as CogVideoX weights it: the mean of (v̂ - v)².

    CogVideoX writes it on the clean latents, (ẑ_0 - z_0)² / (1 - ᾱ), with ẑ_0 = sqrt(ᾱ) z_t - sqrt(1 - ᾱ) v̂. That is
    the same number, since ẑ_0 - z_0 = sqrt(1 - ᾱ) (v - v̂), but divides by almost zero where there is almost no noise.
    weight: how much each place counts, see `dynamic_mask`; every row then counts the same.
    """
    error = (predicted - true).square()
    if weight is None:
        return error.mean()
    weight = weight.expand_as(error)
    return (rowwise_sum(error * weight) / rowwise_sum(weight)).mean()


def dynamic_mask(focus: Float[Tensor, "b t h w"], chosen: Bool[Tensor, " b"], patch: int) -> Float[Tensor, "b t 1 H W"]:
    """The weight of the dynamic mask loss: in rows that were chosen, only where somebody is counts, frame by frame.

    focus: how much each token counts then. It follows them, never the union over time as in the released code: where
    somebody was a second ago is background now. A row in which nobody is to be seen counts everywhere. patch: latents
    per token and side.
    """
    everywhere = ~chosen | (focus.flatten(1).sum(dim=1) == 0)
    focus = torch.where(everywhere[:, None, None, None], torch.ones_like(focus), focus)
    return repeat(focus, "b t h w -> b t 1 (h p) (w q)", p=patch, q=patch)


def routing_loss(logits: Sequence[Float[Tensor, "b classes s"]], masks: Float[Tensor, "b n s"]) -> Float[Tensor, ""]:
    """Eq. 2: cross-entropy over n characters and the background, mean over face layers and tokens.

    masks: the true share of each token that each character covers; the background has what is left. They are the
    target as it is: the noise of teacher forcing is never in it.
    """
    target = torch.cat([masks, (1 - masks.sum(dim=1, keepdim=True)).clamp(min=0)], dim=1)
    return torch.stack([-(target * layer.log_softmax(dim=1)).sum(dim=1).mean() for layer in logits]).mean()


def smoothness_loss(masks: Sequence[Float[Tensor, "b n s"]], grid: TokenGrid) -> Float[Tensor, ""]:
    """Eq. 3: the L1 norm of the masks' gradient in time, down and across, mean over face layers."""
    volume = torch.stack([grid.fold(layer) for layer in masks])
    return sum((_differences(volume, axis) for axis in (-3, -2, -1)), volume.new_zeros(()))


def agreement_loss(masks: Sequence[Float[Tensor, "b n s"]]) -> Float[Tensor, ""]:
    """Eq. 4: the variance of each token's mask over the face layers, so that all layers say the same."""
    return torch.stack(list(masks)).var(dim=0, correction=0).mean()


def predicted_masks(logits: Sequence[Float[Tensor, "b classes s"]]) -> tuple[Float[Tensor, "b n s"], ...]:
    """What a router with a background class says. `Routed.mask` is not it where true masks are injected instead."""
    return tuple(layer.softmax(dim=1)[:, :-1] for layer in logits)


def intersection_over_union(predicted: Float[Tensor, "b n s"], masks: Float[Tensor, "b n s"]) -> Float[Tensor, "b n"]:
    """IoU of the tokens that belong mostly to a character; 1 where it is nowhere and is not predicted either."""
    found, true = predicted > 0.5, masks > 0.5
    both, either = (found & true).sum(dim=-1), (found | true).sum(dim=-1)
    return torch.where(either == 0, 1.0, both / either.clamp(min=1))


def rowwise_sum(x: Float[Tensor, "b t c H W"]) -> Float[Tensor, " b"]:
    return x.flatten(1).sum(dim=1)


def _shares(signal: Float[Tensor, " b"], like: Tensor) -> tuple[Float[Tensor, "b 1 1 1 1"], Float[Tensor, "b 1 1 1 1"]]:
    """Of video and of noise, as amplitudes; ᾱ may be a rounding error beyond its ends."""
    share = rearrange(signal, "b -> b 1 1 1 1").clamp(0, 1)
    return share.sqrt().to(like), (1 - share).sqrt().to(like)


def _differences(volume: Float[Tensor, "layers b n t h w"], axis: int) -> Float[Tensor, ""]:
    """Mean distance of neighbours along an axis; along one of a single element there are none."""
    if volume.shape[axis] < 2:
        return volume.new_zeros(())
    return volume.diff(dim=axis).abs().mean()
