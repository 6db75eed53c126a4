"""The small speech encoder learns what opens a mouth: every row of every layer tells it, and the sound's spectrum."""

from dataclasses import replace

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from ...config import SpeechEncoderConfig
from ...encoders.speech_wav2vec import FramewiseWav2Vec, normalised, untrained_wav2vec
from ...encoders.untrained import seeded_weights
from ...synthetic import WorldSpec
from ...synthetic.mouth import mouth_opening
from ...synthetic.world import draw_sounds
from ...types import Audio
from .learning import Learning, Report, learn

LEARNING = Learning(steps=900, rows=32, examples=2500, test=300)
BANDS = 20  # of the spectrum, evenly heard
FLOOR = 1e-4  # of the energy, below which all is silence


class Sounds:
    """Streams of the drawn world as the encoder hears them, and what they do to a mouth at every frame."""

    def __init__(self, count: int, spec: WorldSpec):
        streams: list[Audio] = []
        seed = 0
        while len(streams) < count:
            streams += draw_sounds(seed, spec)
            seed += 1
        streams = streams[:count]
        self.waveforms = torch.stack([normalised(audio.waveform) for audio in streams])
        self.mouths = torch.stack([mouth_opening(audio, spec.frames, spec.fps) for audio in streams])
        self.bands = torch.stack([spectrum(waveform, spec) for waveform in self.waveforms])


def spectrum(waveform: Float[Tensor, " samples"], spec: WorldSpec) -> Float[Tensor, "f bands"]:
    """Log energy in bands of even width on the mel scale, around every frame, about -1..1."""
    import librosa

    rate = round(len(waveform) / spec.seconds)
    hop = round(rate / spec.fps)
    mel = librosa.feature.melspectrogram(
        y=np.pad(waveform.numpy(), hop // 2)[hop // 2 :], sr=rate, n_fft=2 * hop, hop_length=hop, n_mels=BANDS
    )  # half a frame on: windows lie around the middles of frames
    return torch.from_numpy(np.log10(mel.T[: spec.frames] / (2 * hop) + FLOOR)).float() / 2 + 0.5


class SpeechLearner(nn.Module):
    """Asks every row of every layer for the opening of the mouth, whether it is open, and the spectrum."""

    def __init__(self, config: SpeechEncoderConfig, seed: int):
        super().__init__()
        self.model = untrained_wav2vec(config, seed)
        self.hear = FramewiseWav2Vec(self.model).eval()
        with seeded_weights(seed):
            self.heads = nn.ModuleList(
                nn.Linear(config.hidden_size, 2 + BANDS) for _ in range(config.num_hidden_layers)
            )

    def forward(self, waveforms: Float[Tensor, "b samples"], frames: int) -> Float[Tensor, "b f layers asked"]:
        states = self.hear.rows(waveforms, frames)
        return torch.stack([head(states[:, :, i]) for i, head in enumerate(self.heads)], dim=2)

    def loss(self, sounds: Sounds, rows: Tensor) -> Tensor:
        mouths, bands = sounds.mouths[rows], sounds.bands[rows]
        told = self(sounds.waveforms[rows], mouths.shape[1])
        layers = told.shape[2]
        opening = rearrange(mouths, "b f -> b f 1").expand(-1, -1, layers)
        open_at_all = binary_cross_entropy_with_logits(told[..., 1], (opening > 0).float())
        heard = mse_loss(told[..., 2:], rearrange(bands, "b f bands -> b f 1 bands").expand(-1, -1, layers, -1))
        return 20 * mse_loss(told[..., 0], opening) + open_at_all + 2 * heard

    def trained_state(self) -> dict[str, Tensor]:
        """By the names of transformers' model."""
        convolutions = {f"feature_extractor.{key}": x for key, x in self.hear.convolutions.state_dict().items()}
        return convolutions | self.model.state_dict()


def learn_speech(
    config: SpeechEncoderConfig,
    spec: WorldSpec,
    learning: Learning = LEARNING,
    report: Report = lambda line: None,
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The trained weights, and what a linear read-out of each layer tells of voices that were not trained on."""
    learner, sounds = SpeechLearner(config, learning.seed), Sounds(learning.examples, replace(spec, split="train"))
    learn([learner], lambda rows: learner.loss(sounds, rows), learning, report)
    return learner.trained_state(), _score(learner, Sounds(learning.test, replace(spec, split="test")))


@torch.no_grad()
def _score(learner: SpeechLearner, sounds: Sounds) -> dict[str, float]:
    """Correlation with the opening, over all frames and as the mean over sounds that open a mouth."""
    told = learner(sounds.waveforms, sounds.mouths.shape[1])
    scores = {}
    for layer in range(told.shape[2]):
        opening = told[:, :, layer, 0]
        scores[f"layer {layer + 1} over all"] = correlation(opening.flatten(), sounds.mouths.flatten())
        each = [correlation(a, b) for a, b in zip(opening, sounds.mouths, strict=True) if float(b.std()) > 0.02]
        scores[f"layer {layer + 1} within a sound"] = float(np.mean(each))
    scores["open at all"] = float(((told[:, :, -1, 1] > 0) == (sounds.mouths > 0)).float().mean())
    return scores


def correlation(one: Float[Tensor, " x"], other: Float[Tensor, " x"]) -> float:
    return float(torch.corrcoef(torch.stack([one, other]))[0, 1])
