"""§3.3.1 (c), Appendix A: masks read off the queries and keys of the face cross-attention, inside every forward.

Parameter names are the released ones, so the published file differs from ours by a prefix only.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ..config import RouterConfig
from ..protocols import MaskSource
from ..types import Routed, Scene, TokenGrid
from .heads import HEADS
from .positions import POSITIONS, Places, unturned


class IntraDenoiseRouter(nn.Module):
    """One router for all face layers; only `to_q[layer]` and `to_k[layer]` belong to a layer. Any n, any grid."""

    def __init__(self, config: RouterConfig, face_layers: int):
        super().__init__()
        if config.mask_layer not in (None, *range(face_layers)):
            raise ValueError(f"router.mask_layer is {config.mask_layer}; there are face layers 0 to {face_layers - 1}")
        dim, width = config.heads * config.head_dim, config.heads * config.face_tokens
        self.config = config
        self.positions = POSITIONS[config.positions](config)
        self.register_buffer("pos_emb", self.positions.table())
        self.norm_q, self.norm_k, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(width)
        self.to_q = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(face_layers))
        self.to_k = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(face_layers))
        self.layer_merge = released_leftovers(width, face_layers) if config.head == "sigmoid" else None
        self.spatial_temporal_layers = nn.ModuleList(
            SpatioTemporalLayer(width, config.attention_heads) for _ in range(config.depth)
        )
        self.final_proj = nn.Sequential(nn.Linear(width, 1))
        self.head = HEADS[config.head](width)

    def plan(self, scene: Scene) -> MaskSource:
        return IntraDenoiseMasks(self, scene.grid)

    def forward(
        self, layer: int, q: Float[Tensor, "b heads s d"], k: Float[Tensor, "#b n heads k d"], places: Places
    ) -> Routed:
        """q and k are detached: the router learns from the face attention and does not teach it."""
        x = self.norm(self.features(layer, q.detach(), k.detach()))
        x = rearrange(x, "b (t p) n w -> b t p n w", t=places.grid.t)
        if places.added is not None:
            x = x + rearrange(places.added.to(x), "t p w -> t p 1 w")
        for block in self.spatial_temporal_layers:
            x = block(x, places)
        x = rearrange(x, "b t p n w -> b (t p) n w")
        return self.head(x, rearrange(self.final_proj(x), "b s n 1 -> b n s"))

    def features(
        self, layer: int, q: Float[Tensor, "b heads s d"], k: Float[Tensor, "#b n heads k d"]
    ) -> Float[Tensor, "b s n width"]:
        """Attention scores (unscaled) of newly mapped queries and keys: per token and character one number for each
        face token and router head. Mapped features are ordered channel by channel, the attention head running fastest.

        Keys are few and tokens many, so the map of the queries, and the scale and shift of their norm, are applied to
        the keys instead, as long as that is less work.
        """
        heads, head_dim = q.shape[1], q.shape[3]
        n, face_tokens = k.shape[1], k.shape[3]
        k = self.to_k[layer](self.norm_k(rearrange(k, "b n h k d -> b n k (d h)")))
        k = rearrange(k, "b n k (r d) -> b r (n k) d", r=heads)
        q = F.layer_norm(rearrange(q, "b h s d -> b s (h d)"), self.norm_q.normalized_shape, eps=self.norm_q.eps)
        scores = _map_keys if n * face_tokens < head_dim else _map_queries
        return rearrange(scores(q, k, self.to_q[layer], self.norm_q), "b s (n w) -> b s n w", n=n)


def _map_keys(
    q: Float[Tensor, "b s dim"], k: Float[Tensor, "#b r nk d"], to_q: nn.Linear, norm: nn.LayerNorm
) -> Float[Tensor, "b s nkr"]:
    """q (W^T k): a row of W^T k for each key and router head meets the queries as they are."""
    r, d = k.shape[1], k.shape[3]
    k = rearrange(k @ rearrange(to_q.weight.to(k), "(r d) dim -> r d dim", r=r), "b r nk dim -> b (nk r) dim")
    shift = k @ norm.bias.to(k)
    k = rearrange(k * norm.weight.to(k), "b nkr (d h) -> b (h d) nkr", d=d)
    return q @ k + shift[:, None]


def _map_queries(
    q: Float[Tensor, "b s dim"], k: Float[Tensor, "#b r nk d"], to_q: nn.Linear, norm: nn.LayerNorm
) -> Float[Tensor, "b s nkr"]:
    """(W q) k, as the paper has it."""
    r, d = k.shape[1], k.shape[3]
    weight = to_q.weight.to(k)
    shift = weight @ norm.bias.to(k)
    weight = rearrange(weight * norm.weight.to(k), "rd (d h) -> rd (h d)", d=d)
    q = rearrange(F.linear(q, weight, shift), "b s (r d) -> b r s d", r=r)
    return rearrange(q @ k.mT, "b r s nk -> b s (nk r)")


class SpatioTemporalLayer(nn.Module):
    """Attention over the tokens of a frame, over the frames of a token, over the characters of a token; then an MLP."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.spatial_attn, self.temporal_attn, self.multi_id_attn = (Attention(width, heads) for _ in range(3))
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(width) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x: Float[Tensor, "b t p n w"], places: Places) -> Float[Tensor, "b t p n w"]:
        x = x + self.spatial_attn(self.norm1(x), "(b t) (n h) p d", places.within_frame)
        x = x + self.temporal_attn(self.norm2(x), "(b p) (n h) t d", places.over_time)
        x = x + self.multi_id_attn(self.norm3(x), "(b t p) h n d", unturned)
        return x + self.mlp(self.norm4(x))


