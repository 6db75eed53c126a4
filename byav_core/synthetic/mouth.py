"""How far a sound opens a mouth: its energy in the band of the voice, for any sound at all; and what of it is seen."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import max_pool1d

from ..types import Audio
from .identity import REDDEST

BAND = (100.0, 4000.0)  # Hz
WINDOW = 0.16  # seconds of sound that a frame looks at, bell-shaped around its middle
WIDE_OPEN = 0.26  # RMS in the band at which a mouth is open as far as it goes; a voice at -20 dB averages 0.1
CURVE = 0.75  # below 1: quiet sounds open it more than their share
SHUT = 0.06  # what is less opens nothing
REST = 0.15  # seconds of pause, such as between words, within which somebody still counts as speaking
FULL_RED = 0.1  # over REDDEST, from where on a pixel is the inside of a mouth and nothing else


def mouth_opening(audio: Audio, frames: int, fps: float) -> Float[Tensor, " f"]:
    """0..1 for every frame of a clip that starts with the sound; after its end the mouth is shut."""
    power = np.square(_band(audio))
    bell = np.hanning(max(3, round(WINDOW * audio.sample_rate)) + 2)[1:-1]
    smooth = np.convolve(power, bell / bell.sum(), mode="full")[(len(bell) - 1) // 2 :]
    middles = np.round((np.arange(frames) + 0.5) / fps * audio.sample_rate).astype(int)
    heard = np.where(middles < len(smooth), smooth[middles.clip(max=len(smooth) - 1)], 0.0)
    opening = (np.sqrt(heard.clip(min=0)) / WIDE_OPEN) ** CURVE
    return torch.from_numpy(np.where(opening < SHUT, 0.0, opening).clip(max=1.0)).float()


def speaking(openings: Float[Tensor, "n f"], fps: float) -> Bool[Tensor, "n f"]:
    """While a voice is heard; pauses as short as those between words count as speech."""
    reach = max(1, round(REST * fps))
    return max_pool1d(openings, 2 * reach + 1, stride=1, padding=reach) > 0


def redness(frames: Float[Tensor, "... 3 H W"]) -> Float[Tensor, "... H W"]:
    """1 where a pixel (0..1) is the inside of a mouth, 0 where it is anything else of the drawn world."""
    red, green, blue = frames.unbind(dim=-3)
    return ((red - torch.maximum(green, blue) - REDDEST) / FULL_RED).clamp(0, 1)


def _band(audio: Audio) -> np.ndarray:
    from scipy.signal import butter, sosfilt

    low, high = BAND
    high = min(high, 0.45 * audio.sample_rate)
    if low >= high:
        raise ValueError(f"a sound at {audio.sample_rate} Hz has no band of the voice; use 8000 Hz or more")
    shape = butter(2, (low, high), "bandpass", fs=audio.sample_rate, output="sos")
    return sosfilt(shape, audio.waveform.double().cpu().numpy())
