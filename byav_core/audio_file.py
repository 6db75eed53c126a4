"""Sound from files: any container and codec that PyAV reads, as mono samples."""

from pathlib import Path

import torch

from .types import Audio


def read_audio(path: str | Path) -> Audio:
    """The first sound track of a file, its channels averaged, at its own sample rate.

    Raises FileNotFoundError, or ValueError naming the file when it holds no sound or cannot be read.
    """
    import av

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no sound file {path}")
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise ValueError(f"{path} has no sound track; give a file with speech in it")
            return _samples(container, str(path))
    except av.error.FFmpegError as error:
        raise ValueError(
            f"{path} cannot be read as sound ({error.strerror}); use WAV, FLAC, MP3, M4A or MP4"
        ) from error


def _samples(container, path: str) -> Audio:
    import av

    stream = container.streams.audio[0]
    mono = av.AudioResampler(format="fltp", rate=stream.rate)
    parts = [
        torch.from_numpy(out.to_ndarray()).mean(0)
        for frame in (*container.decode(stream), None)
        for out in mono.resample(frame)
    ]
    if not parts:
        raise ValueError(f"the sound track of {path} is empty; give a file with speech in it")
    return Audio(torch.cat(parts).float(), stream.rate)
