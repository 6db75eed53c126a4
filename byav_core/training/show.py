"""Contact sheets while training: what the network makes of a few clips, below what it should be."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from ..clip import Sample
from ..network import Models
from ..pipeline import Compute, Conditions, Joint, SamplingSettings, condition, decode, masks_to_frames, plan_routing
from ..pipeline import sample as denoise
from ..synthetic.sheet import contact_sheet
from .example import Encoders, Staged
from .stages import Stage

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Shown:
    """A clip, and what the frozen encoders saw of it, once for all sheets."""

    sample: Sample
    staged: Staged


def stage_clips(samples: Sequence[Sample], encoders: Encoders) -> tuple[Shown, ...]:
    return tuple(Shown(sample, encoders.stage(sample)) for sample in samples)


@torch.no_grad()
def sheet(shown: Sequence[Shown], models: Models, stage: Stage, steps: int, compute: Compute) -> "Image.Image":
    """Two rows for each clip: as it is, and as it is made from noise, with the masks that were used for it."""
    rows = []
    for one in shown:
        rows += [one.sample, _made(one, models, stage, steps, compute)]
    return contact_sheet(rows)


def _made(shown: Shown, models: Models, stage: Stage, steps: int, compute: Compute) -> Sample:
    """By the stage's router if it trains one, else with the true masks; silent where the stage hears nothing."""
    staged, sample = shown.staged, shown.sample
    told: Conditions = condition(
        models, staged.prompt, staged.cast, staged.streams, staged.matrix, staged.scene.clip, compute
    )
    told = replace(told, audio_to_character=told.audio_to_character * float(stage.hears))
    router = "intra" if stage.routes else "fixed"
    masks = plan_routing(router, models, staged.scene, staged.cast, masks=sample.masks)
    settings = SamplingSettings(steps=steps, guidance=Joint(1.0))
    done = denoise(models, staged.scene, told, masks, settings, compute=compute)
    used = sample.masks if done.masks is None else masks_to_frames(done.masks.cpu(), staged.scene.clip)
    frames = decode(models, done.latents).cpu()
    return replace(sample, name=f"{sample.name}, made", frames=frames, masks=used)
