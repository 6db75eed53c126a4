"""Face and audio cross-attention, with the masks of the characters inside (§3.3, eq. 7 and 8). Eq. 8 is taken on v',
after the face step, as the paper's text has it.

A mask is one number per token and character, so it can be applied before the output projection: one query, one
projection in and one out, whatever the number of characters. Keys and values do not change from step to step:
`project` is called once per generation. Parameter names are those of the released weights.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

KeyValue = tuple[Tensor, Tensor]
LOGITS = 2**22  # of one attention held at a time


def masked_attention(
    q: Float[Tensor, "*b heads s d"],
    k: Float[Tensor, "*#b n heads k d"],
    v: Float[Tensor, "*#b n heads k d"],
    mask: Float[Tensor, "*#b n s"],
) -> Float[Tensor, "*b s heads*d"]:
    """Attend to each of n groups of keys by itself and add the n results up, each times its mask.

    The sum runs inside one matrix product over all groups: n results of full width never exist. Queries are taken some
    at a time, so that what is in memory does not grow with n.
    """
    n, keys = k.shape[-4], k.shape[-2]
    at_once = max(1, LOGITS // max(1, q[..., 0, 0].numel() * n * keys))
    k = rearrange(k * k.shape[-1] ** -0.5, "... n heads k d -> ... heads d (n k)")
    v = rearrange(v, "... n heads k d -> ... heads (n k) d")
    mask = rearrange(mask, "... n s -> ... 1 s n 1").to(q.dtype)

    def attend(q: Tensor, mask: Tensor) -> Tensor:
        within = (q @ k).unflatten(-1, (n, keys)).softmax(dim=-1)
        return rearrange((within * mask).flatten(-2) @ v, "... heads s d -> ... s heads d")

    parts = zip(q.split(at_once, dim=-2), mask.split(at_once, dim=-3), strict=True)
    return torch.cat([attend(*part) for part in parts], dim=-3).flatten(-2)


class FaceCrossAttention(nn.Module):
    """Visual tokens look at the face tokens of their character (eq. 7). No biases."""

    def __init__(self, dim: int, face_dim: int, heads: int, head_dim: int):
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.norm1 = nn.LayerNorm(face_dim)
        self.norm2 = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(face_dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)

    def project(self, characters: Float[Tensor, "b n k d"]) -> KeyValue:
        """Keys and values of the characters, each b n heads k d."""
        kv = self.to_kv(self.norm1(characters))
        k, v = rearrange(kv, "b n k (two heads d) -> two b n heads k d", two=2, heads=self.heads)
        return k, v

    def query(self, hidden_states: Float[Tensor, "b s d"]) -> Float[Tensor, "b heads s d2"]:
        return rearrange(self.to_q(self.norm2(hidden_states)), "b s (heads d) -> b heads s d", heads=self.heads)

    def forward(
        self,
        q: Float[Tensor, "b heads s d"],
        k: Float[Tensor, "#b n heads k d"],
        v: Float[Tensor, "#b n heads k d"],
        character_to_token: Float[Tensor, "#b n s"],
    ) -> Float[Tensor, "b s d2"]:
        return self.to_out(masked_attention(q, k, v, character_to_token))


class AudioCrossAttention(nn.Module):
    """Visual tokens of a latent frame look at the speech tokens of that frame (eq. 8). Biases everywhere."""

    def __init__(self, dim: int, audio_dim: int, heads: int, head_dim: int):
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.norm_q = nn.LayerNorm(dim)
        self.attn = nn.ModuleDict(
            {
                "to_q": nn.Linear(dim, inner),
                "to_k": nn.Linear(audio_dim, inner),
                "to_v": nn.Linear(audio_dim, inner),
                "to_out": nn.ModuleList([nn.Linear(inner, dim)]),
            }
        )

    def project(self, speech: Float[Tensor, "b m t k d"]) -> KeyValue:
        """Keys and values of the streams, each b m t heads k d."""
        k, v = (
            rearrange(to(speech), "b m t k (heads d) -> b m t heads k d", heads=self.heads)
            for to in (self.attn.to_k, self.attn.to_v)
        )
        return k, v

    def query(self, hidden_states: Float[Tensor, "b s d"]) -> Float[Tensor, "b heads s d2"]:
        return rearrange(self.attn.to_q(self.norm_q(hidden_states)), "b s (heads d) -> b heads s d", heads=self.heads)

    def forward(
        self,
        q: Float[Tensor, "b heads s d"],
        k: Float[Tensor, "#b m t heads k d"],
        v: Float[Tensor, "#b m t heads k d"],
        audio_to_token: Float[Tensor, "#b m s"],
    ) -> Float[Tensor, "b s d2"]:
        t = k.shape[2]
        mixed = masked_attention(
            rearrange(q, "b heads (t p) d -> b t heads p d", t=t),
            k.transpose(1, 2),
            v.transpose(1, 2),
            rearrange(audio_to_token, "b m (t p) -> b t m p", t=t),
        )
        return self._project_out(rearrange(mixed, "b t p d -> b (t p) d"), audio_to_token.sum(dim=1))

    def _project_out(self, mixed: Float[Tensor, "b s d"], weight: Float[Tensor, "#b s"]) -> Float[Tensor, "b s d2"]:
        """One projection for the sum of all streams: its bias belongs to each of them, so it counts `weight` times."""
        to_out = self.attn.to_out[0]
        bias = to_out(mixed.new_zeros(1, 1, mixed.shape[-1]))
        return torch.addcmul(to_out(mixed), (weight - 1)[..., None].to(mixed.dtype), bias)
