"""Sound from files: any container and codec that PyAV reads, as mono samples."""

from pathlib import Path

from .types import Audio


def read_audio(path: str | Path) -> Audio:
    """The first audio track of a file, channels averaged, at its own sample rate.

    Raises FileNotFoundError, or ValueError naming the file when it holds no sound or cannot be read.
    """
    raise NotImplementedError
