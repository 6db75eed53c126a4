"""The Sampler's report: what was done, with what, how long it took, and what to look at twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from .runtime import duration

if TYPE_CHECKING:
    from ..byav_core.pipeline import SamplingSettings
    from ..byav_core.types import SpeechStream
    from .sampler import Run


def text(run: Run, masks: Float[Tensor, "n f H W"], steps_done: int, seconds: float) -> str:
    config, clip, settings = run.model.models.config, run.scene.clip, run.settings
    lines = [
        f"model: {config.name} ({config.trained})",
        f"video: {clip.width} x {clip.height}, {clip.frames} frames at {clip.fps:g} per s",
        f"first frame: {run.scene.note or 'as given' if run.scene.inpainting_frame is not None else 'none'}",
        f"router: {run.router.name}, refinement {run.router.refinement}",
        f"sampling: {steps_done} of {settings.steps} steps, {settings.scheduler}, seed {settings.seed}",
        f"guidance: {guided(settings)}",
        f"time: {duration(seconds)}, {seconds / max(1, steps_done):.2f} s per step",
        *(
            f"character {person.name}: {said_by(run, person.name)}, {seen(masks[i])}"
            for i, person in enumerate(run.cast)
        ),
        *(f"look at: {warning}" for warning in warnings(run, masks)),
    ]
    return "\n".join(f"- {line}" for line in lines)  # a list in Markdown, which is how Preview as Text shows it


def guided(settings: SamplingSettings) -> str:
    """Kind and scales, and over which part of the steps the speech is guided."""
    scales = ", ".join(f"{name} {value:g}" for name, value in vars(settings.guidance).items())
    start, end = settings.audio_start, settings.audio_end
    part = "" if (start, end) == (0, 1) else f"; speech from {start:.0%} to {end:.0%} of the steps"
    return f"{type(settings.guidance).__name__.lower()}, {scales}{part}"


def said_by(run: Run, name: str) -> str:
    column = run.matrix.values[:, run.matrix.characters.index(name)].tolist()
    voices = [stream for stream, value in zip(run.matrix.streams, column, strict=True) if value]
    return f"speaks with {', '.join(voices)}" if voices else "silent"


def seen(mask: Float[Tensor, "f H W"]) -> str:
    return f"covers {100 * mask.mean().item():.0f} % of the picture, {100 * mask.amax().item():.0f} % sure at most"


def warnings(run: Run, masks: Float[Tensor, "n f H W"]) -> list[str]:
    """What a user would want to know before blaming the model."""
    seconds = run.scene.clip.frames / run.scene.clip.fps
    return [
        *(
            f"no face was found in the reference image of {person.name}; the whole picture was used"
            for person in run.cast
            if not person.features.found
        ),
        *run.router.notes,
        *(
            f"the mask of {person.name} is empty, so nothing of the face or voice arrives"
            for person, mask in zip(run.cast, masks, strict=True)
            if mask.amax() < 0.05
        ),
        *(
            f"nothing is heard of voice {stream.name}: it is silent, or starts after the end of the video"
            for stream in run.streams
            if not heard(stream, seconds)
        ),
        *(
            f"voice {stream.name} lasts {stream.audio.seconds:.2f} s, the video {seconds:.2f} s; the rest is not heard"
            for stream in run.streams
            if stream.audio.seconds > seconds + 1 / run.scene.clip.fps and heard(stream, seconds)
        ),
        *(
            ["the weights are untrained: this shows that the graph works, not what the model can do"]
            * run.model.untrained
        ),
    ]


def heard(stream: SpeechStream, seconds: float) -> bool:
    """Whether anything but silence falls into the first `seconds`."""
    return bool(stream.audio.waveform[: round(seconds * stream.audio.sample_rate)].any())
