"""A name, a file or a folder to models in memory: recognise the format, read, fit on `meta`, assign."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..config import ModelConfig, tiny
from ..encoders.text_t5 import T5Text, load_text, small_text, text_in_the_box
from ..encoders.video_vae import VideoVae, load_video_vae, small_video_vae, video_in_the_box
from ..network import Models, Network
from .checkpoint import Checkpoint
from .cogvideox import read_base, weight_files
from .fit import CheckpointError, gather
from .released import PARTS, read_released
from .single_file import CONFIG, read_single_file
from .tensors import Reader, read_metadata, read_shapes, read_tensors

logger = logging.getLogger(__name__)

TINY = Path(__file__).parents[1] / "weights" / "tiny.safetensors"


@dataclass(frozen=True)
class Format:
    """How a kind of checkpoint is recognised and read. sign: what it alone holds, of what `signs` finds."""

    sign: str
    read: Callable[[Path, Reader], Checkpoint]


FORMATS = {
    "byav": Format(f"metadata {CONFIG}", read_single_file),
    "released": Format("part of the release", read_released),
    "consisid": Format("local_facial_extractor.latents", lambda folder, read: read_base(folder, "consisid", read)),
    "cogvideox": Format("patch_embed.text_proj.weight", lambda folder, read: read_base(folder, "cogvideox", read)),
}


def detect(path: Path) -> str:
    """The name of the format, from the first entry of FORMATS whose sign is there; only names are read.

    Raises FileNotFoundError, and CheckpointError when nothing fits.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}; expected a .safetensors file of ours or a model folder")
    found = signs(path)
    for name, known in FORMATS.items():
        if known.sign in found:
            return name
    raise CheckpointError(
        f"{path} is none of the models that can be loaded: one .safetensors file of ours, the released folder "
        f"({', '.join(part.path for part in PARTS)} beside transformer/), or the folder of CogVideoX-5B-I2V or "
        "ConsisID-preview. `inspect` says what a file holds"
    )


def signs(path: Path) -> set[str]:
    """Whatever tells formats apart: metadata of a file; files of a folder and the names in its transformer."""
    if path.is_file():
        return {f"metadata {key}" for key in read_metadata(path)}
    if any((path / part.path).with_suffix(end).is_file() for part in PARTS for end in (".pt", ".safetensors")):
        return {"part of the release"}
    if not (path / "transformer").is_dir():
        return set()
    return {name for file in weight_files(path / "transformer") for name in read_shapes(file)}


def read_checkpoint(path: Path, read: Reader = read_tensors) -> Checkpoint:
    return FORMATS[detect(path)].read(path, read)


def load_network(path: str | Path, *, dtype: torch.dtype | None = None) -> Network:
    """The trained parts from one of our files, the released folder, or a base model's folder as a start.

    dtype: by default the one in which most of the numbers are stored. What the file does not have starts untrained,
    with a warning that lists it. Raises FileNotFoundError and CheckpointError.
    """
    return network_from(read_checkpoint(Path(path)), dtype)


def load_models(
    name_or_path: str | Path,
    *,
    companions: str | Path | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
) -> Models:
    """ "tiny" (built in, no files), or what `load_network` takes.

    companions: folder with text_encoder/, tokenizer/ and vae/, or of the tiny model tiny_text and tiny_video; by
    default the one in which the weights are. dtype: by default as stored; what is built in is stored in half of what
    it is trained in, float32.
    """
    if str(name_or_path) != "tiny":
        models = _read(Path(name_or_path), companions, dtype)
    elif TINY.is_file():
        models = _read(TINY, companions, dtype or torch.float32)
    else:
        models = untrained_models(tiny(), dtype or torch.float32, companions)
    for module in (models.network, models.text.module, models.video.module):
        module.to(device)
    return models


def untrained_models(
    config: ModelConfig, dtype: torch.dtype = torch.float32, companions: str | Path | None = None
) -> Models:
    """A network made up from the seed; beside it text encoder and video autoencoder from `companions`, or, for sizes
    that need no files, small ones: those in the box if they fit."""
    network, length = Network.seeded(config).to(dtype).eval(), config.transformer.max_text_seq_length
    if companions is not None:
        text, video = load_text(companions, config.text, length, dtype), load_video_vae(companions, config.video, dtype)
    else:
        text, video = text_in_the_box(config.text, length), video_in_the_box(config.video)
        _cast(text.module, dtype), _cast(video.module, dtype)
    return Models(config, network, text, video)


def _cast(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Only if it is of another dtype: diffusers' models warn at every cast."""
    return module if module.dtype == dtype else module.to(dtype)


def _read(path: Path, companions: str | Path | None, dtype: torch.dtype | None) -> Models:
    checkpoint = read_checkpoint(path)
    network = network_from(checkpoint, dtype)
    folder = Path(companions or (path if path.is_dir() else path.parent))
    dtype = next(network.parameters()).dtype
    return Models(checkpoint.config, network, _text(checkpoint, folder, dtype), _video(checkpoint, folder, dtype))


def network_from(checkpoint: Checkpoint, dtype: torch.dtype | None = None) -> Network:
    """The network filled by assignment: no parameter of it is in memory twice, nor read before it is used."""
    dtype = dtype or _usual_dtype(checkpoint.tensors.values())
    network = Network.on_meta(checkpoint.config)
    state = checkpoint.fitted(network)
    if untrained := checkpoint.untrained(network):
        logger.warning("%s has no %s; they start untrained", checkpoint.config.name, ", ".join(gather(untrained)))
        network = Network.seeded(checkpoint.config, dtype=dtype)
        state = network.state_dict() | state
    network.load_state_dict(state, strict=True, assign=True)
    return network.to(dtype).eval()


def _text(checkpoint: Checkpoint, folder: Path, dtype: torch.dtype) -> T5Text:
    config, length = checkpoint.config.text, checkpoint.config.transformer.max_text_seq_length
    if state := checkpoint.companions.get("text"):
        text = small_text(config, length)
        _cast(text.module, dtype).load_state_dict(state)
        return text
    return load_text(folder, config, length, dtype)


def _video(checkpoint: Checkpoint, folder: Path, dtype: torch.dtype) -> VideoVae:
    if state := checkpoint.companions.get("video"):
        video = small_video_vae(checkpoint.config.video)
        _cast(video.module, dtype).load_state_dict(state)
        return video
    return load_video_vae(folder, checkpoint.config.video, dtype)


def _usual_dtype(tensors: Iterable[Tensor]) -> torch.dtype:
    numbers: Counter[torch.dtype] = Counter()
    for tensor in tensors:
        numbers[tensor.dtype] += tensor.numel() if tensor.is_floating_point() else 0
    return numbers.most_common(1)[0][0]
