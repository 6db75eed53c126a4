"""What becomes of a scene under a condition: frames, the masks they were made with, and what that cost."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..matrix import AudioCharacterMatrix
from ..network import Models
from ..pipeline import (
    Compute,
    PreparedScene,
    SamplingSettings,
    Separate,
    coarse_video,
    condition,
    decode,
    masks_to_frames,
    plan_routing,
)
from ..pipeline import sample as denoise
from ..protocols import FaceEncoder, MaskSource, SpeechEncoder
from ..routing import LabelSpreading
from ..sampling.guidance import Conditions, passes_per_step
from ..sampling.latents import start_latents
from ..sampling.sampler import denoise as run_steps
from ..sampling.schedule import Stepped, make_solver, signal_shares
from ..training.example import Encoders, Staged
from .conditions import MATRICES, Condition
from .masks import MADE_BY_HAND, Watched, without_background
from .people import DrawnPeople
from .scenes import HeldOut

REFINERS = {"none": None, "label spreading": LabelSpreading(), "no background": without_background}


@dataclass(frozen=True)
class Film:
    """matrix: who spoke with which voice. masks: those of the last step on pixels; the true ones where none were used.

    looks: the masks of every step. frames, looks: none where nothing was filmed, or no network ran. seconds: of one
    CPU core, on masks and denoising. passes: of the network.
    """

    matrix: Float[Tensor, "m n"]
    masks: Float[Tensor, "n f H W"]
    frames: Float[Tensor, "f 3 H W"] | None
    looks: tuple[Float[Tensor, "layers n t h w"], ...] = ()
    seconds: float = 0.0
    passes: int = 0


@dataclass(frozen=True)
class Studio:
    """The models, and how to sample with them."""

    models: Models
    face: FaceEncoder
    speech: SpeechEncoder
    steps: int
    guidance: Separate
    scheduler: str = "dpm"

    def stage(self, scene: HeldOut) -> Staged:
        return Encoders(self.models, self.face, self.speech).stage(scene.sample)

    @torch.no_grad()
    def film(self, scene: HeldOut, staged: Staged, told: Condition, seed: int) -> Film:
        """staged: by `stage`, once for all conditions and seeds."""
        matrix = MATRICES[told.matrix](scene.sample.audio_to_character, scene.plan.seed)
        return FILMS[told.filmed](Shot(self, scene, staged, told, matrix, seed))


@dataclass(frozen=True)
class Shot:
    """One film to be made."""

    studio: Studio
    scene: HeldOut
    staged: Staged
    told: Condition
    matrix: Float[Tensor, "m n"]
    seed: int

    @property
    def settings(self) -> SamplingSettings:
        studio = self.studio
        return SamplingSettings(self.seed, studio.steps, studio.scheduler, studio.guidance)

    @property
    def prepared(self) -> PreparedScene:
        people = self.scene.sample.masks[:, 0].amax(dim=0)
        changed = {"none": {"inpainting_frame": None}, "hidden": {"faces": people}, "clear": {}}
        return replace(self.staged.scene, **changed[self.told.first_frame])

    def conditions(self) -> Conditions:
        staged = self.staged
        matrix = AudioCharacterMatrix(self.matrix, staged.matrix.streams, staged.matrix.characters)
        return condition(self.studio.models, staged.prompt, staged.cast, staged.streams, matrix, staged.scene.clip)

    def plan(self) -> MaskSource:
        """Pre- and Post-Denoise find the drawn people by their heads, which they know."""
        told, found = self.told, DrawnPeople(self.scene)
        return plan_routing(
            told.router,
            self.studio.models,
            self.prepared,
            self.staged.cast,
            masks=MADE_BY_HAND[told.masks](self.scene.sample.masks),
            locator=found,
            segmenter=found,
            refiner=REFINERS[told.refinement],
            coarse=self._coarse_video,
        )

    def _coarse_video(self) -> Float[Tensor, "f 3 H W"]:
        studio = self.studio
        return coarse_video(
            studio.models,
            self.staged.prompt,
            self.prepared,
            self.seed,
            studio.steps,
            guidance_scale=studio.guidance.text,
        )


@dataclass
class Cost:
    seconds: float = 0.0
    passes: int = 0


@contextmanager
def counting(network: nn.Module) -> Iterator[Cost]:
    """CPU seconds of this process and passes of the network while this lasts, known at its end."""
    cost = Cost(-time.process_time())

    def count(*_: object) -> None:
        cost.passes += 1

    handle = network.register_forward_hook(count)
    try:
        yield cost
    finally:
        handle.remove()
        cost.seconds += time.process_time()


def _drawn(shot: Shot) -> Film:
    sample = shot.scene.sample
    return Film(shot.matrix, sample.masks, sample.frames)


def _through_the_autoencoder(shot: Shot) -> Film:
    video, sample = shot.studio.models.video, shot.scene.sample
    latents = video.encode(sample.frames[None], torch.Generator().manual_seed(shot.seed))
    return Film(shot.matrix, sample.masks, video.decode(latents)[0].float().cpu())


def _sampled(shot: Shot) -> Film:
    models, looks = shot.studio.models, []
    conditions = shot.conditions()
    with counting(models.network.transformer) as cost:
        watched = Watched(shot.plan(), shot.staged.scene.grid)
        done = denoise(
            models, shot.prepared, conditions, watched, shot.settings, on_step=lambda _: looks.append(watched.take())
        )
    masks = masks_to_frames(done.masks.cpu(), shot.staged.scene.clip)
    frames = decode(models, done.latents).cpu()
    return Film(shot.matrix, masks, frames, tuple(looks), cost.seconds, cost.passes)


def _noised(shot: Shot) -> Film:
    """Every step is shown the true video under the noise that belongs to the step, and makes nothing of it."""
    models, settings, looks = shot.studio.models, shot.settings, []
    compute, generator = Compute.of(models.network.transformer), torch.Generator().manual_seed(shot.seed)
    truth = models.video.encode(shot.scene.sample.frames[None], generator).float()
    conditions, first = shot.conditions(), shot.prepared.frame_to_encode(shot.seed)
    start = start_latents(models.video, tuple(truth.shape[1:]), conditions.canvas, first, generator)
    solver = Replayed(truth, start.noise, models, settings)
    watched = Watched(shot.plan(), shot.staged.scene.grid)
    done = run_steps(
        models.network.transformer,
        replace(start, noise=solver.noised(0)).to(compute.device),
        conditions.to(compute.device, compute.dtype),
        passes_per_step(Separate(1.0, 1.0), settings.steps),
        watched,
        solver,
        on_step=lambda _: looks.append(watched.take()),
    )
    return Film(shot.matrix, masks_to_frames(done.masks.cpu(), shot.staged.scene.clip), None, tuple(looks))


class Replayed:
    """In place of a solver: whatever the network says, the next step sees the true video under its own noise."""

    def __init__(self, truth: Float[Tensor, "1 t c H W"], noise: Tensor, models: Models, settings: SamplingSettings):
        self.truth, self.noise = truth, noise
        self.timesteps = make_solver(settings.scheduler, models.config.schedule, settings.steps).timesteps
        self.signal = signal_shares(models.config.schedule)

    def noised(self, step: int) -> Float[Tensor, "1 t c H W"]:
        share = self.signal[self.timesteps[min(step, len(self.timesteps) - 1)]]
        return share.sqrt() * self.truth + (1 - share).sqrt() * self.noise

    def step(self, step: int, velocity: Tensor, latents: Tensor, generator: torch.Generator | None) -> Stepped:
        return Stepped(self.noised(step + 1).to(latents), self.truth.to(latents))


FILMS: Mapping[str, Callable[[Shot], Film]] = {
    "drawn": _drawn,
    "autoencoder": _through_the_autoencoder,
    "sampled": _sampled,
    "noised": _noised,
}
