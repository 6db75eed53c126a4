"""ComfyUI's values to the core's and back; every axis flip of the pack is here.

ComfyUI: IMAGE is [batch, rows, columns, channels] 0..1, MASK [batch, rows, columns], AUDIO a dict of waveform
[batch, channels, samples] and sample_rate, LATENT a dict of samples [batch, channels, frames, rows, columns] that are
not scaled yet, CONDITIONING a list of [tokens, extras].
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from ..byav_core.types import Audio


def picture(image: Float[Tensor, "_ H W c"], what: str = "image") -> Float[Tensor, "3 H W"]:
    """The first picture of an IMAGE; gray is spread over the channels, transparency laid on white."""
    return pictures(image[:1], what)[0]


def only_picture(image: Float[Tensor, "_ H W c"], what: str) -> Float[Tensor, "3 H W"]:
    """The first picture of an IMAGE, with a warning when there are more."""
    if len(image) > 1:
        warnings.warn(f"the {what} holds {len(image)} pictures, of which the first is used", stacklevel=2)
    return picture(image, what)


def pictures(image: Float[Tensor, "f H W c"], what: str = "image") -> Float[Tensor, "f 3 H W"]:
    """All pictures of an IMAGE. Raises ValueError when it has none, or values that are not numbers."""
    if image.ndim != 4 or 0 in image.shape:
        raise ValueError(f"the {what} has extent {tuple(image.shape)}; connect an IMAGE with at least one picture")
    if not torch.isfinite(image).all():
        raise ValueError(f"the {what} holds values that are not numbers (NaN or infinite); make it anew")
    channels_first = rearrange(image.float(), "f H W c -> f c H W").clamp(0, 1)
    colour, alpha = channels_first[:, :3], channels_first[:, 3:4]
    if colour.shape[1] != 3:
        colour = repeat(colour[:, 0], "f H W -> f 3 H W")
    return colour * alpha + (1 - alpha) if alpha.shape[1] else colour


def to_image(frames: Float[Tensor, "f 3 H W"]) -> Float[Tensor, "f H W 3"]:
    return rearrange(frames.float().cpu(), "f c H W -> f H W c").contiguous()


def mask_frames(mask: Float[Tensor, "*f H W"], what: str = "mask") -> Float[Tensor, "f H W"]:
    """A MASK of one or many pictures. Raises ValueError when it is empty or holds values that are not numbers."""
    frames = mask[None] if mask.ndim == 2 else mask
    if frames.ndim != 3 or 0 in frames.shape:
        raise ValueError(f"the {what} has extent {tuple(mask.shape)}; connect a MASK of rows and columns")
    if not torch.isfinite(frames).all():
        raise ValueError(f"the {what} holds values that are not numbers (NaN or infinite); paint it anew")
    return frames.float().clamp(0, 1)


def to_mask(frames: Float[Tensor, "f H W"]) -> Float[Tensor, "f H W"]:
    return frames.float().cpu().contiguous()


def recording(audio: dict[str, Any], what: str = "audio") -> Audio:
    """An AUDIO as mono samples, its channels averaged. Raises ValueError for anything but one recording."""
    if audio is None:
        raise ValueError(
            f"the {what} is missing: the node before Speech handed on no sound, as for a video file without a sound "
            "track; connect a recording"
        )
    waveform = audio["waveform"]
    if waveform.ndim != 3 or waveform.shape[0] != 1:
        raise ValueError(
            f"the {what} has extent {tuple(waveform.shape)}; connect one recording per Speech node, "
            "1 x channels x samples"
        )
    if waveform.shape[1] == 0:
        raise ValueError(f"the {what} has no channels; connect a recording with sound in it")
    return Audio(waveform[0].float().mean(dim=0), int(audio["sample_rate"]))


def to_audio(audio: Audio) -> dict[str, Any]:
    waveform = rearrange(audio.waveform.float().cpu(), "samples -> 1 1 samples")
    return {"waveform": waveform.contiguous(), "sample_rate": audio.sample_rate}


def to_latent(latents: Float[Tensor, "1 t c H W"], scaling_factor: float) -> dict[str, Any]:
    """As ComfyUI's VAE nodes expect latents: channels before frames, and without the model's scaling."""
    samples = rearrange(latents.float().cpu(), "b t c H W -> b c t H W") / scaling_factor
    return {"samples": samples.contiguous()}


def latents(latent: dict[str, Any], channels: int, scaling_factor: float) -> Float[Tensor, "1 t c H W"]:
    """Raises ValueError when these latents are of another model."""
    samples = latent["samples"]
    if samples.ndim != 5 or samples.shape[1] != channels:
        raise ValueError(
            f"latents of extent {tuple(samples.shape)} are not of this model, whose latents have {channels} "
            "channels and 5 axes; connect the Sampler's latent and the same model"
        )
    return rearrange(samples * scaling_factor, "b c t H W -> b t c H W")[:1]


def text_tokens(conditioning: list, length: int, channels: int) -> Float[Tensor, "1 l d"]:
    """ComfyUI's CONDITIONING as text tokens. Raises ValueError when another text encoder made it."""
    if not conditioning:
        raise ValueError("the conditioning is empty; connect CLIP Text Encode, or leave it unconnected")
    tokens = conditioning[0][0]
    if tokens.ndim != 3 or tokens.shape[-1] != channels or tokens.shape[1] > length:
        raise ValueError(
            f"conditioning of extent {tuple(tokens.shape)} is not of this model's text encoder, which gives up to "
            f"{length} tokens of {channels} channels; encode with Load CLIP of type cogvideox, or leave it unconnected"
        )
    return tokens[:1].float()
