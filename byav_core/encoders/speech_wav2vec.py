"""Speech to hidden states on the video's clock: wav2vec2 with its features stretched to one row per frame."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..config import SpeechEncoderConfig
from ..types import Audio


class Wav2VecSpeech:
    """`modules` are the torch parts."""

    def __init__(self, config: SpeechEncoderConfig, module: nn.Module):
        self.config, self.modules = config, (module,)

    def __call__(self, audio: Audio, fps: float) -> Float[Tensor, "f layers d"]:
        raise NotImplementedError


def load_speech_encoder(
    name_or_folder: str | Path, config: SpeechEncoderConfig, *, device: str | torch.device = "cpu"
) -> Wav2VecSpeech:
    """ "tiny" (no files, untrained) or a transformers folder with wav2vec2 weights."""
    raise NotImplementedError
