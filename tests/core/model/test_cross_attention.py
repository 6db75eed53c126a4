"""The exact savings equal the plain form, and the masks bind: each law where it can be seen, before joint attention."""

import pytest
import torch
from torch.nn.functional import linear

from byav_core.model import cross_attention
from byav_core.model.cross_attention import AudioCrossAttention, FaceCrossAttention, masked_attention
from byav_core.types import TokenGrid

GRID = TokenGrid(t=2, h=3, w=5)
B, K, DIM, HEADS, HEAD_DIM, FACE, AUDIO = 2, 4, 12, 3, 8, 10, 6

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.fixture
def face() -> FaceCrossAttention:
    return FaceCrossAttention(DIM, FACE, HEADS, HEAD_DIM).double()


@pytest.fixture
def audio() -> AudioCrossAttention:
    return AudioCrossAttention(DIM, AUDIO, HEADS, HEAD_DIM).double()


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def weights(n: int) -> torch.Tensor:
    return torch.rand(B, n, GRID.tokens, dtype=torch.float64)


def attend(attention, hidden, tokens, mask):
    return attention(attention.query(hidden), *attention.project(tokens), mask)


def softmax_attention(q, k, v):
    """One character, one head at a time, the softmax written out."""
    out = []
    for head_q, head_k, head_v in zip(*(x.chunk(HEADS, dim=-1) for x in (q, k, v)), strict=True):
        logits = head_q @ head_k.T / HEAD_DIM**0.5
        out.append(logits.exp() / logits.exp().sum(-1, keepdim=True) @ head_v)
    return torch.cat(out, dim=-1)


def naive_face(face, hidden, characters, mask):
    """Each character by itself, projected by itself; then masked and summed."""
    rows = []
    for b in range(B):
        total = torch.zeros_like(hidden[b])
        for i in range(characters.shape[1]):
            k, v = linear(face.norm1(characters[b, i]), face.to_kv.weight).chunk(2, dim=-1)
            features = linear(softmax_attention(face.to_q(face.norm2(hidden[b])), k, v), face.to_out.weight)
            total += mask[b, i, :, None] * features
        rows.append(total)
    return torch.stack(rows)


