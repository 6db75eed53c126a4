"""Our own format: one safetensors file with the network, its configuration, and if wanted text encoder and VAE."""

from pathlib import Path

from torch import Tensor

from ..config import ModelConfig
from ..network import Models, Network
from .checkpoint import Checkpoint
from .fit import CheckpointError
from .tensors import Reader, read_metadata, read_tensors, write_safetensors

CONFIG = "bind_your_avatar"  # the configuration's place in the file's metadata
COMPANIONS = ("text", "video")


def read_single_file(path: Path, read: Reader = read_tensors) -> Checkpoint:
    """Raises CheckpointError when the configuration inside is none."""
    try:
        config = ModelConfig.from_json(read_metadata(path)[CONFIG])
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}. The file is damaged or from a newer version") from error
    tensors, companions = read(path), {}
    for name in COMPANIONS:
        companions[name] = {
            key.removeprefix(f"{name}."): tensors.pop(key) for key in list(tensors) if key.startswith(f"{name}.")
        }
    return Checkpoint(
        format="byav",
        config=config,
        tensors=tensors,
        files=dict.fromkeys(tensors, path),
        rename=lambda key: key,
        home=lambda name: path,
        companions=companions,
    )


def save_network(network: Network, path: str | Path) -> None:
    """The network alone; text encoder and VAE stay in the folders that they came from. Whole or not at all."""
    write_state(network.state_dict(), network.config, Path(path))


def save_models(models: Models, path: str | Path) -> None:
    """Network, text encoder and VAE in one file that needs no other."""
    companions = {"text": models.text.module, "video": models.video.module}
    state = dict(models.network.state_dict())
    for name, module in companions.items():
        state |= {f"{name}.{key}": tensor for key, tensor in module.state_dict().items()}
    write_state(state, models.config, Path(path))


def write_state(state: dict[str, Tensor], config: ModelConfig, path: Path) -> None:
    write_safetensors(state, path, {CONFIG: config.to_json()})
