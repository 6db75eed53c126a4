"""One step of training, up to its losses: the draws, what the network is shown, what it should have said.

The network is called as in sampling, on an input that sampling's functions build. All chance is in `draw`.
"""

from dataclasses import dataclass, replace

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..config import ScheduleConfig
from ..encoders.video_vae import Posterior
from ..model.binding import Binding
from ..network import Network
from ..protocols import MaskSource
from ..routing import TeacherForced
from ..sampling.latents import LatentInput, draw_start
from ..sampling.schedule import signal_shares
from ..types import Conditioning, Routed, Scene, TokenGrid
from .example import to_device
from .losses import (
    agreement_loss,
    denoising_loss,
    dynamic_mask,
    intersection_over_union,
    noised,
    predicted_masks,
    routing_loss,
    smoothness_loss,
    velocity,
)
from .mixture import Batch
from .stages import Drops, LossWeights, Stage

TERMS = ("denoising", "routing", "smoothness", "agreement")


@dataclass(frozen=True)
class Kept:
    """Which rows are told of each condition."""

    text: Bool[Tensor, " b"]
    reference: Bool[Tensor, " b"]
    first_frame: Bool[Tensor, " b"]
    speech: Bool[Tensor, " b"]


@dataclass(frozen=True)
class Draws:
    """All that is left to chance in a step.

    start: noise, and the latents of the pictures. clean: the video's latents. dynamic: rows whose loss looks at the
    faces only. forced: whether true masks are injected, or the router's own.
    """

    start: LatentInput
    clean: Float[Tensor, "b t c H W"]
    timestep: Int[Tensor, " b"]
    kept: Kept
    dynamic: Bool[Tensor, " b"]
    forced: bool


@dataclass(frozen=True)
class Inputs:
    """What `BindYourAvatarTransformer.forward` is given, but for the masks."""

    hidden_states: Float[Tensor, "b t c3 H W"]
    text: Float[Tensor, "b l d_text"]
    timestep: Int[Tensor, " b"]
    binding: Binding


class TrainingStep(nn.Module):
    """The network with its losses as one module, so that whatever shares a module out among devices can wrap it."""

    def __init__(self, network: Network, stage: Stage, schedule: ScheduleConfig):
        super().__init__()
        self.network, self.stage = network, stage
        self.register_buffer("signal", signal_shares(schedule).float(), persistent=False)

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Float[Tensor, ""]]:
        """The weighted sum under "total", each loss by its name, and "iou" if the router's own masks were injected."""
        device = self.signal.device
        draws = draw(batch, self.stage, len(self.signal), generator)
        told = _rows(draws.kept.reference), _rows(draws.kept.reference & ~batch.copied)
        batch, draws = to_device(batch, device), to_device(draws, device)
        inputs = model_inputs(self.network, batch, draws, self.stage, self.signal)
        masks = mask_source(self.network, batch, draws, self.stage, generator)
        predicted, layers = self.network.transformer(
            inputs.hidden_states, inputs.text, inputs.timestep, inputs.binding, masks
        )
        return self.losses(predicted, layers, batch, draws, *told)

    def losses(
        self,
        predicted: Float[Tensor, "b t c H W"],
        layers: tuple[Routed, ...],
        batch: Batch,
        draws: Draws,
        told: list[int],
        measurable: list[int],
    ) -> dict[str, Float[Tensor, ""]]:
        """told: rows with references. measurable: those of them in which the router can know who is where."""
        patch = self.network.config.transformer.patch_size
        true = velocity(draws.clean, draws.start.noise, self.signal[draws.timestep])
        terms = {"denoising": denoising_loss(predicted.float(), true, dynamic_mask(batch.focus, draws.dynamic, patch))}
        measured = {}
        if self.stage.routes:
            terms |= router_losses(layers, batch.masks, told)
            if not draws.forced and measurable:
                measured["iou"] = mean_iou(layers, batch, measurable)
        return terms | measured | {"total": weighted_sum(terms, self.stage.losses)}


def draw(batch: Batch, stage: Stage, timesteps: int, generator: torch.Generator) -> Draws:
    """Row by row in the order of sampling: reference canvas, noise, first frame; then what sampling does not have."""
    rows = len(batch.names)
    starts, clean = zip(*(_draw_row(batch, row, generator) for row in range(rows)), strict=True)
    return Draws(
        start=LatentInput(*(torch.cat([getattr(s, name) for s in starts]) for name in vars(starts[0]))),
        clean=torch.cat(clean),
        timestep=torch.randint(timesteps, (rows,), generator=generator),
        kept=_draw_kept(stage.drops, rows, generator),
        dynamic=torch.rand(rows, generator=generator) < stage.dynamic_mask,
        forced=bool(torch.rand((), generator=generator) < stage.teacher_forcing),
    )


def model_inputs(network: Network, batch: Batch, draws: Draws, stage: Stage, signal: Float[Tensor, " steps"]) -> Inputs:
    """What is dropped is zero for the pictures, the empty prompt for the text, and for the speech the projection of
    hidden states that are zero, all as in sampling; without its reference a character has a face of zeros too."""
    kept, start = draws.kept, draws.start
    shown = replace(
        start,
        reference=_only(start.reference, kept.reference),
        inpainting=_only(start.inpainting, kept.first_frame),
    )
    z = noised(draws.clean, start.noise, signal[draws.timestep])
    told = Conditioning(
        text=torch.where(kept.text[:, None, None], batch.text, batch.no_text),
        characters=_only(characters(network, batch), kept.reference),
        speech=speech(network, _only(batch.speech, kept.speech)),
        audio_to_character=batch.audio_to_character * float(stage.hears),
    )
    return Inputs(shown.at(z), told.text, draws.timestep, network.transformer.project(told))


