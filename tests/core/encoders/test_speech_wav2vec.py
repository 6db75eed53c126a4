import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import interpolate

from byav_core.config import tiny
from byav_core.encoders.speech_wav2vec import load_speech_encoder
from byav_core.protocols import SpeechEncoder
from byav_core.sound import resampled
from byav_core.types import Audio

CONFIG = tiny().speech
FPS = 25.0


@pytest.fixture(scope="module")
def encoder():
    return load_speech_encoder("tiny", CONFIG)


@pytest.fixture(scope="module")
def spoken(real_inputs):
    if not real_inputs.can_speak():
        pytest.skip("there is no eSpeak NG")
    samples, rate = real_inputs.speech("anna")
    return Audio(torch.from_numpy(samples.copy()), rate)


def noise(samples: int, rate: int = 16000, seed: int = 0) -> Audio:
    return Audio(0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed)), rate)


def click(second: float, rate: int, seconds: float = 2.0) -> Audio:
    waveform = torch.zeros(round(seconds * rate))
    start = round(second * rate)
    waveform[start : start + rate // 50] = torch.sin(torch.arange(rate // 50) * 2 * math.pi * 300 / rate)
    return Audio(waveform, rate)


def test_it_is_a_speech_encoder_and_says_what_it_was_trained_on(encoder):
    assert isinstance(encoder, SpeechEncoder)
    assert encoder.trained == "drawn world"
    assert load_speech_encoder("tiny", replace(CONFIG, conv_dim=24)).trained == "untrained"
    assert all(not parameter.requires_grad for parameter in encoder.modules[0].parameters())


def test_real_speech_gives_rows_that_change_with_what_is_said(encoder, spoken):
    hidden = encoder(spoken, FPS)
    assert hidden.shape == (math.ceil(spoken.seconds * FPS), CONFIG.num_hidden_layers, CONFIG.hidden_size)
    assert torch.isfinite(hidden).all()
    assert hidden.std(0).mean() > 0.1


@pytest.mark.parametrize("fps", [25.0, 12.5, 30000 / 1001])
@pytest.mark.parametrize(
    "samples, rate", [(1, 16000), (399, 16000), (400, 16000), (8001, 8000), (36480, 16000), (44100, 44100), (3, 48000)]
)
def test_there_is_one_row_per_frame_that_the_sound_touches(encoder, samples, rate, fps):
    hidden = encoder(noise(samples, rate), fps)
    assert len(hidden) == math.ceil(samples * fps / rate - 1e-9)
    assert torch.isfinite(hidden).all()


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("second", [0.0, 0.1, 0.5, 1.3, 1.9])
def test_a_sound_shows_in_the_frame_in_which_it_is_heard(encoder, rate, second):
    hidden = encoder(click(second, rate), FPS)
    unusual = (hidden - hidden.median(0).values).square().sum((1, 2))
    assert abs(int(unusual.argmax()) - int(second * FPS)) <= 1


def test_features_are_stretched_before_the_transformer_reads_them(encoder):
    """Written out by transformers' own parts: convolutions, stretching, projection, transformer, all its layers."""
    audio = noise(14321)
    module, model = encoder.modules[0], encoder.modules[0].transformer
    x = (audio.waveform - audio.waveform.mean()) / audio.waveform.std(correction=0)
    with torch.no_grad():
        features = module.convolutions(x[None])
        features = interpolate(features, size=23, mode="linear", align_corners=True)
        projected, _ = model.feature_projection(features.transpose(1, 2))
        state = model.encoder.layer_norm(projected + model.encoder.pos_conv_embed(projected))
        layers = []
        for layer in model.encoder.layers:
            state = layer(state)
            state = state[0] if isinstance(state, tuple) else state
            layers.append(state[0])
    torch.testing.assert_close(encoder(audio, FPS), torch.stack(layers, dim=1), atol=2e-5, rtol=0)


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_silence_is_finite_and_the_same_at_any_level(encoder, value):
    hidden = encoder(Audio(torch.full((16000,), value), 16000), FPS)
    assert torch.isfinite(hidden).all()
    torch.testing.assert_close(hidden, encoder(Audio(torch.zeros(16000), 16000), FPS))


def test_loudness_does_not_matter(encoder):
    loud, quiet = noise(20000), Audio(noise(20000).waveform * 0.05, 16000)
    torch.testing.assert_close(encoder(loud, FPS), encoder(quiet, FPS), atol=2e-3, rtol=0)


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_the_sample_rate_hardly_matters(encoder, spoken, rate):
    there = encoder(resampled(spoken, rate), FPS)
    here = encoder(resampled(spoken, 16000), FPS)
    assert torch.nn.functional.cosine_similarity(there.flatten(), here.flatten(), dim=0) > (
        0.7 if rate < 16000 else 0.9
    )


def test_convolutions_in_pieces_equal_one_pass(encoder):
    module, waveform = encoder.modules[0], noise(16000 * 7 + 123).waveform
    whole = module._features(waveform)
    piece, module.piece = module.piece, 90
    try:
        torch.testing.assert_close(module._features(waveform), whole, atol=1e-4, rtol=0)
    finally:
        module.piece = piece


def test_windows_of_a_long_recording_join_without_a_seam(encoder):
    module = encoder.modules[0]
    audio = noise(16000 * 24)
    whole = encoder(audio, FPS)
    window, module.window = module.window, 400
    try:
        windows = encoder(audio, FPS)
    finally:
        module.window = window
    assert windows.shape == whole.shape == (600, *whole.shape[1:])
    torch.testing.assert_close(windows, whole, atol=0.02, rtol=0)


def test_same_sound_same_rows_and_no_random_numbers_are_used():
    before = torch.random.get_rng_state()
    first = load_speech_encoder("tiny", CONFIG)(noise(9000), FPS)
    second = load_speech_encoder("tiny", CONFIG)(noise(9000), FPS)
    assert torch.equal(first, second)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    "waveform, sentence",
    [
        (torch.zeros(0), "the sound is empty"),
        (torch.tensor([0.1, math.nan, 0.2]), "1 of 3 samples of the sound are NaN or infinite"),
        (torch.tensor([0.1, math.inf, -math.inf, 0.2]), "2 of 4 samples of the sound"),
    ],
)
def test_sounds_without_sound_are_refused(encoder, waveform, sentence):
    with pytest.raises(ValueError, match=sentence):
        encoder(Audio(waveform, 16000), FPS)


