"""Speech to hidden states on the video's clock: wav2vec2 whose features are stretched to one row per frame (§3.2)."""

import math
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from ..config import SpeechEncoderConfig
from ..sound import resampled
from ..types import Audio
from ..weights_folder import reading, refuse_gaps
from .untrained import seeded_weights, weights_in_the_box


class Wav2VecSpeech:
    """Sound of any length and sample rate to one row of hidden states per video frame, all layers but the input.

    F = ceil(seconds * fps) rows; a sound at second x shows around row x * fps. The sound is brought to 16 kHz, zero
    mean and unit variance. Silence (all samples equal) becomes zeros by that and gives finite, constant-like rows.
    `modules` are the torch parts, `trained` says which weights they have.
    """

    def __init__(self, config: SpeechEncoderConfig, model: nn.Module, trained: str):
        found = (model.config.hidden_size, model.config.num_hidden_layers)
        expected = (config.hidden_size, config.num_hidden_layers)
        if found != expected:
            raise ValueError(
                f"the speech encoder has {found[0]} channels and {found[1]} layers, the model expects {expected[0]} "
                f"and {expected[1]}; use wav2vec2-base-960h, or the encoder that belongs to the model"
            )
        self.config, self.trained = config, trained
        self.modules = (FramewiseWav2Vec(model).eval().requires_grad_(False),)

    @torch.no_grad()
    def __call__(self, audio: Audio, fps: float) -> Float[Tensor, "f layers d"]:
        """Raises ValueError when the sound is empty or not finite."""
        audio.check("the sound")
        module = self.modules[0]
        waveform = normalised(resampled(audio, self.config.sample_rate).waveform.float())
        return module(waveform.to(next(module.parameters()).device), audio.rows(fps))