def characters(network: Network, batch: Batch) -> Float[Tensor, "b n k d"]:
    """e_c of every row."""
    b = len(batch.identity)
    hidden = [rearrange(maps, "b n p d -> (b n) p d") for maps in batch.hidden]
    tokens = network.face_extractor(rearrange(batch.identity, "b n d -> (b n) d"), hidden)
    return rearrange(tokens, "(b n) k d -> b n k d", b=b)


def speech(network: Network, windows: Float[Tensor, "b m f window layers d"]) -> Float[Tensor, "b m t k d2"]:
    """e_a of every row."""
    tokens = network.speech_projector(rearrange(windows, "b m f window layers d -> (b m) f window layers d"))
    return rearrange(tokens, "(b m) t k d -> b m t k d", b=len(windows))


def mask_source(network: Network, batch: Batch, draws: Draws, stage: Stage, generator: torch.Generator) -> MaskSource:
    """True masks, disturbed, while the router learns beside them; or what the router says itself."""
    grid = TokenGrid(*batch.masks.shape[2:])
    head = network.router.plan(Scene(grid=grid, names=())) if stage.routes else unrouted
    if not draws.forced:
        return OwnMasks(head)
    return TeacherForced(head, _flat(batch.masks), stage.mask_dropout, stage.mask_noise, generator)


@dataclass(frozen=True)
class OwnMasks:
    """The router's masks as they will be used, cut off from the denoising: it does not teach the router."""

    head: MaskSource

    def __call__(self, layer: int, q: Float[Tensor, "b heads s d"], k: Float[Tensor, "#b n heads k d"]) -> Routed:
        routed = self.head(layer, q.detach(), k.detach())
        return Routed(routed.mask.detach(), routed.logits)


def unrouted(layer: int, q: Float[Tensor, "b heads s d"], k: Float[Tensor, "#b n heads k d"]) -> Routed:
    """The head of stages in which no router learns: nothing is predicted."""
    return Routed(q.new_zeros(len(q), k.shape[1], q.shape[2]))


def router_losses(
    layers: tuple[Routed, ...], masks: Float[Tensor, "b n t h w"], told: list[int]
) -> dict[str, Float[Tensor, ""]]:
    """Eq. 2 to 4, in float32: of the masks that the router predicts, not of those injected.

    told: rows with references; these only. Faces of zeros say nothing, and what a norm makes of them has derivatives so
    steep that the clipping of gradients would leave nothing of the other rows'.
    """
    logits = [routed.logits[told].float() for routed in layers]
    if not told:
        return dict.fromkeys(TERMS[1:], sum(layer.sum() for layer in logits))  # zero, of all that is trained
    predicted = predicted_masks(logits)
    return {
        "routing": routing_loss(logits, _flat(masks[told])),
        "smoothness": smoothness_loss(predicted, TokenGrid(*masks.shape[2:])),
        "agreement": agreement_loss(predicted),
    }


def mean_iou(layers: tuple[Routed, ...], batch: Batch, rows: list[int]) -> Float[Tensor, ""]:
    """Of the last face layer, over rows with references of several characters: elsewhere nobody could say who is
    where."""
    return intersection_over_union(layers[-1].mask[rows], _flat(batch.masks)[rows]).mean()


def weighted_sum(terms: dict[str, Float[Tensor, ""]], weights: LossWeights) -> Float[Tensor, ""]:
    return sum(getattr(weights, name) * value for name, value in terms.items())


def _draw_row(batch: Batch, row: int, generator: torch.Generator) -> tuple[LatentInput, Float[Tensor, "1 t c H W"]]:
    video = _row(batch.video, row)
    extent = tuple(video.mean.shape[1:])
    start = draw_start(extent, _row(batch.canvas, row).draw, _row(batch.first_frame, row).draw, generator)
    return start, video.draw(generator).float()


def _draw_kept(drops: Drops, rows: int, generator: torch.Generator) -> Kept:
    return Kept(**{name: torch.rand(rows, generator=generator) >= share for name, share in vars(drops).items()})


def _row(posterior: Posterior, row: int) -> Posterior:
    return Posterior(posterior.mean[row : row + 1], posterior.deviation[row : row + 1], posterior.scale)


def _rows(chosen: Bool[Tensor, " b"]) -> list[int]:
    """Their numbers, known without waiting for the device."""
    return chosen.nonzero().flatten().tolist()


def _only(x: Tensor, kept: Bool[Tensor, " b"]) -> Tensor:
    """Zero in the rows that are not kept; by a product, so that all that is trained stays part of the result."""
    return x * kept.to(x.dtype).view(-1, *[1] * (x.ndim - 1))


def _flat(masks: Float[Tensor, "b n t h w"]) -> Float[Tensor, "b n s"]:
    return TokenGrid(*masks.shape[2:]).flatten(masks)
