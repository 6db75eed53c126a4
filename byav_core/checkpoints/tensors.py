"""Weights files, read and written: safetensors and PyTorch's pickles, mapped into memory and never executed."""

import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .fit import CheckpointError

SAFETENSORS = (".safetensors", ".sft")
PICKLES = (".pt", ".pth", ".bin", ".ckpt")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of one file by name; nested dictionaries and lists give dotted names.

    The file is mapped: only names and shapes are read here, numbers when they are first used. Writing to a tensor
    does not reach the file. Numbers and words beside the tensors (a step count) are left out.
    Raises FileNotFoundError and CheckpointError.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights file {path}")
    if path.suffix in SAFETENSORS:
        return _read_safetensors(path)
    if path.suffix in PICKLES:
        return dict(_flatten(_read_pickle(path), ""))
    raise CheckpointError(f"{path} is no weights file that can be read here; expected {SAFETENSORS + PICKLES}")


def read_metadata(path: Path) -> dict[str, str]:
    """The words that a safetensors file carries; other files carry none."""
    if path.suffix not in SAFETENSORS:
        return {}
    with _opened(path) as file:
        return file.metadata() or {}


def write_safetensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Written beside `path` and renamed, so that `path` is either the old file or the whole new one."""
    packed = _separate({name: tensor.detach().contiguous() for name, tensor in tensors.items()})
    _write_whole(path, lambda unfinished: save_file(packed, unfinished, metadata={"format": "pt", **(metadata or {})}))


def write_pickle(content: Any, path: Path) -> None:
    """PyTorch's own format, for the released layout only; whole or not at all, as above."""
    _write_whole(path, lambda unfinished: torch.save(content, unfinished))


def _separate(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tied tensors (T5's embedding under two names) written once under each: the format knows no sharing."""
    seen: set[tuple[int, int]] = set()
    for name, tensor in tensors.items():
        memory = (tensor.data_ptr(), tensor.nbytes)
        if memory in seen:
            tensors[name] = tensor.clone()
        seen.add(memory)
    return tensors


def _write_whole(path: Path, write: Callable[[str], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = unfinished_name(path)
    try:
        write(str(unfinished))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def unfinished_name(path: Path) -> Path:
    """Where to write before renaming to `path`: beside it, hidden, and nobody else's."""
    return path.with_name(f".{path.name}.{uuid4().hex}.part")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) is not a whole safetensors file: {error}. "
            "It was probably cut short on its way; fetch it again"
        ) from error


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"opening it would run {code[1]}" if code else "it is of another kind, or objects that need code"
        raise CheckpointError(
            f"{path} holds something else than weights: {what}. It was not opened; ask for a safetensors file"
        ) from error
    except (RuntimeError, EOFError) as error:
        reason = str(error).split(". ")[0] or "it ends too early"
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) is not a whole PyTorch file: {reason}. "
            "It was probably cut short on its way; fetch it again"
        ) from error


def _flatten(content: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield prefix or "(tensor)", content.detach()
    elif isinstance(content, Mapping):
        for name, value in content.items():
            yield from _flatten(value, f"{prefix}.{name}" if prefix else str(name))
    elif isinstance(content, list | tuple):
        for number, value in enumerate(content):
            yield from _flatten(value, f"{prefix}.{number}" if prefix else str(number))
