"""Held-out scenes to measure in, and what is known of them beyond the sample: who wears what, and where mouths are."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..clip import Sample
from ..config import ModelConfig
from ..synthetic import WorldSpec, draw_scene
from ..synthetic.motion import move
from ..synthetic.mouth import mouth_opening
from ..synthetic.person import MOUTH_BELOW, MOUTH_OPEN, MOUTH_WIDTH, Pose
from ..synthetic.world import Plan, plan_scene

MIDDLE_WIDTH = 0.88  # of half a head, in halves of its height
SEEN = 0.85  # share of a mouth's place that its owner must cover, so that the mouth counts as visible

EVERYDAY = WorldSpec(
    split="test",
    people=(2,),
    modes=("one", "turns", "overlap", "overlap"),
    sounds=("speech",),
    bindings=("own", "shuffled"),
)
SCENES: dict[str, WorldSpec] = {
    "everyday": EVERYDAY,
    "standing": replace(EVERYDAY, motions=("still", "nodding", "turning")),
    "close": replace(EVERYDAY, motions=("leaning",)),
    "moving": replace(EVERYDAY, motions=("crossing", "walking")),
    "three": replace(EVERYDAY, people=(3,)),
    "four": replace(EVERYDAY, people=(4,)),
}


@dataclass(frozen=True)
class HeldOut:
    """A scene of the test split, and the plan it was drawn from."""

    sample: Sample
    plan: Plan
    spec: WorldSpec

    @cached_property
    def heads(self) -> Float[Tensor, " n"]:
        """Half the height of each head, in pixels."""
        return torch.tensor([place.head * self.spec.stage.unit for place in self.plan.places])

    @cached_property
    def openings(self) -> Float[Tensor, "m f"]:
        """How far each stream would open a mouth."""
        return torch.stack([mouth_opening(audio, self.spec.frames, self.spec.fps) for audio in self.sample.streams])

    @cached_property
    def visible(self) -> Bool[Tensor, "n f"]:
        """Where a mouth is inside the picture and nobody stands before it."""
        poses = move(self.plan.motion, self.plan.places, self.spec.stage)
        return torch.stack([_mouth_seen(pose, mask) for pose, mask in zip(poses, self.sample.masks, strict=True)])


def held_out(scenes: str, number: int, config: ModelConfig, voices: str | None = None) -> HeldOut:
    """Scene `number` of a kind of scenes, at the extent of the model's videos. voices: folder of real speech."""
    if scenes not in SCENES:
        raise ValueError(f"there are no scenes {scenes!r}; choose one of {', '.join(SCENES)}")
    spec = replace(
        SCENES[scenes],
        width=config.video.sample_width,
        height=config.video.sample_height,
        frames=config.transformer.sample_frames,
        fps=config.fps,
        voices=voices,
    )
    return HeldOut(draw_scene(number, spec), plan_scene(number, spec), spec)


def _mouth_seen(pose: Pose, mask: Float[Tensor, "f H W"]) -> Bool[Tensor, " f"]:
    """Whether its owner covers the place of a mouth, frame by frame; it turns with the head and tilts with it."""
    scale = pose.scale
    x = pose.x + (MIDDLE_WIDTH * pose.yaw.sin() - MOUTH_BELOW * pose.roll.sin()) * scale
    y = pose.y + (MOUTH_BELOW + MOUTH_OPEN / 4) * scale
    place = _box(x, y, MOUTH_WIDTH * scale, MOUTH_OPEN * scale, mask)
    whole = 4 * MOUTH_WIDTH * MOUTH_OPEN * scale**2
    return (place * mask).sum(dim=(1, 2)) >= SEEN * whole


def _box(
    x: Tensor, y: Tensor, reach_x: Tensor, reach_y: Tensor, like: Float[Tensor, "f H W"]
) -> Float[Tensor, "f H W"]:
    """How much of each pixel lies within reach of a point, frame by frame."""
    height, width = like.shape[1:]
    rows, columns = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    down = (reach_y[:, None] + 0.5 - (rows - y[:, None]).abs()).clamp(0, 1)
    across = (reach_x[:, None] + 0.5 - (columns - x[:, None]).abs()).clamp(0, 1)
    return down[:, :, None] * across[:, None, :]
