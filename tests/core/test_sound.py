import pytest
import torch

from byav_core.sound import at_level, cut, delayed, mixed, resampled
from byav_core.types import Audio


def tone(seconds=1.0, rate=16000, hertz=440.0, loud=0.5):
    return Audio(loud * torch.sin(torch.arange(round(seconds * rate)) / rate * hertz * 2 * torch.pi), rate)


def rms(audio):
    return audio.waveform.square().mean().sqrt().item()


@pytest.mark.parametrize("loudness", [-30.0, -20.0, -12.0])
def test_a_level_is_reached_whatever_the_sound_had(loudness):
    for loud in (0.01, 0.5):
        assert rms(at_level(tone(loud=loud), loudness)) == pytest.approx(10 ** (loudness / 20), rel=1e-3)


def test_silence_stays_silence_at_any_level():
    assert not at_level(Audio(torch.zeros(100), 16000), -20.0).waveform.any()


def test_a_delay_is_silence_before_the_sound():
    later = delayed(tone(0.5), 0.25)
    assert not later.waveform[:4000].any()
    assert torch.equal(later.waveform[4000:], tone(0.5).waveform)


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.5])
def test_a_cut_sound_is_exactly_so_long(seconds):
    assert len(cut(tone(1.0), seconds).waveform) == round(seconds * 16000)


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_resampling_keeps_the_tone_and_its_length(rate):
    there = resampled(tone(1.0), rate)
    assert there.sample_rate == rate and there.seconds == pytest.approx(1.0, abs=1e-3)
    middle = there.waveform[rate // 4 : -rate // 4] - tone(1.0, rate).waveform[rate // 4 : -rate // 4]
    assert middle.abs().max() < 0.01


def test_a_mix_is_the_sum_at_the_highest_rate():
    total = mixed((tone(1.0, 48000, loud=0.3), tone(1.0, 48000, 700.0, loud=0.3)), 1.0)
    expected = tone(1.0, 48000, loud=0.3).waveform + tone(1.0, 48000, 700.0, loud=0.3).waveform
    torch.testing.assert_close(total.waveform, expected)
    assert mixed((tone(1.0, 16000), tone(1.0, 44100)), 1.0).sample_rate == 44100


def test_a_mix_that_would_clip_is_turned_down_as_a_whole():
    total = mixed((tone(loud=0.9), tone(loud=0.9)), 1.0)
    assert total.waveform.abs().max() == pytest.approx(1.0, abs=1e-4)
    torch.testing.assert_close(total.waveform, tone(loud=1.0).waveform, atol=1e-3, rtol=0)


def test_a_mix_of_nothing_is_silence_of_the_right_length():
    assert len(mixed((), 2.0).waveform) == 32000
