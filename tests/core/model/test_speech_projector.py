import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from byav_core.config import SpeechProjectorConfig
from byav_core.model.cross_attention import AudioCrossAttention
from byav_core.model.speech_projector import SpeechProjector, windows

SMALL = SpeechProjectorConfig(layers=2, channels=3, window=5, hidden_dim=7, tokens=4, output_dim=6, mute_shape=(4, 6))

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.fixture(params=["small", "even"])
def recorded(request, vectors, recipe, load_projector):
    """A projector with its audio cross-attentions, inputs and outputs; one of 49 video frames, one of 5."""
    case = json.loads((vectors / "audio_model.config.json").read_text())[request.param]
    state = recipe.state_dict(case["seed"], case["shapes"], {})
    outputs = load_file(vectors / "audio_model.outputs.safetensors")
    model = case["model"]
    attentions = []
    for layer in range(model["num_layers"]):
        attention = AudioCrossAttention(
            model["dim"], model["audio_dim"], model["num_attention_heads"], model["attention_head_dim"]
        )
        prefix = f"layers.{layer}."
        attention.load_state_dict({key.removeprefix(prefix): x for key, x in state.items() if key.startswith(prefix)})
        attentions.append(attention)
    rows, frames = case["audio_frames"], case["window_shape"][1]
    shape = (2, rows, case["proj"]["blocks"], case["proj"]["channels"])
    hidden = 0.27 * recipe.network_input(case["seed"], f"audio.{request.param}", *shape)
    return {
        "projector": load_projector(case["proj"], state),
        "attentions": attentions,
        "windows": torch.stack([windows(x, first=2, frames=frames) for x in hidden]),
        "vector": {key.removeprefix(f"{request.param}."): x for key, x in outputs.items()},
    }


def test_speech_tokens_number_for_number(recorded, agree):
    agree(recorded["projector"](recorded["windows"]), recorded["vector"]["tokens"])


def test_silence_number_for_number(recorded, agree):
    nothing = torch.zeros_like(recorded["windows"])
    agree(recorded["projector"](nothing), recorded["vector"]["tokens_of_zero_audio"])


def test_audio_attention_number_for_number(recorded, agree):
    hidden, tokens = recorded["vector"]["hidden"], recorded["vector"]["tokens"]
    for layer, attention in enumerate(recorded["attentions"]):
        k, v = attention.project(tokens[:, None])
        everywhere = torch.ones(2, 1, hidden.shape[1])
        agree(attention(attention.query(hidden), k, v, everywhere), recorded["vector"][f"out{layer}"])


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (2, 1), (3, 1), (5, 2), (9, 3), (17, 5), (6, 2), (49, 13)])
def test_time_is_halved_twice_and_an_odd_first_frame_stays(frames, latents):
    assert SpeechProjector(SMALL)(torch.randn(2, frames, 5, 2, 3)).shape == (2, latents, 4, 6)


def test_a_latent_frame_hears_only_its_own_video_frames():
    projector = SpeechProjector(SMALL)
    sound = torch.randn(1, 9, 5, 2, 3)
    louder = sound.clone()
    louder[:, 5:] += 1  # video frames 5..8 make up latent frame 2
    changed = (projector(louder) - projector(sound)).abs().amax(dim=(0, 2, 3)) > 1e-6
    assert changed.tolist() == [False, False, True]


def test_any_number_of_halvings():
    assert SpeechProjector(replace(SMALL, halvings=3))(torch.randn(1, 17, 5, 2, 3)).shape[1] == 3
    assert SpeechProjector(replace(SMALL, halvings=0))(torch.randn(1, 17, 5, 2, 3)).shape[1] == 17


def test_a_window_holds_the_rows_around_its_frame_and_zeros_outside():
    rows = torch.arange(1.0, 5)[:, None, None]  # 1 2 3 4
    assert windows(rows, first=0, frames=3)[..., 0, 0].tolist() == [[0, 0, 1, 2, 3], [0, 1, 2, 3, 4], [1, 2, 3, 4, 0]]
    assert windows(rows, first=2, frames=1)[..., 0, 0].tolist() == [[1, 2, 3, 4, 0]]


@pytest.mark.parametrize("first", [-9, -3, -1, 0, 2, 3, 4, 9])
@pytest.mark.parametrize("frames", [1, 5])
def test_windows_of_any_place_are_cut_from_the_same_endless_row(first, frames):
    rows = torch.arange(1.0, 5)[:, None, None]
    endless = {i: float(i + 1) for i in range(4)}
    expected = [[endless.get(first + f + w - 2, 0.0) for w in range(5)] for f in range(frames)]
    assert windows(rows, first, frames)[..., 0, 0].tolist() == expected


def test_a_stream_that_starts_late_is_silent_until_then():
    cut = windows(torch.randn(4, 2, 3), first=-3, frames=9)
    assert not cut[0].any() and cut[3].any()
