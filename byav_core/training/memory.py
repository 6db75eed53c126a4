"""What a stage needs on each GPU, computed from the shapes alone: parameters on `meta`, activations counted there."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..config import ModelConfig
from ..encoders.video_vae import Posterior
from ..network import Network
from ..types import Clip
from .config import TrainingConfig
from .mixture import Batch
from .stages import Stage, adapt, freeze
from .step import TrainingStep

UNITS = ((1e9, "B", "GB"), (1e6, "M", "MB"), (1e3, "K", "KB"))  # of a number of parameters, and of bytes


@dataclass(frozen=True)
class Sharing:
    """How much of each number of a parameter, in bytes, every GPU holds (whole) and shares with the others (shared).

    trained: of those that train; frozen: of the others. All in bf16 with the optimiser in float32.
    """

    trained_whole: int
    trained_shared: int
    frozen_whole: int
    frozen_shared: int


SHARINGS = {
    # weight and its bf16 copy under autocast, gradient, two moments, average; frozen ones in bf16
    "DDP": Sharing(4 + 2 + 4 + 8 + 4, 0, 2, 0),
    # DeepSpeed: bf16 weight and average everywhere, gradient and float32 weight with moments shared
    "ZeRO-2": Sharing(2 + 2, 2 + 4 + 8, 2, 0),
    # float32 weight, gradient, moments and average shared, gathered in bf16 for the step with a bf16 gradient
    "FSDP2": Sharing(2 + 2, 4 + 4 + 8 + 4, 2, 2),
}


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU."""

    parameters: int
    activations: int

    @property
    def total(self) -> int:
        return self.parameters + self.activations


def memory(model: ModelConfig, stage: Stage, clip: Clip, rows: int, gpus: int, sharing: Sharing) -> Memory:
    """With gradient checkpointing and frozen encoders elsewhere; text, video and faces were encoded before."""
    trained, frozen = parameters(model, stage)
    held = trained * (sharing.trained_whole + sharing.trained_shared / gpus)
    held += frozen * (sharing.frozen_whole + sharing.frozen_shared / gpus)
    return Memory(round(held), activations(model, stage, clip, rows))


def parameters(model: ModelConfig, stage: Stage) -> tuple[int, int]:
    """How many train and how many do not."""
    network = Network.on_meta(model)
    adapt(network, stage)
    trained = sum(p.numel() for p in freeze(network, stage).values())
    return trained, sum(p.numel() for p in network.parameters()) - trained


def activations(model: ModelConfig, stage: Stage, clip: Clip, rows: int) -> int:
    """Kept for the backward pass at its peak: what goes into every block, and all inside of the one at work.

    Counted in float32 on a network of one block with face and audio cross-attention, the richest kind, and halved.
    """
    one_block = replace(model, transformer=replace(model.transformer, num_layers=1))
    network = Network.on_meta(one_block).float()
    adapt(network, stage)
    freeze(network, stage)
    step = TrainingStep(network.train(), stage, model.schedule).to("meta")
    inside = saved_bytes(step, blank_batch(one_block, clip, rows))
    tokens = clip.grid(model.pixels_per_token, model.frames_per_latent).tokens + model.transformer.max_text_seq_length
    return inside // 2 + (model.transformer.num_layers - 1) * rows * tokens * model.transformer.dim * 2


def saved_bytes(step: TrainingStep, batch: Batch) -> int:
    """Of all that autograd keeps of one pass, each storage once and parameters not at all; nor the scores of
    self-attention, a number for each pair of tokens, which fused attention never writes down."""
    parameters = {p.untyped_storage()._cdata for p in step.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(x: Tensor) -> Tensor:
        if x.ndim < 3 or x.shape[-1] != x.shape[-2]:
            kept[x.untyped_storage()._cdata] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        step(batch, torch.Generator().manual_seed(0))
    return sum(x.untyped_storage().nbytes() for key, x in kept.items() if key not in parameters)


def blank_batch(
    model: ModelConfig, clip: Clip, rows: int, characters: int = 2, streams: int = 2, device: str = "meta"
) -> Batch:
    """A batch of the extent that clips would give; on `meta` without numbers, elsewhere of noise."""
    grid = clip.grid(model.pixels_per_token, model.frames_per_latent)
    pixels, channels = model.video.spatial_compression_ratio, model.video.latent_channels
    face, speech = model.face, model.speech_projector

    generator = torch.Generator().manual_seed(0)

    def of(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    def posterior(frames: int) -> Posterior:
        extent = (rows, frames, channels, clip.height // pixels, clip.width // pixels)
        return Posterior(of(*extent), of(*extent).abs(), model.video.scaling_factor)

    patches = (face.image_size // face.patch_size) ** 2 + 1
    length = model.transformer.max_text_seq_length
    return Batch(
        names=("blank",) * rows,
        video=posterior(grid.t),
        first_frame=posterior(1),
        canvas=posterior(1),
        masks=of(rows, characters + 1, grid.t, grid.h, grid.w).softmax(dim=1)[:, :-1],
        focus=torch.ones(rows, grid.t, grid.h, grid.w, device=device),
        identity=of(rows, characters, model.face_extractor.identity_dim),
        hidden=tuple(of(rows, characters, patches, face.width) for _ in face.taps),
        speech=of(rows, streams, clip.frames, speech.window, speech.layers, speech.channels),
        audio_to_character=torch.eye(streams, characters, device=device).expand(rows, -1, -1),
        text=of(rows, length, model.text.d_model),
        no_text=of(1, length, model.text.d_model),
        copied=torch.zeros(rows, dtype=torch.bool),  # looked at before anything is sent to a device
    )


def table(config: TrainingConfig, model: ModelConfig, clip: Clip, gpus: int) -> str:
    """What every stage needs per GPU for each way of sharing, for people."""
    lines = [
        f"{model.name}, clips of {clip.frames} frames of {clip.width}x{clip.height}, {config.rows} at once, "
        f"{gpus} GPUs, on each (computed, not measured):",
        f"{'':10}{'trains':>10}{'frozen':>10}{'activations':>13}" + "".join(f"{name:>10}" for name in SHARINGS),
    ]
    for stage in map(config.stage, config.numbers):
        trained, frozen = parameters(model, stage)
        held = {name: memory(model, stage, clip, config.rows, gpus, one) for name, one in SHARINGS.items()}
        inside = next(iter(held.values())).activations
        lines.append(
            f"{stage.name:10}{count(trained):>10}{count(frozen):>10}{extent(inside):>13}"
            + "".join(f"{extent(one.total):>10}" for one in held.values())
        )
    return "\n".join(lines)


def count(parameters: int) -> str:
    """1.23B, 4.56M or 7.89K."""
    size, unit, _ = _unit(parameters)
    return f"{parameters / size:.2f}{unit}"


def extent(size: int) -> str:
    """12.3 GB, MB or KB."""
    unit, _, name = _unit(size)
    return f"{size / unit:.1f} {name}"


def _unit(number: int) -> tuple[float, str, str]:
    """The largest in which it is not below one."""
    return next((unit for unit in UNITS if number >= unit[0]), UNITS[-1])
