"""Trains the tiny model's video autoencoder: its linear part in closed form, then the refinement by gradients.

Mouths are a few pixels, which a compression by squared error would drop first: they count more, and so do people.
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..checkpoints.tensors import write_safetensors
from ..clip import Sample
from ..config import PatchAutoencoderConfig
from ..encoders.patch_autoencoder import PatchAutoencoder
from ..encoders.untrained import as_words
from ..synthetic.mouth import redness
from .dataset import Source

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AutoencoderTraining:
    """fitted: scenes for the linear part. scenes: for the refinement. emphasis: what a pixel of a mouth, and one of a
    person, counts more than one of the background. whitening: 0 leaves latents their variance, 1 gives all the same.
    frames: of a clip, from a random one on. noise: up to this deviation is added to the latents that are decoded, as
    what is sampled is never exact."""

    fitted: int = 600
    scenes: int = 1500
    mouths: float = 150.0
    people: float = 3.0
    whitening: float = 0.5
    frames: int = 9
    batch: int = 4
    steps: int = 4000
    learning_rate: float = 1e-3
    noise: float = 0.3
    seed: int = 0


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


def draw_clips(source: Source, count: int, workers: int = 0) -> Clips:
    """That many samples of the source, in turns of their number of characters."""
    loader = DataLoader(_Frames(source, count), batch_size=None, num_workers=workers)
    frames, people = zip(*tqdm(loader, desc="drawing", unit="clip"), strict=True)
    return Clips(torch.stack(frames), torch.stack(people))


@dataclass(frozen=True)
class _Frames(Dataset):
    source: Source
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        kinds = tuple(self.source.counts)
        characters = kinds[place % len(kinds)]
        sample: Sample = self.source.sample(characters, self.source.index(characters, place // len(kinds)))
        people = sample.masks.sum(dim=0).clamp(0, 1)
        return (sample.frames * 255).round().byte(), (people * 255).round().byte()


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
    red = redness(rearrange(pixels / 2 + 0.5, "b c f H W -> b f c H W"))
    weight = 1 + config.mouths * red[:, None] + config.people * people
    return weight.expand_as(pixels)


def train_refinement(module: PatchAutoencoder, clips: Clips, config: AutoencoderTraining) -> Iterator[float]:
    """Yields the loss of every step. bfloat16 in the convolutions; the linear part stays as it was fitted."""
    module.requires_grad_(False).refinement.requires_grad_(True)
    module.refinement.to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.AdamW(module.refinement.parameters(), config.learning_rate, betas=(0.9, 0.99))
    generator = torch.Generator().manual_seed(config.seed)
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * _course(step, config.steps)
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
    with torch.autocast("cpu", torch.bfloat16):
        decoded = module.decode(latents).sample
    error = decoded.float() - pixels
    weight = importance(pixels, people, config).clamp(max=8)
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


def _course(step: int, steps: int) -> float:
    """Of the learning rate: up in a line, down as a cosine."""
    return min(1.0, (step + 1) / 50) * (1 + math.cos(math.pi * step / steps)) / 2


def train_autoencoder(
    architecture: PatchAutoencoderConfig, source: Source, config: AutoencoderTraining, path: Path
) -> PatchAutoencoder:
    """Fits, writes, refines and writes again: a training of the network can begin after the first, since encoding is
    settled then."""
    torch.manual_seed(config.seed)
    module = PatchAutoencoder(architecture)
    clips = draw_clips(source, config.scenes)
    fit_linear(module, clips, config)
    write_autoencoder(module, path)
    bar = tqdm(train_refinement(module, clips, config), total=config.steps, desc="autoencoder", unit="step")
    for step, loss in enumerate(bar):
        bar.set_postfix(loss=f"{loss:.4f}")
        if step % 500 == 499:
            write_autoencoder(module, path)
    write_autoencoder(module, path)
    return module


def write_autoencoder(module: PatchAutoencoder, path: Path) -> None:
    """In half precision, with its configuration."""
    half = {name: tensor.half().contiguous() for name, tensor in module.state_dict().items()}
    write_safetensors(half, path, {"config": as_words(module.config), "trained": "the drawn world"})
