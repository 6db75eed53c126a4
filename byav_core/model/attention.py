"""Joint attention over text and video, through diffusers' dispatcher so that attention backends and context
parallelism work (its own CogVideoX processor goes past it)."""

import torch
from diffusers.models.attention import Attention
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.embeddings import apply_rotary_emb
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

Rotary = tuple[Float[Tensor, "positions head_dim"], Float[Tensor, "positions head_dim"]]


class JointAttention:
    """Attention processor: full attention over text and visual tokens, rotary positions on the visual ones.

    diffusers sets the two attributes in `set_attention_backend` and `enable_parallelism`.
    """

    _attention_backend = None
    _parallel_config = None

    def __call__(
        self,
        attn: Attention,
        hidden_states: Float[Tensor, "b s d"],
        encoder_hidden_states: Float[Tensor, "b l d"],
        attention_mask: None,
        image_rotary_emb: Rotary,
    ) -> tuple[Float[Tensor, "b s d"], Float[Tensor, "b l d"]]:
        lengths = [encoder_hidden_states.shape[1], hidden_states.shape[1]]
        joint = torch.cat([encoder_hidden_states, hidden_states], dim=1)
        q, k, v = (
            rearrange(to(joint), "b s (heads d) -> b s heads d", heads=attn.heads)
            for to in (attn.to_q, attn.to_k, attn.to_v)
        )
        q = rotate(attn.norm_q(q), image_rotary_emb)
        k = rotate(attn.norm_k(k), image_rotary_emb)
        out = attn.to_out[0](rearrange(self.attend(q, k, v), "b s heads d -> b s (heads d)"))
        text, visual = out.split(lengths, dim=1)
        return visual, text

    def attend(
        self, q: Float[Tensor, "b s heads d"], k: Float[Tensor, "b s heads d"], v: Float[Tensor, "b s heads d"]
    ) -> Float[Tensor, "b s heads d"]:
        return dispatch_attention_fn(q, k, v, backend=self._attention_backend, parallel_config=self._parallel_config)


def rotate(x: Float[Tensor, "b s heads d"], rotary: Rotary) -> Float[Tensor, "b s heads d"]:
    """Rotary positions on the last tokens, as many as there are positions; text before them has none."""
    text = x.shape[1] - rotary[0].shape[0]
    return torch.cat([x[:, :text], apply_rotary_emb(x[:, text:], rotary, sequence_dim=1)], dim=1)
