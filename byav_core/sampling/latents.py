"""The input of the network, three pictures' worth of channels: noisy latents | reference faces | first frame.

Sampling and training build it with the same functions. Pictures are 0..1 here; the video autoencoder scales them.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from ..protocols import VideoAutoencoder

logger = logging.getLogger(__name__)

Draw = Callable[[torch.Generator], Float[Tensor, "1 1 c H W"]]  # the latent of a picture, from its posterior


@dataclass(frozen=True)
class LatentInput:
    """Where sampling starts: noise, and beside it what every step is shown unchanged."""

    noise: Float[Tensor, "b t c H W"]
    reference: Float[Tensor, "b t c H W"]
    inpainting: Float[Tensor, "b t c H W"]

    def at(self, latents: Float[Tensor, "b t c H W"]) -> Float[Tensor, "b t c3 H W"]:
        """The 3C' channels of one step (§3.1), in the order the weights were trained with."""
        return torch.cat([latents, self.reference, self.inpainting], dim=2)

    def to(self, device: torch.device) -> "LatentInput":
        return LatentInput(self.noise.to(device), self.reference.to(device), self.inpainting.to(device))


def start_latents(
    autoencoder: VideoAutoencoder,
    extent: tuple[int, int, int, int],
    canvas: Float[Tensor, "3 H W"] | None,
    frame: Float[Tensor, "3 H W"] | None,
    generator: torch.Generator,
) -> LatentInput:
    """All draws come from `generator` in the released order: reference canvas, noise, first frame.

    extent: t c H W of the latents. A picture that is absent becomes zero latents, but its draw is made all the same,
    so that a seed means the same noise with and without it.
    """
    return draw_start(extent, _drawing(autoencoder, canvas), _drawing(autoencoder, frame), generator)


def draw_start(
    extent: tuple[int, int, int, int], canvas: Draw | None, frame: Draw | None, generator: torch.Generator
) -> LatentInput:
    """`start_latents` of pictures that are encoded already; training draws anew from what it encoded once."""
    reference = _first_latent(canvas, extent, generator)
    noise = torch.randn((1, *extent), generator=generator)
    inpainting = _first_latent(frame, extent, generator)
    return LatentInput(noise.to(reference), reference, inpainting.to(reference))


def reference_canvas(crops: tuple[Float[Tensor, "3 _ _"], ...], height: int, width: int) -> Float[Tensor, "3 H W"]:
    """The characters' face crops side by side on white, each as a centred square in one of n equal cells.

    For two characters at 480 x 720 these are the released model's squares of 360 pixels at (360 i, 60). Backgrounds
    are gone already: crops come on white.
    """
    side = min(width // max(1, len(crops)), height)
    if side < 1:
        raise ValueError(
            f"{len(crops)} reference faces do not fit side by side in {width} pixels; make the video wider"
        )
    canvas = torch.ones(3, height, width)
    top = (height - side) // 2
    for i, crop in enumerate(crops):
        left = (2 * i + 1) * width // (2 * len(crops)) - side // 2
        canvas[:, top : top + side, left : left + side] = resized(crop, side, side)
    return canvas


def fit_frame(frame: Float[Tensor, "3 _ _"], height: int, width: int, fit: str = "crop") -> Float[Tensor, "3 H W"]:
    """A first frame of any shape at the video's size, never squeezed: "crop" cuts what sticks out around the centre,
    "pad" adds black bars, as the training clips have them. Logs what was cut or added."""
    scale_of = {"crop": max, "pad": min}
    if fit not in scale_of:
        raise ValueError(f"a first frame cannot be fitted by {fit!r}; choose one of {list(scale_of)}")
    scale = scale_of[fit](height / frame.shape[1], width / frame.shape[2])
    inner = resized(frame, max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[2] * scale)))
    if note := fit_message(frame, height, width, fit):
        logger.info(note)
    spare_rows, spare_columns = height - inner.shape[1], width - inner.shape[2]
    above, before = math.floor(spare_rows / 2), math.floor(spare_columns / 2)
    return F.pad(inner, (before, spare_columns - before, above, spare_rows - above))


def fit_message(frame: Float[Tensor, "3 _ _"], height: int, width: int, fit: str) -> str:
    """What `fit_frame` cuts or adds, in words; empty when nothing."""
    if abs(frame.shape[1] * width - frame.shape[2] * height) < max(frame.shape[1:]):  # the same shape, to a pixel
        return ""
    done = {"crop": "cropped around its centre", "pad": "given black bars"}[fit]
    return f"the first frame ({frame.shape[2]}x{frame.shape[1]}) was {done} to fill {width}x{height}"


def noise_faces(
    frame: Float[Tensor, "3 H W"], region: Float[Tensor, "H W"], generator: torch.Generator
) -> Float[Tensor, "3 H W"]:
    """The first frame with noise where `region` is 1, so that identity is taken from the references and not from it.

    Strength exp(N(-1, 0.5)) per picture, in units of -1..1 (half of it on 0..1). Training; optional when sampling.
    """
    strength = torch.exp(torch.randn((), generator=generator) * 0.5 - 1.0) / 2
    noise = torch.randn(frame.shape, generator=generator) * strength
    return frame + noise.to(frame) * region.to(frame)


def resized(picture: Float[Tensor, "3 _ _"], height: int, width: int) -> Float[Tensor, "3 H W"]:
    """Bicubic, without aliasing when made smaller."""
    if picture.shape[1:] == (height, width):
        return picture
    larger = F.interpolate(picture[None].float(), (height, width), mode="bicubic", antialias=True, align_corners=False)
    return larger[0].clamp(0, 1)


def _drawing(autoencoder: VideoAutoencoder, picture: Float[Tensor, "3 H W"] | None) -> Draw | None:
    if picture is None:
        return None
    return lambda generator: autoencoder.encode(rearrange(picture, "c h w -> 1 1 c h w"), generator)


def _first_latent(
    draw: Draw | None, extent: tuple[int, int, int, int], generator: torch.Generator
) -> Float[Tensor, "1 t c H2 W2"]:
    """The picture as the first of t latent frames; the others are zero (CogVideoX-I2V)."""
    frames, channels, height, width = extent
    if draw is None:
        torch.randn((1, channels, 1, height, width), generator=generator)
        return torch.zeros(1, *extent)
    return F.pad(draw(generator).float(), (0, 0, 0, 0, 0, 0, 0, frames - 1))
