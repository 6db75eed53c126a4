"""Trains the tiny model's video autoencoder: its linear part in closed form, then the refinement by gradients.

Mouths are a few pixels, which a compression by squared error would drop first: they count more, and so do people.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..config import PatchAutoencoderConfig
from ..encoders.patch_autoencoder import PatchAutoencoder
from ..encoders.untrained import seeded_weights
from ..synthetic import WorldSpec, draw_scene
from ..synthetic.mouth import redness
from .optimizers import course

REPORTED = 50  # steps, or scenes drawn, from one report to the next
COUNTED = 8.0  # at most: what a pixel counts while the refinement learns


@dataclass(frozen=True)
class AutoencoderTraining:
    """fitted: scenes for the linear part. scenes: for the refinement; test: to measure with. mouths, people: what a
    pixel of one counts more than the background. whitening: 0 leaves latents their variance, 1 gives all the same.
    frames: of a clip, from a random one on. noise: up to this deviation is added to the latents that are decoded, as
    what is sampled is never exact. workers: processes that draw."""

    fitted: int = 600
    scenes: int = 1450
    test: int = 40
    mouths: float = 150.0
    people: float = 3.0
    whitening: float = 0.5
    frames: int = 9
    batch: int = 4
    steps: int = 1200
    learning_rate: float = 5e-4
    noise: float = 0.4
    seed: int = 0
    workers: int = 2


@dataclass(frozen=True)
class Clips:
    """frames: 8-bit. people: where there is anybody, 8-bit."""

    frames: UInt8[Tensor, "clips f 3 H W"]
    people: UInt8[Tensor, "clips f H W"]

    def pixels(self, index: Tensor | slice, start: int = 0, length: int | None = None) -> Float[Tensor, "b 3 f H W"]:
        """-1..1."""
        stop = None if length is None else start + length
        return rearrange(self.frames[index][:, start:stop].float() / 127.5 - 1, "b f c H W -> b c f H W")

    def cover(self, index: Tensor | slice, start: int = 0, length: int | None = None) -> Float[Tensor, "b 1 f H W"]:
        stop = None if length is None else start + length
        return self.people[index][:, None, start:stop].float() / 255


def draw_clips(spec: WorldSpec, count: int, workers: int, report: Callable[[str], None]) -> Clips:
    """The first scenes of a world."""
    loader = DataLoader(_Scenes(spec, count), batch_size=None, num_workers=workers)
    frames = torch.empty(count, spec.frames, 3, spec.height, spec.width, dtype=torch.uint8)
    people = torch.empty(count, spec.frames, spec.height, spec.width, dtype=torch.uint8)
    for number, (pixels, cover) in enumerate(loader):  # copied: what a worker sends holds a file open
        frames[number], people[number] = pixels, cover
        if number % REPORTED == REPORTED - 1:
            report(f"scene {number + 1} of {count}")
    return Clips(frames, people)


@dataclass(frozen=True)
class _Scenes(Dataset):
    spec: WorldSpec
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, seed: int) -> tuple[Tensor, Tensor]:
        sample = draw_scene(seed, self.spec)
        return _bytes(sample.frames), _bytes(sample.masks.sum(dim=0).clamp(0, 1))


def _bytes(x: Float[Tensor, "..."]) -> UInt8[Tensor, "..."]:
    return (x * 255).round().byte()


def learn_video(
    architecture: PatchAutoencoderConfig,
    spec: WorldSpec,
    training: AutoencoderTraining,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[PatchAutoencoder, dict[str, float]]:
    """The trained autoencoder, and how near it comes to scenes that were not trained on."""
    with seeded_weights(training.seed):
        module = PatchAutoencoder(architecture)
    clips = draw_clips(replace(spec, split="train"), training.scenes, training.workers, report)
    fit_linear(module, clips, training)
    for step, loss in enumerate(train_refinement(module, clips, training)):
        if step % REPORTED == 0 or step == training.steps - 1:
            report(f"step {step + 1} of {training.steps}: loss {loss:.4f}")
    held_out = draw_clips(replace(spec, split="test"), training.test, training.workers, lambda line: None)
    return module, measure(module, held_out)


@torch.no_grad()
def fit_linear(module: PatchAutoencoder, clips: Clips, config: AutoencoderTraining) -> None:
    """The weighted principal components of patches, each divided by a power of its deviation."""
    mean, covariance = _moments(module, clips, config)
    values, vectors = torch.linalg.eigh(covariance)
    channels = module.config.latent_channels
    values, basis = values.flip(0)[:channels].clamp(min=1e-8), vectors.flip(1)[:, :channels]
    spread = values ** (config.whitening / 2)
    spread *= (values / spread**2).mean().sqrt()
    module.analysis.weight.copy_(basis.T / spread[:, None])
    module.analysis.bias.copy_(-(mean @ basis) / spread)
    module.synthesis.weight.copy_(basis * spread)
    module.synthesis.bias.copy_(mean)


def _moments(module: PatchAutoencoder, clips: Clips, config: AutoencoderTraining) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the weighted patches, in float64."""
    total, first, second = 0.0, 0.0, 0.0
    for part in torch.arange(min(config.fitted, len(clips.frames))).split(32):
        pixels = clips.pixels(part)
        values = module.patches(pixels).flatten(0, 3).double()
        weight = module.patches(importance(pixels, clips.cover(part), config)).flatten(0, 3).mean(dim=1, keepdim=True)
        total, first = total + weight.sum(), first + (weight * values).sum(dim=0)
        second = second + (weight * values).T @ values
    mean = first / total
    return mean, second / total - mean[:, None] * mean


