"""Weights that the user named: what is missing or damaged is said in a sentence; nothing is downloaded."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def part_of(folder: str | Path, part: str, whose: str) -> Path:
    """`folder/part`. Raises FileNotFoundError saying what belongs there; `whose` is the model to copy it from."""
    path = Path(folder) / part
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; name the folder that holds {part}/ of {whose}")
    if not (path / "config.json").is_file():
        raise FileNotFoundError(f"no {part}/config.json in {folder}; copy {part}/ of {whose} there")
    return path


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever the libraries raise over damaged or foreign files into a ValueError that names the place."""
    try:
        yield
    except (ImportError, MemoryError):
        raise
    except Exception as error:  # each library has its own; onnxruntime's have nothing in common with the others
        raise ValueError(f"{path} cannot be read as weights ({error}); copy it again") from error


def refuse_gaps(path: Path, report: dict[str, Any], harmless: frozenset[str] = frozenset()) -> None:
    """Raises ValueError when weights are missing: the library would have filled them with random numbers."""
    if missing := sorted(set(report["missing_keys"]) - harmless):
        shown = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        raise ValueError(f"{path} lacks {len(missing)} weights that the model needs: {shown}; copy it again")