class FramewiseWav2Vec(nn.Module):
    """wav2vec2 cut open between its convolutions and its transformer, where the features are stretched.

    Memory stays bounded: the convolutions run over pieces of the recording, exactly as over the whole; the transformer
    over windows of `window` rows beyond that length, `overlap` rows of each end looked at but not kept.
    """

    def __init__(self, model: nn.Module, piece: int = 1000, window: int = 1500, overlap: int = 125):
        super().__init__()
        self.convolutions, self.transformer = model.feature_extractor, model
        model.feature_extractor = nn.Identity()
        self.piece, self.window, self.overlap = piece, window, overlap
        kernels, strides = model.config.conv_kernel, model.config.conv_stride
        self.stride = math.prod(strides)
        self.field = 1 + sum((k - 1) * math.prod(strides[:i]) for i, k in enumerate(kernels))

    def forward(self, waveform: Float[Tensor, " samples"], frames: int) -> Float[Tensor, "f layers d"]:
        waveform = pad(waveform, (0, max(0, self.field - len(waveform))))
        features = interpolate(self._features(waveform), size=frames, mode="linear", align_corners=True)
        if frames <= self.window:
            return self._hidden(features)
        core = self.window - 2 * self.overlap
        kept = []
        for start in range(0, frames, core):
            before = min(start, self.overlap)
            seen = self._hidden(features[..., start - before : start + core + self.overlap])
            kept.append(seen[before : before + core])
        return torch.cat(kept)

    def _hidden(self, features: Float[Tensor, "1 c f"]) -> Float[Tensor, "f layers d"]:
        return self.states(features)[0]

    def states(self, features: Float[Tensor, "b c f"]) -> Float[Tensor, "b f layers d"]:
        return torch.stack(self.transformer(features, output_hidden_states=True).hidden_states[1:], dim=2)

    def rows(self, waveforms: Float[Tensor, "b samples"], frames: int) -> Float[Tensor, "b f layers d"]:
        """As `forward`, for many short sounds at once."""
        features = reduce(lambda x, layer: layer(x), self.convolutions.conv_layers, waveforms[:, None])
        return self.states(interpolate(features, size=frames, mode="linear", align_corners=True))

    def _features(self, waveform: Float[Tensor, " samples"]) -> Float[Tensor, "1 c l"]:
        pieces = self._pieces(waveform)
        first, *others = self.convolutions.conv_layers
        if len(pieces) > 1 and isinstance(first.layer_norm, nn.GroupNorm):
            first = NormalisedOverAll(first, pieces, self.stride * self.piece)
        return torch.cat([reduce(lambda x, layer: layer(x), others, first(x[None, None])) for x in pieces], dim=-1)

    def _pieces(self, waveform: Float[Tensor, " samples"]) -> list[Float[Tensor, " _"]]:
        """Stretches of samples that give `piece` features each (the last one what remains)."""
        step = self.stride * self.piece
        count = max(1, math.ceil(((len(waveform) - self.field) // self.stride + 1) / self.piece))
        ends = [i * step - self.stride + self.field for i in range(1, count)] + [len(waveform)]
        return [waveform[i * step : end] for i, end in enumerate(ends)]


class NormalisedOverAll(nn.Module):
    """wav2vec2's first layer for a recording in pieces: its group norm runs over the time of all of them."""

    def __init__(self, layer: nn.Module, pieces: list[Float[Tensor, " _"]], step: int):
        super().__init__()
        self.layer = layer
        own = step // layer.conv.stride[0]  # outputs of a piece before the next one begins
        count, total, square = 0, 0.0, 0.0
        for i, x in enumerate(pieces):
            y = layer.conv(x[None, None])[0]
            y = y if i == len(pieces) - 1 else y[:, :own]
            count, total = count + y.shape[-1], total + y.sum(-1).cpu().double()  # not every device has doubles
            square = square + y.square().sum(-1).cpu().double()
        mean = total / count
        deviation = (square / count - mean.square() + layer.layer_norm.eps).sqrt()
        self.scale = layer.layer_norm.weight[:, None] / deviation.to(y)[:, None]
        self.shift = layer.layer_norm.bias[:, None] - mean.to(y)[:, None] * self.scale

    def forward(self, x: Float[Tensor, "1 1 samples"]) -> Float[Tensor, "1 c l"]:
        return self.layer.activation(self.layer.conv(x) * self.scale + self.shift)


def load_speech_encoder(
    name_or_folder: str | Path, config: SpeechEncoderConfig, *, device: str | torch.device = "cpu"
) -> Wav2VecSpeech:
    """ "tiny": the real architecture at the size of `config`, with the weights in the box, untrained where none fits.
    Else a folder in transformers' layout, as of facebook/wav2vec2-base-960h, or with a `tiny_speech.safetensors`.

    Raises FileNotFoundError naming what is missing, ValueError when weights are damaged or of another model.
    """
    from transformers import Wav2Vec2Model

    box = None if name_or_folder == "tiny" else Path(name_or_folder)
    if box is None or (box / "tiny_speech.safetensors").is_file():
        model, trained = untrained_wav2vec(config), "untrained"
        if found := weights_in_the_box("tiny_speech", config, box):
            state, trained = found
            model.load_state_dict(state)
        return Wav2VecSpeech(config, model.to(device), trained)
    path = Path(name_or_folder)
    if not (path / "config.json").is_file():
        raise FileNotFoundError(
            f"no wav2vec2 weights in {path} (config.json and model.safetensors were looked for); download the files of "
            'facebook/wav2vec2-base-960h into that folder, or choose "tiny"'
        )
    with reading(path), seeded_weights(0):
        model, report = Wav2Vec2Model.from_pretrained(path, local_files_only=True, output_loading_info=True)
    refuse_gaps(path, report, harmless=frozenset({"masked_spec_embed"}))
    return Wav2VecSpeech(config, model.to(device), path.name)


def untrained_wav2vec(config: SpeechEncoderConfig, seed: int = 0) -> nn.Module:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    with seeded_weights(seed):
        return Wav2Vec2Model(Wav2Vec2Config(**_architecture(config)))


def _architecture(config: SpeechEncoderConfig) -> dict[str, Any]:
    return dict(
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size,
        conv_dim=(config.conv_dim,) * len(config.conv_kernel),
        conv_kernel=config.conv_kernel,
        num_conv_pos_embedding_groups=math.gcd(16, config.hidden_size),
    )


def normalised(waveform: Float[Tensor, " samples"]) -> Float[Tensor, " samples"]:
    """Zero mean, unit variance, as wav2vec2's feature extractor does."""
    return (waveform - waveform.mean()) / (waveform.var(correction=0) + 1e-7).sqrt()
