"""Finished latents on disk, with all that is needed to decode them into the same video another time."""

import json
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from .types import Audio, Clip


@dataclass(frozen=True)
class KeptLatents:
    """model: the name of the configuration that made them; trained: what it says of itself."""

    latents: Float[Tensor, "1 t c H W"]
    masks: Float[Tensor, "n t h w"] | None
    audio: Audio
    clip: Clip
    names: tuple[str, ...]
    model: str
    trained: str


def write_latents(path: str | Path, kept: KeptLatents) -> None:
    """As safetensors; the words go into its metadata. Raises OSError when the file cannot be written."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {"latents": kept.latents, "waveform": kept.audio.waveform}
    if kept.masks is not None:
        tensors["masks"] = kept.masks
    said = {
        "sample_rate": kept.audio.sample_rate,
        "clip": vars(kept.clip),
        "names": kept.names,
        "model": kept.model,
        "trained": kept.trained,
    }
    packed = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    try:
        save_file(packed, path, {"byav": json.dumps(said)})
    except SafetensorError as error:
        raise OSError(f"the latents cannot be written to {path} ({error}); make room, or write elsewhere") from error


def read_latents(path: str | Path) -> KeptLatents:
    """Raises FileNotFoundError, or ValueError when the file holds no latents of ours."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path} with latents")
    try:
        with safe_open(str(path), "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 it is no dictionary
            said = json.loads((file.metadata() or {}).get("byav", "{}"))
        return KeptLatents(
            tensors["latents"],
            tensors.get("masks"),
            Audio(tensors["waveform"], said["sample_rate"]),
            Clip(**said["clip"]),
            tuple(said["names"]),
            said["model"],
            said["trained"],
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no latents that `generate` kept ({error}); give such a file") from error
