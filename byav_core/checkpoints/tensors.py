"""Weights files, read and written: safetensors and PyTorch's pickles, mapped into memory and never executed."""

import pickle
import re
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

    The file is mapped, its numbers are read when they are first used. Writing to a tensor does not reach the file.
    Numbers and words beside the tensors (a step count) are left out. Raises FileNotFoundError and CheckpointError.
    """
    return _read(path, _safetensors, "cpu")


def read_shapes(path: Path) -> dict[str, Tensor]:
    """The same on the meta device, from the beginning of the file alone."""
    return _read(path, _safetensors_header, "meta")


Reader = Callable[[Path], dict[str, Tensor]]  # one of the two


def _read(path: Path, safetensors: Reader, device: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"no weights file {path}")
    if path.suffix in SAFETENSORS:
        return safetensors(path)
    if path.suffix in PICKLES:
        return dict(_flatten(_read_pickle(path, device), ""))
    raise CheckpointError(f"{path} is no weights file that can be read here; expected {SAFETENSORS + PICKLES}")


def read_metadata(path: Path) -> dict[str, str]:
    """The words that a safetensors file carries; other files carry none."""
    if path.suffix not in SAFETENSORS:
        return {}
    with _opened(path) as file:
        return file.metadata() or {}


def write_safetensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Written beside `path` and renamed, so that `path` is either the old file or the whole new one.

    Raises ValueError for another ending than .safetensors, and for tensors without numbers.
    """
    if path.suffix not in SAFETENSORS:
        raise ValueError(f"{path} should end in {SAFETENSORS[0]}, by which such a file is recognised")
    if empty := [name for name, tensor in tensors.items() if tensor.is_meta]:
        raise ValueError(f"{empty[0]} and {len(empty) - 1} more have no numbers: the network is on the meta device")
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
        unfinished.touch()
        mode = unfinished.stat().st_mode
        write(str(unfinished))
        unfinished.chmod(mode)  # safetensors leaves files that only their owner may read
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def unfinished_name(path: Path) -> Path:
    """Where to write before renaming to `path`: beside it, hidden, and nobody else's."""
    return path.with_name(f".{path.name}.{uuid4().hex}.part")


def _safetensors(path: Path) -> dict[str, Tensor]:
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def _safetensors_header(path: Path) -> dict[str, Tensor]:
    with _opened(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}
        return {
            name: torch.empty(part.get_shape(), dtype=_dtype(part.get_dtype(), name, path), device="meta")
            for name, part in slices.items()
        }


def _dtype(word: str, name: str, path: Path) -> torch.dtype:
    """safetensors' word for it: F32, BF16, I64, F8_E4M3 ... Raises CheckpointError for one that PyTorch has not."""
    if word in ("BOOL", "C64"):
        return {"BOOL": torch.bool, "C64": torch.complex64}[word]
    kinds = {"F": "float", "BF": "bfloat", "I": "int", "U": "uint"}
    ours = re.sub(r"^[A-Z]+(?=\d)", lambda kind: kinds[kind[0]], word).lower()
    found = getattr(torch, ours + {"e4m3": "fn", "e8m0": "fnu"}.get(ours[-4:], ""), None)
    if found is None:
        raise CheckpointError(f"{name} in {path} is stored as {word}, which cannot be read here; use BF16, F16 or F32")
    return found


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) is not a whole safetensors file: {error}. "
            "It was probably cut short on its way; fetch it again"
        ) from error


def _read_pickle(path: Path, device: str) -> Any:
    mmap = _is_zip(path)
    try:
        return torch.load(path, map_location=device, weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"opening it would run {code[1]}" if code else "it is of another kind, or objects that need code"
        raise CheckpointError(
            f"{path} holds something else than weights: {what}. It was not opened; ask for a safetensors file"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:  # OSError: a seek before the beginning
        reason = str(error).split(". ")[0] or "it ends too early"
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) is not a whole PyTorch file: {reason}. "
            "It was probably cut short on its way; fetch it again"
        ) from error


def _is_zip(path: Path) -> bool:
    """Only PyTorch's format of today can be mapped; by its beginning, since a file cut short has lost its end."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _flatten(content: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield prefix or "(tensor)", content.detach()
    elif isinstance(content, Mapping):
        for name, value in content.items():
            yield from _flatten(value, f"{prefix}.{name}" if prefix else str(name))
    elif isinstance(content, list | tuple):
        for number, value in enumerate(content):
            yield from _flatten(value, f"{prefix}.{number}" if prefix else str(number))