def naive_audio(audio, hidden, speech, weight):
    """Each stream and latent frame by itself, projected with its bias; then weighted and summed."""
    frame, attn = GRID.h * GRID.w, audio.attn
    out = torch.zeros_like(hidden)
    for b in range(B):
        for j in range(speech.shape[1]):
            for t in range(GRID.t):
                here = slice(t * frame, (t + 1) * frame)
                q = attn.to_q(audio.norm_q(hidden[b, here]))
                features = softmax_attention(q, attn.to_k(speech[b, j, t]), attn.to_v(speech[b, j, t]))
                out[b, here] += weight[b, j, here, None] * attn.to_out[0](features)
    return out


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_masking_before_one_projection_equals_projecting_every_character(face, n):
    hidden, characters, mask = random(B, GRID.tokens, DIM), random(B, n, K, FACE), weights(n)
    torch.testing.assert_close(
        attend(face, hidden, characters, mask), naive_face(face, hidden, characters, mask), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
def test_weighting_before_one_projection_equals_projecting_every_stream_with_its_bias(audio, m):
    hidden, speech, weight = random(B, GRID.tokens, DIM), random(B, m, GRID.t, K, AUDIO), weights(m)
    torch.testing.assert_close(
        attend(audio, hidden, speech, weight), naive_audio(audio, hidden, speech, weight), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("logits", [1, 100, 1000])
def test_taking_some_queries_at_a_time_changes_nothing(face, audio, logits, monkeypatch):
    hidden, characters, speech = random(B, GRID.tokens, DIM), random(B, 3, K, FACE), random(B, 3, GRID.t, K, AUDIO)
    mask = weights(3)
    for attention, tokens in ((face, characters), (audio, speech)):
        at_once = attend(attention, hidden, tokens, mask)
        with monkeypatch.context() as patch:
            patch.setattr(cross_attention, "LOGITS", logits)
            torch.testing.assert_close(attend(attention, hidden, tokens, mask), at_once, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_one_batch_of_keys_values_and_masks_serves_every_row(face, audio, n):
    hidden, characters, speech = random(B, GRID.tokens, DIM), random(1, n, K, FACE), random(1, n, GRID.t, K, AUDIO)
    mask = weights(n)[:1]
    for attention, tokens in ((face, characters), (audio, speech)):
        shared = attend(attention, hidden, tokens, mask)
        apart = attend(attention, hidden, tokens.expand(B, *tokens.shape[1:]), mask.expand(B, -1, -1))
        torch.testing.assert_close(shared, apart, rtol=0, atol=1e-12)


def test_no_characters_or_streams_means_no_features(face, audio):
    hidden = random(B, GRID.tokens, DIM)
    assert not attend(face, hidden, random(B, 0, K, FACE), weights(0)).any()
    assert not attend(audio, hidden, random(B, 0, GRID.t, K, AUDIO), weights(0)).any()


def test_a_zero_mask_leaves_nothing_not_even_the_bias(face, audio):
    hidden, nothing = random(B, GRID.tokens, DIM), torch.zeros_like(weights(3))
    assert not attend(face, hidden, random(B, 3, K, FACE), nothing).any()
    assert not attend(audio, hidden, random(B, 3, GRID.t, K, AUDIO), nothing).any()


@pytest.mark.parametrize("kind", ["face", "audio"])
def test_a_mask_on_the_left_moves_only_the_left(kind, request):
    attention = request.getfixturevalue(kind)
    tokens = random(B, 1, K, FACE) if kind == "face" else random(B, 1, GRID.t, K, AUDIO)
    left = torch.zeros(B, 1, GRID.t, GRID.h, GRID.w, dtype=torch.float64)
    left[..., :2] = 1
    moved = attend(attention, random(B, GRID.tokens, DIM), tokens, GRID.flatten(left))
    columns = GRID.fold(moved.abs().sum(-1)[:, None]).amax((0, 1, 2, 3))
    assert (columns > 0).tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("kind", ["face", "audio"])
def test_the_order_of_the_cast_does_not_matter(kind, request):
    attention, order = request.getfixturevalue(kind), torch.tensor([3, 1, 0, 2])
    tokens = random(B, 4, K, FACE) if kind == "face" else random(B, 4, GRID.t, K, AUDIO)
    hidden, mask = random(B, GRID.tokens, DIM), weights(4)
    torch.testing.assert_close(
        attend(attention, hidden, tokens[:, order], mask[:, order]), attend(attention, hidden, tokens, mask)
    )


def test_a_token_hears_only_its_own_latent_frame(audio):
    hidden, speech, everywhere = random(B, GRID.tokens, DIM), random(B, 1, GRID.t, K, AUDIO), torch.ones(B, 1, 30)
    before = attend(audio, hidden, speech, everywhere)
    speech[:, :, 1] += 1
    moved = (attend(audio, hidden, speech, everywhere) - before).abs().sum(-1).unflatten(1, (GRID.t, -1))
    assert not moved[:, 0].any() and (moved[:, 1] > 0).all()


def test_speech_that_does_not_fill_the_frames_is_not_spread_over_them(audio):
    with pytest.raises(Exception, match="(?s)shape|divi"):
        attend(audio, random(B, GRID.tokens, DIM), random(B, 1, 7, K, AUDIO), weights(1))


def test_gradients_flow_to_the_masks():
    with torch.enable_grad():
        mask = weights(2).requires_grad_()
        q, k, v = random(B, HEADS, GRID.tokens, HEAD_DIM), *random(2, B, 2, HEADS, K, HEAD_DIM)
        masked_attention(q, k, v, mask).sum().backward()
    assert mask.grad.abs().min() > 0