class Attention(nn.Module):
    """Self-attention along one axis of b t p n width: frames, tokens of a frame, characters."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"router features of width {width} do not divide into {heads} attention heads")
        self.heads = heads
        self.attend: Callable[[Tensor, Tensor, Tensor], Tensor] = F.scaled_dot_product_attention
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(
        self, x: Float[Tensor, "b t p n w"], along: str, turn: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "b t p n w"]:
        """along: where the axes go, heads h and their channels d included; the last but one is attended over. The
        pattern is a view in and out wherever b is 1 or stays in front, so that nothing is copied."""
        b, t, p, n, _ = x.shape
        q, k, v = (
            rearrange(to(x), f"b t p n (h d) -> {along}", h=self.heads) for to in (self.to_q, self.to_k, self.to_v)
        )
        attended = self.attend(turn(q), turn(k), v)
        return self.to_out(rearrange(attended, f"{along} -> b t p n (h d)", b=b, t=t, p=p, n=n, h=self.heads))


def released_leftovers(width: int, face_layers: int) -> nn.ModuleList:
    """`layer_merge`: in the published file, unused by the published forward; kept for the way there and back."""
    return nn.ModuleList(
        nn.Sequential(nn.Linear(width + 3, 256), nn.ReLU(), nn.Linear(256, 128, bias=False)) for _ in range(face_layers)
    )


class IntraDenoiseMasks:
    """The router bound to a clip's grid. With `mask_layer` set, that face layer's mask serves all later ones."""

    def __init__(self, router: IntraDenoiseRouter, grid: TokenGrid):
        self.router, self.grid = router, grid
        self._places: dict[torch.device, Places] = {}
        self._kept: Routed | None = None

    def __call__(self, layer: int, q: Float[Tensor, "b heads s d"], k: Float[Tensor, "#b n heads k d"]) -> Routed:
        keep = self.router.config.mask_layer
        if keep is not None and layer > keep and self._kept is not None:
            return self._kept
        routed = self.router(layer, q, k, self.places(q.device))
        if layer == keep:
            self._kept = routed
        return routed

    def places(self, device: torch.device) -> Places:
        if device not in self._places:
            self._places[device] = self.router.positions.places(self.grid, self.router.pos_emb, device)
        return self._places[device]
