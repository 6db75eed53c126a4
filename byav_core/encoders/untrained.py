"""Weights for the small encoders that need no files: those trained in the drawn world, which lie beside the code,
or random ones, the same on every call and leaving no trace."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from ..config import Part
from ..weights_folder import reading

IN_THE_BOX = Path(__file__).parents[1] / "weights"


@contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Modules built inside get the weights of `seed`; the caller's random state is as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def weights_in_the_box(name: str, config: Part, box: str | Path | None = None) -> tuple[dict[str, Tensor], str] | None:
    """Trained weights of `name` and what they were trained on, if there are any for exactly this configuration.

    box: another folder that `companions` wrote. They have to be in that one: raises FileNotFoundError when they are
    not, and ValueError when they are for another configuration.
    """
    path = Path(box or IN_THE_BOX) / f"{name}.safetensors"
    found = _fitting(path, config) if path.is_file() else None
    if box is None or found:
        return found
    if path.is_file():
        raise ValueError(f"{path} was made for a model of other extents; make it anew with `byav_core companions`")
    raise FileNotFoundError(f"there is no {path}; make it with `python -m byav_core companions {box}`")


def _fitting(path: Path, config: Part) -> tuple[dict[str, Tensor], str] | None:
    from safetensors import safe_open

    with reading(path), safe_open(str(path), "pt") as file:
        said = file.metadata() or {}
        if said.get("config") != as_words(config):
            return None
        return {key: file.get_tensor(key).float() for key in file.keys()}, said["trained"]  # noqa: SIM118


def as_words(config: Part) -> str:
    """By which a file of weights says what it fits."""
    return json.dumps(asdict(config), sort_keys=True)
