"""Waveform to mouth: energy of the voice's band, frame by frame, for any sound."""

import pytest
import torch

from byav_core.synthetic.chance import chance
from byav_core.synthetic.mouth import mouth_opening
from byav_core.synthetic.voices import BuiltInVoices, music, noise
from byav_core.types import Audio

RATE, FPS, FRAMES = 16000, 12.5, 25


def tone(hertz, level=0.2, rate=RATE, seconds=FRAMES / FPS):
    time = torch.arange(round(seconds * rate)) / rate
    return Audio(level * torch.sin(2 * torch.pi * hertz * time), rate)


def test_silence_keeps_it_shut():
    assert mouth_opening(Audio(torch.zeros(RATE), RATE), 12, FPS).abs().max() == 0


def test_the_band_of_the_voice_opens_it_and_what_is_beside_hardly():
    voice, hum, hiss = (mouth_opening(tone(hertz), FRAMES, FPS)[5:20].mean() for hertz in (500, 20, 7800))
    assert voice > 0.5 and hum < 0.3 * voice and hiss < 0.4 * voice


def test_louder_is_wider():
    openings = [mouth_opening(tone(500, level), FRAMES, FPS)[10] for level in (0.02, 0.05, 0.1, 0.2)]
    assert openings == sorted(openings) and openings[0] < openings[-1] / 3


def test_it_opens_in_the_frame_that_the_sound_falls_into():
    sound = torch.zeros(2 * RATE)
    sound[15360:16640] = tone(500, 0.3, seconds=0.08).waveform  # 0.96 s to 1.04 s, frame 12 of 12.5 a second
    assert mouth_opening(Audio(sound, RATE), FRAMES, FPS).argmax() == 12


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_the_sample_rate_does_not_matter(rate):
    other = mouth_opening(tone(500, rate=rate), FRAMES, FPS)
    assert torch.allclose(other[3:22], mouth_opening(tone(500), FRAMES, FPS)[3:22], atol=0.02)


def test_after_the_end_of_the_sound_it_is_shut():
    opening = mouth_opening(tone(500, seconds=1.0), FRAMES, FPS)
    assert opening[:12].min() > 0.3 and opening[15:].max() == 0


def test_even_a_sound_of_one_sample_has_an_opening():
    assert mouth_opening(Audio(torch.ones(1), RATE), FRAMES, FPS).shape == (FRAMES,)


def test_a_rate_without_the_band_is_refused():
    with pytest.raises(ValueError, match="200 Hz has no band"):
        mouth_opening(Audio(torch.zeros(50), 200), 3, FPS)


def test_speech_opens_it_neither_too_little_nor_as_far_as_it_goes():
    voices, random = BuiltInVoices(), chance("histogram")
    said = [voices.say(random, voices.draw(random, "train"), 2.0) for _ in range(40)]
    opening = torch.cat([mouth_opening(Audio(one, RATE), FRAMES, FPS) for one in said])
    assert 0.3 < opening[opening > 0].mean() < 0.55
    assert (opening >= 1).float().mean() < 0.03
    assert opening.std() > 0.12


@pytest.mark.parametrize("sound", [music, noise])
def test_any_other_sound_opens_it_too(sound):
    opening = mouth_opening(Audio(sound(chance("x"), 2.0), RATE), FRAMES, FPS)
    assert 0.1 < opening.mean() < 0.9
