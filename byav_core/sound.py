"""Sounds as waveforms: level, sample rate, several at once, and cut to a clip."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from .types import Audio


def resampled(audio: Audio, sample_rate: int) -> Audio:
    if audio.sample_rate == sample_rate or not len(audio.waveform):
        return Audio(audio.waveform, sample_rate)
    import librosa

    samples = audio.waveform.float().cpu().numpy()
    samples = librosa.resample(samples, orig_sr=audio.sample_rate, target_sr=sample_rate, res_type="soxr_hq")
    return Audio(torch.from_numpy(samples), sample_rate)


def at_level(audio: Audio, loudness_db: float) -> Audio:
    """The sound with an RMS of `loudness_db` below full scale (-20 is usual speech); silence stays silence."""
    rms = audio.waveform.square().mean().sqrt()
    gain = 10 ** (loudness_db / 20) / rms if rms > 0 else 1.0
    return Audio(audio.waveform * gain, audio.sample_rate)


def delayed(audio: Audio, seconds: float) -> Audio:
    """The sound after so much silence."""
    return Audio(pad(audio.waveform, (round(seconds * audio.sample_rate), 0)), audio.sample_rate)


def cut(audio: Audio, seconds: float) -> Audio:
    """Exactly so long: what is too much goes, what is missing is silence."""
    samples = round(seconds * audio.sample_rate)
    waveform = audio.waveform[:samples]
    return Audio(pad(waveform, (0, samples - len(waveform))), audio.sample_rate)


def mixed(sounds: tuple[Audio, ...], seconds: float) -> Audio:
    """All at once at the highest of their rates, turned down together only if the sum would clip."""
    rate = max((sound.sample_rate for sound in sounds), default=16000)
    total: Float[Tensor, " samples"] = torch.zeros(round(seconds * rate))
    for sound in sounds:
        total = total + cut(resampled(sound, rate), seconds).waveform.to(total)
    return Audio(total / total.abs().max().clamp(min=1) if len(total) else total, rate)
