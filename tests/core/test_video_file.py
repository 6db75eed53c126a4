import math

import pytest
import torch

from byav_core.types import Audio, Video
from byav_core.video_file import read_comment, read_video, write_video


def film(frames=50, fps=25.0, height=32, width=48, audio=None):
    """Grey, brightening evenly over time."""
    grey = torch.linspace(0.1, 0.9, frames)[:, None, None, None]
    return Video(grey.expand(frames, 3, height, width).contiguous(), fps, audio)


def clicks(seconds, rate, at):
    waveform = torch.zeros(round(seconds * rate))
    for second in at:
        waveform[round(second * rate) : round(second * rate) + rate // 1000] = 0.9
    return Audio(waveform, rate)


def onset(audio, after):
    """The second at which the first loud sample after `after` lies."""
    first = round(after * audio.sample_rate)
    loud = (audio.waveform[first:].abs() > 0.3).nonzero()
    return (first + loud[0].item()) / audio.sample_rate


def test_frames_come_back_in_number_size_rate_and_colour(tmp_path):
    frames = torch.zeros(13, 3, 32, 48)
    frames[:, 0, :, :24], frames[:, 2, :, 24:] = 0.8, 0.8
    write_video(tmp_path / "a.mp4", Video(frames, 25.0))
    read = read_video(tmp_path / "a.mp4")
    assert read.frames.shape == (13, 3, 32, 48) and read.fps == 25.0 and read.audio is None
    assert (read.frames - frames)[..., 4:20].abs().mean() < 0.03


def test_frames_keep_their_order(tmp_path):
    write_video(tmp_path / "a.mp4", film(30))
    brightness = read_video(tmp_path / "a.mp4").frames.mean(dim=(1, 2, 3))
    assert (brightness.diff() > 0).all()


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("fps", [25.0, 12.5, 24000 / 1001])
def test_a_click_is_heard_within_half_a_frame_of_its_picture(tmp_path, rate, fps):
    at, frames = (0.2, 0.8, 1.4), math.ceil(1.6 * fps)
    video = film(frames, fps, audio=clicks(1.6, rate, at))
    for second in at:
        video.frames[round(second * fps)] = 1.0
    write_video(tmp_path / "a.mp4", video)
    read = read_video(tmp_path / "a.mp4")
    flashes = (read.frames.mean(dim=(1, 2, 3)) > 0.95).nonzero().flatten() / fps
    for second, flash in zip(at, flashes.tolist(), strict=True):
        assert abs(onset(read.audio, second - 0.1) - second) < 0.005
        assert abs(onset(read.audio, second - 0.1) - flash) <= 0.5 / fps + 0.005


def test_both_tracks_start_at_zero(tmp_path):
    import av

    write_video(tmp_path / "a.mp4", film(audio=clicks(2.0, 16000, (0.5,))))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert next(container.decode(video=0)).pts == 0
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert next(frame for frame in container.decode(audio=0)).time == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("seconds", [0.4, 2.0, 5.0])
def test_the_sound_lasts_exactly_as_long_as_the_frames(tmp_path, seconds):
    import av

    write_video(tmp_path / "a.mp4", film(50, 25.0, audio=clicks(seconds, 16000, (0.1,))))
    with av.open(str(tmp_path / "a.mp4")) as container:
        lengths = [float(track.duration * track.time_base) for track in container.streams]
    assert lengths == [2.0, 2.0]


def test_a_sample_rate_that_aac_lacks_is_brought_to_the_next(tmp_path):
    write_video(tmp_path / "a.mp4", film(audio=clicks(2.0, 11000, (0.5,))))
    read = read_video(tmp_path / "a.mp4").audio
    assert read.sample_rate == 11025 and onset(read, 0) == pytest.approx(0.5, abs=0.005)


def test_the_index_stands_before_the_data(tmp_path):
    write_video(tmp_path / "a.mp4", film())
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_a_comment_is_kept(tmp_path):
    write_video(tmp_path / "a.mp4", film(), comment="made by an untrained model")
    assert read_comment(tmp_path / "a.mp4") == "made by an untrained model"


@pytest.mark.parametrize(
    ("name", "video", "sentence"),
    [
        ("a.avi", film(3), "written as .mp4"),
        ("a.mp4", film(3, height=31), "make both sides even"),
        ("a.mp4", Video(torch.zeros(0, 3, 32, 48), 25.0), "without frames"),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path, name, video, sentence):
    with pytest.raises(ValueError, match=sentence):
        write_video(tmp_path / name, video)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_video(tmp_path / "nowhere" / "a.mp4", film(3))


def test_a_video_cut_short_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", film(5))
    before = (tmp_path / "a.mp4").read_bytes()

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("byav_core.video_file._write_sound", fail)
    with pytest.raises(OSError, match="no space left"):
        write_video(tmp_path / "a.mp4", film(7, audio=clicks(1.0, 16000, (0.1,))))
    assert (tmp_path / "a.mp4").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("text", "text.mp4 cannot be read as a video"),
        ("cut", "cut.mp4 "),
        ("folder", "there is no video .*folder.mp4"),
        ("none", "there is no video .*none.mp4"),
    ],
)
def test_what_is_no_video_is_named(tmp_path, name, sentence):
    write_video(tmp_path / "whole.mp4", Video(torch.rand(9, 3, 32, 48), 25.0))
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "whole.mp4").read_bytes()[:1000])
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        read_video(tmp_path / f"{name}.mp4")
