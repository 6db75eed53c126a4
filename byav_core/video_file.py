"""Videos on disk through PyAV: H.264 and AAC in mp4, sound in step with the frames."""

import os
from fractions import Fraction
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from .sound import cut
from .types import Audio, Video

AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)


def write_video(path: str | Path, video: Video, comment: str = "") -> None:
    """Both tracks start at zero; the sound is cut or filled up with silence to the duration of the frames.

    The file appears whole or not at all. `comment` goes into its metadata. Raises ValueError for odd sizes, which
    this kind of H.264 (yuv420p) cannot hold.
    """
    import av

    path = Path(path)
    _check_writable(path, video)
    unfinished = path.with_name(f".{path.stem}.unfinished{path.suffix}")
    try:
        with av.open(str(unfinished), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            container.metadata["comment"] = comment
            picture_track = _add_pictures(container, video)
            sound_track = _add_sound(container, video.audio) if video.audio is not None else None
            _write_pictures(container, picture_track, video)
            if sound_track is not None:
                _write_sound(container, sound_track, cut(video.audio, len(video.frames) / video.fps))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_video(path: str | Path) -> Video:
    """Frames 0..1 and the sound mixed to one channel.

    Raises FileNotFoundError, or ValueError naming the file when it has no pictures or cannot be read.
    """
    import av

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no video {path}")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path} has no video track; give a video file")
            fps = float(container.streams.video[0].average_rate or 0)
            pictures = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
        sound = _read_sound(path)
    except av.error.FFmpegError as error:
        raise ValueError(f"{path} cannot be read as a video ({error.strerror}); write it as mp4 again") from error
    if not pictures:
        raise ValueError(f"the video track of {path} has no frames; write it as mp4 again")
    return Video(rearrange(torch.stack(pictures), "f h w c -> f c h w").float() / 255, fps, sound)


def read_comment(path: str | Path) -> str:
    import av

    with av.open(str(path)) as container:
        return container.metadata.get("comment", "")


def _check_writable(path: Path, video: Video) -> None:
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} does not exist; create it or write elsewhere")
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"videos are written as .mp4, not {path.name!r}; rename the output")
    if not len(video.frames):
        raise ValueError("a video without frames cannot be written")
    height, width = video.frames.shape[-2:]
    if height % 2 or width % 2:
        raise ValueError(f"a video of {width}x{height} cannot be written as H.264; make both sides even")


def _add_pictures(container, video: Video):
    track = container.add_stream("libx264", rate=Fraction(video.fps).limit_denominator(1001))
    track.height, track.width = video.frames.shape[-2:]
    track.pix_fmt = "yuv420p"
    track.options = {"crf": "17", "preset": "medium"}
    return track


def _add_sound(container, audio: Audio):
    """At the sound's own rate where AAC has it, else at the next higher one."""
    rate = min((r for r in AAC_RATES if r >= audio.sample_rate), default=AAC_RATES[0])
    return container.add_stream("aac", rate=rate, layout="mono")


def _write_pictures(container, track, video: Video) -> None:
    import av

    for picture in video.frames:
        pixels = (rearrange(picture, "c h w -> h w c").float().clamp(0, 1) * 255).round().byte().cpu().numpy()
        container.mux(track.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
    container.mux(track.encode())


def _write_sound(container, track, audio: Audio) -> None:
    import av

    samples = rearrange(audio.waveform.float().clamp(-1, 1), "samples -> 1 samples").cpu().numpy()
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate, frame.pts = audio.sample_rate, 0
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=track.rate)
    for resampled in (*resampler.resample(frame), *resampler.resample(None)):
        container.mux(track.encode(resampled))
    container.mux(track.encode())


def _read_sound(path: str | Path) -> Audio | None:
    import av

    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None
        rate = container.streams.audio[0].rate
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
        parts: list[Float[Tensor, "1 samples"]] = []
        for frame in container.decode(audio=0):
            parts += [torch.from_numpy(part.to_ndarray()) for part in resampler.resample(frame)]
    return Audio(torch.cat(parts, dim=1)[0], rate)