def test_a_check_names_the_stream():
    with pytest.raises(ValueError, match="voice of Ben is empty"):
        Audio(torch.zeros(0), 16000).check("the voice of Ben")
    with pytest.raises(ValueError, match="sample rate of 0"):
        Audio(torch.zeros(5), 0).check("the voice of Ben")


def saved(folder, config):
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    from byav_core.encoders.speech_wav2vec import _architecture

    torch.manual_seed(5)
    Wav2Vec2Model(Wav2Vec2Config(**_architecture(config))).save_pretrained(folder)
    return folder


def test_a_folder_of_weights_loads(tmp_path):
    encoder = load_speech_encoder(saved(tmp_path / "wav2vec2", CONFIG), CONFIG)
    assert encoder.trained == "wav2vec2"
    assert not torch.equal(encoder(noise(9000), FPS), load_speech_encoder("tiny", CONFIG)(noise(9000), FPS))


def test_weights_of_another_size_are_refused_with_both_sizes(tmp_path):
    folder = saved(tmp_path, replace(CONFIG, num_hidden_layers=2))
    with pytest.raises(ValueError, match="72 channels and 2 layers, the model expects 72 and 3"):
        load_speech_encoder(folder, CONFIG)


def test_missing_files_are_named_with_the_place(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no wav2vec2 weights in {tmp_path}.*config.json"):
        load_speech_encoder(tmp_path, CONFIG)
    saved(tmp_path, CONFIG)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=f"{tmp_path} cannot be read as weights"):
        load_speech_encoder(tmp_path, CONFIG)


def test_weights_that_are_cut_short_or_lack_a_part_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(saved(tmp_path, CONFIG) / "model.safetensors")
    gone = next(key for key in weights if "layers.1" in key)
    save_file({key: x for key, x in weights.items() if key != gone}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="lacks 1 weights that the model needs: .*layers.1"):
        load_speech_encoder(tmp_path, CONFIG)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cannot be read as weights"):
        load_speech_encoder(tmp_path, CONFIG)
