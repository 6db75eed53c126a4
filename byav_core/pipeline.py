"""From portraits, voices and a prompt to a video: one function per arrow of the data flow, and `generate`, all of them.

The functions take and give values; none keeps anything. ComfyUI's nodes call them one by one, so that its cache
recomputes only what changed.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from .config import ModelConfig
from .matrix import AudioCharacterMatrix
from .model.injection import with_strength
from .model.speech_projector import windows
from .network import Models
from .protocols import CharacterLocator, FaceEncoder, MaskRefiner, MaskSource, SpeechEncoder, TextEncoder
from .protocols import VideoSegmenter
from .routing import RouterParts, make_router
from .routing.fixed import FixedMask
from .sampling.guidance import Conditions, Guidance, Joint, Separate, passes_per_step
from .sampling.latents import fit_frame, reference_canvas, start_latents
from .sampling.sampler import Denoised, StepReport, cancellable, denoise
from .sampling.schedule import SOLVERS, make_solver
from .types import Audio, Character, Clip, Scene, SpeechStream, TokenGrid, Video, silence

__all__ = ["Conditions", "Denoised", "Guidance", "Joint", "Separate", "StepReport"]  # part of this file's vocabulary

logger = logging.getLogger(__name__)

OnStep = Callable[[StepReport], None]
CheckCancelled = Callable[[], None]
Place = Callable[..., AbstractContextManager]


@dataclass(frozen=True)
class Compute:
    """Where the network computes and in which precision; its weights may wait elsewhere and in another."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def of(cls, module: nn.Module) -> "Compute":
        first = next(module.parameters())
        return cls(first.device, first.dtype)

    def place(self, x: Tensor) -> Tensor:
        return x.to(self.device, self.dtype)


@dataclass(frozen=True)
class Prompt:
    """Text tokens of what to show, and of what guidance leads away from."""

    text: Float[Tensor, "1 l d"]
    negative: Float[Tensor, "1 l d"]


@dataclass(frozen=True)
class PreparedScene:
    """The clip's extent in pixels and in tokens, and its first frame at that size if there is one.

    note: what was done to the first frame to make it fit, for the user; empty if nothing.
    """

    clip: Clip
    grid: TokenGrid
    inpainting_frame: Float[Tensor, "3 H W"] | None = None
    note: str = ""


@dataclass(frozen=True)
class SamplingSettings:
    """How to sample. audio_start, audio_end: fractions of the steps in which speech is guided. strength: how strongly
    speech moves each character, 1 if not given. stop_at_step ends early, with the clean latents foreseen by then."""

    seed: int = 0
    steps: int = 50
    scheduler: str = "dpm"
    guidance: Guidance = Joint()
    audio_start: float = 0.0
    audio_end: float = 1.0
    strength: tuple[float, ...] | None = None
    stop_at_step: int | None = None


def add_character(
    cast: tuple[Character, ...],
    name: str,
    picture: Float[Tensor, "3 H W"],
    face_encoder: FaceEncoder,
    box: tuple[float, float, float, float] | None = None,
) -> tuple[Character, ...]:
    """The cast with one person more. `box` chooses a face in the picture; without it the largest counts.

    Raises ValueError when the name is empty or taken.
    """
    raise NotImplementedError


def add_speech(
    streams: tuple[SpeechStream, ...],
    name: str,
    audio: Audio,
    speech_encoder: SpeechEncoder,
    fps: float,
    start_seconds: float = 0.0,
    loudness_db: float | None = None,
) -> tuple[SpeechStream, ...]:
    """The streams with one voice more, silent for `start_seconds` and then speaking.

    loudness_db: level to bring the sound to, RMS in dB below full scale (-20 is usual speech); None keeps it. What
    the network hears does not depend on it. Raises ValueError for an empty or taken name, for sound that is empty or
    not a number, and for a start before zero.
    """
    raise NotImplementedError


def encode_prompt(text_encoder: TextEncoder, prompt: str, negative: str = "") -> Prompt:
    raise NotImplementedError


def prepare_scene(
    config: ModelConfig,
    width: int,
    height: int,
    frames: int,
    first_frame: Float[Tensor, "3 H W"] | None = None,
    fit: str = "crop",
) -> PreparedScene:
    """The clip checked against what the model can hold, and the first frame at its size, never squeezed.

    fit: "crop" or "pad". Raises ValueError naming the nearest size or number of frames that fits.
    """
    raise NotImplementedError


def condition(
    models: Models,
    prompt: Prompt,
    cast: tuple[Character, ...],
    streams: tuple[SpeechStream, ...],
    matrix: AudioCharacterMatrix | None,
    clip: Clip,
    compute: Compute | None = None,
) -> Conditions:
    """All conditions of a generation. Face extractor and speech projector are used here and nowhere later.

    Without a matrix voices go one to one. Raises ValueError when the matrix is for other people or voices.
    """
    raise NotImplementedError


def plan_routing(
    name: str,
    models: Models,
    scene: PreparedScene,
    cast: tuple[Character, ...],
    *,
    masks: Float[Tensor, "n f H W"] | None = None,
    locator: CharacterLocator | None = None,
    segmenter: VideoSegmenter | None = None,
    refiner: MaskRefiner | None = None,
    coarse: Callable[[], Float[Tensor, "f 3 H W"]] | None = None,
) -> MaskSource:
    """The router of that name, planned for this scene. masks: given by hand, in the order of the cast.

    coarse: makes Post-Denoise's first pass; see `coarse_video`.
    """
    raise NotImplementedError


def coarse_video(
    models: Models,
    prompt: Prompt,
    scene: PreparedScene,
    seed: int,
    steps: int,
    *,
    guidance_scale: float = 6.0,
    on_step: OnStep | None = None,
    check_cancelled: CheckCancelled | None = None,
    compute: Compute | None = None,
) -> Float[Tensor, "f 3 H W"]:
    """Post-Denoise's first pass: prompt and first frame only, no faces, no speech (§3.3.1 b).

    The same seed starts from the same noise as the pass that follows, so that people stand where they will stand.
    """
    raise NotImplementedError


def sample(
    models: Models,
    scene: PreparedScene,
    conditions: Conditions,
    masks: MaskSource,
    settings: SamplingSettings,
    *,
    on_step: OnStep | None = None,
    check_cancelled: CheckCancelled | None = None,
    compute: Compute | None = None,
) -> Denoised:
    """Noise to the video's latents. Uses the transformer, the masks' source and the video autoencoder's encoder."""
    raise NotImplementedError


def probe_masks(
    models: Models,
    scene: PreparedScene,
    conditions: Conditions,
    masks: MaskSource,
    settings: SamplingSettings,
    *,
    check_cancelled: CheckCancelled | None = None,
    compute: Compute | None = None,
) -> Float[Tensor, "n t h w"]:
    """Where a learned router sees everybody, from the first half of a very short run."""
    raise NotImplementedError


def decode(
    models: Models, latents: Float[Tensor, "1 t c H W"], check_cancelled: CheckCancelled | None = None
) -> Float[Tensor, "f 3 H2 W2"]:
    """Latents to frames 0..1. Raises FloatingPointError rather than handing on frames that are not numbers."""
    raise NotImplementedError


def masks_to_frames(masks: Float[Tensor, "n t h w"], clip: Clip) -> Float[Tensor, "n f H W"]:
    """Masks of tokens over the pixels of every frame: each frame takes the mask of its latent frame."""
    raise NotImplementedError


def mix(streams: tuple[SpeechStream, ...], clip: Clip) -> Audio:
    """All voices together for exactly the clip's duration, turned down only if their sum would clip."""
    raise NotImplementedError
