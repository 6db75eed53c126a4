"""The values that flow between the parts.

Axes, one vocabulary for the whole project: b batch · n characters · m speech streams · f video frames · t latent
frames · h w token rows and columns · s = t·h·w visual tokens · l text tokens · k tokens per embedding · d channels ·
H W pixels. Pictures are 0..1, RGB, channels first, unless a docstring says otherwise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import torch
from einops import rearrange
from jaxtyping import Float, Shaped
from torch import Tensor


@dataclass(frozen=True)
class TokenGrid:
    """Extent of the visual tokens of a clip. The raster order (t h w) is written down here and nowhere else."""

    t: int
    h: int
    w: int

    @property
    def tokens(self) -> int:
        return self.t * self.h * self.w

    def fold(self, x: Shaped[Tensor, "b n s"]) -> Shaped[Tensor, "b n t h w"]:
        if x.shape[-1] != self.tokens:
            raise ValueError(f"{x.shape[-1]} tokens do not fill a {self.t}x{self.h}x{self.w} grid ({self.tokens})")
        return rearrange(x, "b n (t h w) -> b n t h w", t=self.t, h=self.h, w=self.w)

    def flatten(self, x: Shaped[Tensor, "b n t h w"]) -> Shaped[Tensor, "b n s"]:
        if tuple(x.shape[-3:]) != (self.t, self.h, self.w):
            raise ValueError(f"mask of extent {tuple(x.shape[-3:])} does not fit grid {(self.t, self.h, self.w)}")
        return rearrange(x, "b n t h w -> b n (t h w)")


@dataclass(frozen=True)
class Audio:
    """One recording: samples in -1..1, mono, at `sample_rate` Hz."""

    waveform: Float[Tensor, " samples"]
    sample_rate: int

    @property
    def seconds(self) -> float:
        return self.waveform.shape[-1] / self.sample_rate

    def rows(self, per_second: float) -> int:
        """Rows of a clock of `per_second` rows that this sound fills, the last one begun counting whole."""
        exact = Fraction(self.waveform.shape[-1], self.sample_rate) * Fraction(per_second).limit_denominator(100_000)
        return math.ceil(exact)

    def check(self, name: str) -> None:
        """Raises ValueError naming the sound when it has no samples or some of them are not numbers."""
        if self.sample_rate <= 0:
            raise ValueError(f"{name} has a sample rate of {self.sample_rate}; it must be above 0, as 16000 or 48000")
        if not self.waveform.numel():
            raise ValueError(f"{name} is empty; give a sound of at least one sample (a silent one is fine)")
        if wrong := int((~torch.isfinite(self.waveform)).sum()):
            raise ValueError(
                f"{wrong} of {self.waveform.numel()} samples of {name} are NaN or infinite; mend the sound"
            )


@dataclass(frozen=True)
class FaceFeatures:
    """What the frozen face encoders say of one reference picture (§3.2).

    identity: face-recognition vector and CLIP image embedding, joined.
    hidden: CLIP feature maps of several depths, patches x channels each.
    crop: the aligned face on white that was looked at, for the preview and the reference canvas.
    found: False when no face was found and the whole picture was used.
    """

    identity: Float[Tensor, " identity"]
    hidden: tuple[Float[Tensor, "patches d"], ...]
    crop: Float[Tensor, "3 H W"]
    found: bool = True


@dataclass(frozen=True)
class Character:
    """One person of the cast: a name that errors and tables use, a reference picture, and its features."""

    name: str
    picture: Float[Tensor, "3 H W"]
    features: FaceFeatures


@dataclass(frozen=True)
class SpeechStream:
    """One voice: a name, the sound as it will be heard, and its hidden states on the video's frame clock.

    hidden: wav2vec2 hidden states, one row per video frame from the first sample of `audio` on (f layers d).
    silence: hidden states of silence, for the frames before and after the sound; without them zeros are taken.
    """

    name: str
    audio: Audio
    hidden: Float[Tensor, "f layers d"]
    silence: Float[Tensor, "layers d"] | None = None


@dataclass(frozen=True)
class Conditioning:
    """What one guidance pass tells the transformer (Figure 2): the three embeddings and who says what.

    text: text tokens. characters: e_c. speech: e_a. audio_to_character: A^ac, m streams by n characters.
    A batch of one serves every row: the halves of guidance share their faces.
    """

    text: Float[Tensor, "#b l d_text"]
    characters: Float[Tensor, "#b n k d_face"]
    speech: Float[Tensor, "#b m t k_speech d_speech"]
    audio_to_character: Float[Tensor, "#b m n"]


@dataclass(frozen=True)
class Routed:
    """Who owns each visual token at one layer (A^cv), and the logits it came from if it was learned.

    logits: n characters and, last, the background.
    """

    mask: Float[Tensor, "b n s"]
    logits: Float[Tensor, "b classes s"] | None = None


@dataclass(frozen=True)
class Scene:
    """All a router may look at before sampling starts.

    names: the characters in the order of the masks, for messages.
    frames: of the video, if known; masks over time then have as many.
    inpainting_frame: the first frame, already at the video's size.
    given: masks made by hand, over frames and pixels of any size.
    coarse_video: a first pass without face and audio conditions (§3.3.1 b); called only by Post-Denoise.
    """

    grid: TokenGrid
    names: tuple[str, ...]
    cast: tuple[Character, ...] = ()
    frames: int | None = None
    inpainting_frame: Float[Tensor, "3 H W"] | None = None
    given: Float[Tensor, "n _ _ _"] | None = None
    coarse_video: Callable[[], Float[Tensor, "f 3 H W"]] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Clip:
    """Extent of a video in pixels, frames and time."""

    frames: int
    height: int
    width: int
    fps: float

    def check(self, pixels_per_token: int, frames_per_latent: int) -> None:
        """Raises ValueError naming the nearest extent that the latents and patches can hold."""
        if self.frames < 1 or (self.frames - 1) % frames_per_latent:
            near = max(0, round((self.frames - 1) / frames_per_latent)) * frames_per_latent + 1
            raise ValueError(
                f"{self.frames} frames do not fit: the video autoencoder needs {frames_per_latent}k+1; use {near}"
            )
        for side, size in (("height", self.height), ("width", self.width)):
            if size < pixels_per_token or size % pixels_per_token:
                near = max(1, round(size / pixels_per_token)) * pixels_per_token
                raise ValueError(f"{side} {size} is not a multiple of {pixels_per_token}; use {near}")

    def grid(self, pixels_per_token: int, frames_per_latent: int) -> TokenGrid:
        self.check(pixels_per_token, frames_per_latent)
        return TokenGrid(
            math.ceil(self.frames / frames_per_latent), self.height // pixels_per_token, self.width // pixels_per_token
        )


@dataclass(frozen=True)
class Video:
    """Frames 0..1 and, if any, the mixed sound that belongs to them, both starting at time zero."""

    frames: Float[Tensor, "f 3 H W"]
    fps: float
    audio: Audio | None = None


def silence(seconds: float, sample_rate: int) -> Audio:
    return Audio(torch.zeros(round(seconds * sample_rate)), sample_rate)
