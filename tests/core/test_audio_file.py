import wave

import numpy as np
import pytest
import torch

from byav_core.audio_file import read_audio

RATE = 44100


def encoded(path, codec: str, rate: int, samples: np.ndarray, layout: str = "stereo"):
    """A sound file of one codec; samples (channels, n) in -1..1."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        convert = av.AudioResampler(format=stream.format, layout=layout, rate=rate)
        for piece in [*convert.resample(frame), *convert.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path


def written(path, samples: bytes, rate: int = 8000, channels: int = 1):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples)
    return path


def click(rate: int, second: float) -> np.ndarray:
    samples = np.zeros((2, rate), np.float32)
    samples[:, round(second * rate) : round(second * rate) + 60] = 0.8
    return samples


@pytest.mark.parametrize(
    "name, codec, rate",
    [
        ("a.wav", "pcm_s16le", 8000), ("a.wav", "pcm_f32le", 48000), ("a.flac", "flac", 44100),
        ("a.mp3", "libmp3lame", 44100), ("a.m4a", "aac", 44100), ("a.mp4", "aac", 48000), ("a.ogg", "libopus", 48000),
    ],
)  # fmt: skip
def test_any_container_gives_samples_that_keep_their_time(tmp_path, name, codec, rate):
    audio = read_audio(encoded(tmp_path / name, codec, rate, click(rate, 0.5)))
    assert audio.sample_rate == rate
    assert abs(audio.seconds - 1) < 0.06  # some codecs fill their last block
    loudest = int(audio.waveform.abs().argmax()) / rate
    assert abs(loudest - 0.5) < 0.01


def test_channels_are_averaged(tmp_path):
    time = np.arange(RATE) / RATE
    left, right = np.sin(2 * np.pi * 220 * time), 0.5 * np.sin(2 * np.pi * 330 * time)
    audio = read_audio(encoded(tmp_path / "two.wav", "pcm_f32le", RATE, np.stack([left, right])))
    torch.testing.assert_close(audio.waveform, torch.from_numpy((left + right) / 2).float(), atol=1e-6, rtol=0)


def test_one_channel_is_kept_as_it_is(tmp_path):
    samples = (np.arange(500) * 60 - 15000).astype("<i2")
    audio = read_audio(written(tmp_path / "one.wav", samples.tobytes()))
    torch.testing.assert_close(audio.waveform, torch.from_numpy(samples / 32768).float())


def test_one_sample_is_enough(tmp_path):
    assert read_audio(written(tmp_path / "a.wav", b"\1\0")).waveform.shape == (1,)


def test_the_sound_of_a_video_is_read(tmp_path):
    import av

    path = tmp_path / "talk.mp4"
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=25)
        picture.width, picture.height, picture.pix_fmt = 32, 16, "yuv420p"
        sound = container.add_stream("aac", rate=16000, layout="mono")
        container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((16, 32, 3), np.uint8), format="rgb24")))
        container.mux(picture.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    audio = read_audio(path)
    assert audio.sample_rate == 16000 and len(audio.waveform) >= 8000


def test_real_speech_is_read_as_it_was_spoken(tmp_path, real_inputs):
    if not real_inputs.can_speak():
        pytest.skip("there is no eSpeak NG")
    samples, rate = real_inputs.speech("ben")
    real_inputs.write_wave(tmp_path / "ben.wav", samples, rate)
    audio = read_audio(tmp_path / "ben.wav")
    assert audio.sample_rate == rate and audio.seconds > 2
    torch.testing.assert_close(audio.waveform, torch.from_numpy(samples.copy()), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "content, sentence",
    [(b"", "cannot be read as sound"), (b"hello, this is a letter", "cannot be read as sound")],
)
def test_what_is_not_sound_is_named(tmp_path, content, sentence):
    (tmp_path / "letter.wav").write_bytes(content)
    with pytest.raises(ValueError, match=f"letter.wav {sentence}"):
        read_audio(tmp_path / "letter.wav")


def test_a_file_without_samples_is_named(tmp_path):
    with pytest.raises(ValueError, match="the sound track of .*none.wav is empty"):
        read_audio(written(tmp_path / "none.wav", b""))


def test_a_video_without_sound_is_named(tmp_path):
    import av

    with av.open(str(tmp_path / "mute.mp4"), "w") as container:
        picture = container.add_stream("libx264", rate=25)
        picture.width, picture.height, picture.pix_fmt = 32, 16, "yuv420p"
        container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((16, 32, 3), np.uint8), format="rgb24")))
        container.mux(picture.encode(None))
    with pytest.raises(ValueError, match="mute.mp4 has no sound track"):
        read_audio(tmp_path / "mute.mp4")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "nothing.wav", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"there is no sound file {path}"):
            read_audio(path)
