"""The face extractor (§3.2): a Q-Former that turns what the frozen face encoders see into e_c.

Runs once per character and generation. Parameter names are those of the released weights.
"""

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from ..config import FaceExtractorConfig


class FaceExtractor(nn.Module):
    """Identity vector and CLIP feature maps of several depths -> `queries` face tokens (e_c).

    The feature maps are visited from shallow to deep, `depth / scales` layers each; the identity, spread over a few
    tokens, stays beside every one of them.
    """

    def __init__(self, config: FaceExtractorConfig):
        super().__init__()
        if config.depth % config.scales:
            raise ValueError(f"depth {config.depth} cannot be shared by {config.scales} scales; use a multiple of it")
        dim = config.dim
        self.config = config
        self.latents = nn.Parameter(torch.randn(1, config.queries, dim) * dim**-0.5)
        self.proj_out = nn.Parameter(torch.randn(dim, config.output_dim) * dim**-0.5)
        self.id_embedding_mapping = _mapping(config.identity_dim, dim, dim * config.identity_tokens)
        for scale in range(config.scales):
            self.add_module(f"mapping_{scale}", _mapping(config.feature_dim, dim, dim))
        self.layers = nn.ModuleList(
            nn.ModuleList([PerceiverAttention(dim, config.heads, config.head_dim), _feed_forward(dim, config.ff_mult)])
            for _ in range(config.depth)
        )

    def forward(
        self, identity: Float[Tensor, "b identity"], hidden: list[Float[Tensor, "b p feature"]]
    ) -> Float[Tensor, "b k d"]:
        """identity: joined face-recognition and CLIP vector. hidden: CLIP feature maps, one per scale."""
        if len(hidden) != self.config.scales:
            raise ValueError(f"{len(hidden)} feature maps were given; this face extractor reads {self.config.scales}")
        who = rearrange(self.id_embedding_mapping(identity), "b (k d) -> b k d", k=self.config.identity_tokens)
        latents = torch.cat([repeat(self.latents.to(who), "1 k d -> b k d", b=len(who)), who], dim=1)
        for scale, features in enumerate(hidden):
            context = torch.cat([who, self.get_submodule(f"mapping_{scale}")(features)], dim=1)
            for attention, feed_forward in self._layers_of(scale):
                latents = latents + attention(context, latents)
                latents = latents + feed_forward(latents)
        return latents[:, : self.config.queries] @ self.proj_out.to(latents)

    def _layers_of(self, scale: int) -> nn.ModuleList:
        per_scale = self.config.depth // self.config.scales
        return self.layers[scale * per_scale : (scale + 1) * per_scale]


class PerceiverAttention(nn.Module):
    """Latents look at the context and at themselves. No biases."""

    def __init__(self, dim: int, heads: int, head_dim: int):
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)

    def forward(self, context: Float[Tensor, "b p d"], latents: Float[Tensor, "b k d"]) -> Float[Tensor, "b k d"]:
        context, latents = self.norm1(context), self.norm2(latents)
        q = rearrange(self.to_q(latents), "b k (heads d) -> b heads k d", heads=self.heads)
        kv = self.to_kv(torch.cat([context, latents], dim=1))
        k, v = rearrange(kv, "b p (two heads d) -> two b heads p d", two=2, heads=self.heads)
        return self.to_out(rearrange(scaled_dot_product_attention(q, k, v), "b heads k d -> b k (heads d)"))


def _mapping(input_dim: int, dim: int, output_dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(input_dim, dim),
        nn.LayerNorm(dim),
        nn.LeakyReLU(),
        nn.Linear(dim, dim),
        nn.LayerNorm(dim),
        nn.LeakyReLU(),
        nn.Linear(dim, output_dim),
    )


def _feed_forward(dim: int, mult: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(dim),
        nn.Linear(dim, dim * mult, bias=False),
        nn.GELU(),
        nn.Linear(dim * mult, dim, bias=False),
    )