def importance(
    pixels: Float[Tensor, "b 3 f H W"], people: Float[Tensor, "b 1 f H W"], config: AutoencoderTraining
) -> Float[Tensor, "b 3 f H W"]:
    """What each value counts."""
    weight = 1 + config.mouths * _red(pixels)[:, None] + config.people * people
    return weight.expand_as(pixels)


def train_refinement(module: PatchAutoencoder, clips: Clips, config: AutoencoderTraining) -> Iterator[float]:
    """Yields the loss of every step. bfloat16 in the convolutions; the linear part stays as it was fitted."""
    module.requires_grad_(False).refinement.requires_grad_(True)
    module.refinement.to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.AdamW(module.refinement.parameters(), config.learning_rate, betas=(0.9, 0.99), eps=1e-12)
    generator = torch.Generator().manual_seed(config.seed)
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * course(step, config.steps, config.steps // 20)
        loss = refinement_loss(module, clips, config, generator)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.refinement.parameters(), 1.0)
        optimizer.step()
        yield loss.item()


def refinement_loss(
    module: PatchAutoencoder, clips: Clips, config: AutoencoderTraining, generator: torch.Generator
) -> Float[Tensor, ""]:
    """L1 and squared error, weighted, and L1 of the gradient over space."""
    pixels, people = _pick(clips, config, generator)
    latents = module.encode(pixels).latent_dist.mean
    deviation = config.noise * torch.rand(len(latents), 1, 1, 1, 1, generator=generator)
    latents = latents + deviation * torch.randn(latents.shape, generator=generator)
    two = latents.shape[2] == 2  # then bfloat16's derivative of a convolution over time is garbage, in PyTorch 2.13
    with torch.autocast("cpu", torch.bfloat16, enabled=not two):
        decoded = module.decode(latents).sample
    error = decoded.float() - pixels
    weight = importance(pixels, people, config).clamp(max=COUNTED)
    sharp = sum(error.diff(dim=dim).abs().mean() for dim in (-1, -2))
    return ((error.abs() + 2 * error**2) * weight).mean() + sharp


def _pick(clips: Clips, config: AutoencoderTraining, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pieces of random clips from one random frame on, half of the batches as in a mirror."""
    index = torch.randint(len(clips.frames), (config.batch,), generator=generator)
    length = min(config.frames, clips.frames.shape[1])
    start = int(torch.randint(clips.frames.shape[1] - length + 1, (), generator=generator))
    mirrored = [-1] if torch.rand((), generator=generator) < 0.5 else []
    pieces = clips.pixels(index, start, length), clips.cover(index, start, length)
    return tuple(piece.flip(mirrored) for piece in pieces)


@torch.no_grad()
def measure(module: PatchAutoencoder, clips: Clips) -> dict[str, float]:
    """Peak signal to noise in dB, of everything and of the people; and the correlation over time between how much of
    a mouth is to be seen before and after."""
    errors, of_people, mouths = [], [], []
    for part in torch.arange(len(clips.frames)).split(4):
        pixels, people = clips.pixels(part), clips.cover(part)
        decoded = module.decode(module.encode(pixels).latent_dist.mean).sample.clamp(-1, 1)
        error = ((decoded - pixels) / 2).square().mean(dim=1, keepdim=True)
        errors.append(error.flatten(1).mean(dim=1))
        of_people.append((error * people).flatten(1).sum(dim=1) / people.flatten(1).sum(dim=1).clamp(min=1))
        mouths.append(torch.stack([_mouths(pixels), _mouths(decoded)]))
    before, after = (x - x.mean(dim=1, keepdim=True) for x in torch.cat(mouths, dim=1))
    alike = (before * after).sum(dim=1) / (before.norm(dim=1) * after.norm(dim=1)).clamp(min=1e-9)
    return {
        "psnr": _decibels(torch.cat(errors)),
        "psnr of people": _decibels(torch.cat(of_people)),
        "mouths": float(alike[before.norm(dim=1) > 0].mean()),
    }


def _mouths(pixels: Float[Tensor, "b 3 f H W"]) -> Float[Tensor, "b f"]:
    return _red(pixels).mean(dim=(-2, -1))


def _red(pixels: Float[Tensor, "b 3 f H W"]) -> Float[Tensor, "b f H W"]:
    return redness(rearrange(pixels / 2 + 0.5, "b c f H W -> b f c H W"))


def _decibels(error: Float[Tensor, " clips"]) -> float:
    return float(-10 * error.mean().log10())
