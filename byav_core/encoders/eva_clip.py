"""The vision tower of EVA02-CLIP-L-14-336: a picture to one CLIP embedding and the feature maps on the way (§3.2).

Written here because the packages that carry it need torchvision or timm. Parameter names are those of the official
file. Pre-norm blocks with 2D rotary positions, a norm inside the attention (sub-LN) and a gated feed-forward (SwiGLU).
"""

from pathlib import Path

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention, silu

from ..config import FaceEncoderConfig
from ..weights_folder import reading


class EvaTower(nn.Module):
    """`forward` returns the embedding (not normalised) and the tokens before each of the blocks in `config.taps`."""

    def __init__(self, config: FaceEncoderConfig):
        super().__init__()
        self.config = config
        side = config.image_size // config.patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, side * side + 1, config.width))
        self.patch_embed = nn.ModuleDict(
            {"proj": nn.Conv2d(3, config.width, config.patch_size, stride=config.patch_size)}
        )
        self.blocks = nn.ModuleList(EvaBlock(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        self.head = nn.Linear(config.width, config.embed_dim)
        self.register_buffer("turn", _rotary_table(config), persistent=False)
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.pos_embed, std=0.02)

    def forward(
        self, picture: Float[Tensor, "b 3 H W"]
    ) -> tuple[Float[Tensor, "b embed"], tuple[Float[Tensor, "b p d"], ...]]:
        """`picture` is `image_size` square, normalised with CLIP's mean and deviation."""
        patches = rearrange(self.patch_embed["proj"](picture), "b d h w -> b (h w) d")
        x = torch.cat([self.cls_token.expand(len(picture), -1, -1), patches], dim=1) + self.pos_embed
        seen = []
        for index, block in enumerate(self.blocks):
            if index in self.config.taps:
                seen.append(x)
            x = block(x, self.turn)
        return self.head(self.norm(x)[:, 0]), tuple(seen)


class EvaBlock(nn.Module):
    def __init__(self, config: FaceEncoderConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
        self.attn = EvaAttention(config.width, config.heads)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.mlp = GatedFeedForward(config.width, int(config.width * config.mlp_ratio))

    def forward(self, x: Float[Tensor, "b p d"], turn: Float[Tensor, "2 patches c"]) -> Float[Tensor, "b p d"]:
        x = x + self.attn(self.norm1(x), turn)
        return x + self.mlp(self.norm2(x))


class EvaAttention(nn.Module):
    """Queries and values have biases, keys have none; the class token is not turned."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.inner_attn_ln = nn.LayerNorm(width, eps=1e-6)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "b p d"], turn: Float[Tensor, "2 patches c"]) -> Float[Tensor, "b p d"]:
        q = linear(x, self.q_proj.weight, self.q_bias)
        v = linear(x, self.v_proj.weight, self.v_bias)
        q, k, v = (rearrange(y, "b p (h c) -> b h p c", h=self.heads) for y in (q, self.k_proj(x), v))
        out = scaled_dot_product_attention(_turn(q, turn), _turn(k, turn), v)
        return self.proj(self.inner_attn_ln(rearrange(out, "b h p c -> b p (h c)")))


class GatedFeedForward(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.w1, self.w2 = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.ffn_ln = nn.LayerNorm(hidden, eps=1e-6)
        self.w3 = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "b p d"]) -> Float[Tensor, "b p d"]:
        return self.w3(self.ffn_ln(silu(self.w1(x)) * self.w2(x)))


def rotary_angles(side: int, channels: int, grid: int) -> Float[Tensor, "patches channels"]:
    """2D rotary angles of a `side` x `side` raster whose positions are scaled to the `grid` of the pre-training.

    The first half of the channels turns with the row, the second with the column; neighbours share an angle.
    """
    speeds = 10000.0 ** -(torch.arange(0, channels // 2, 2) / (channels // 2))
    angles = repeat(torch.arange(side)[:, None] / side * grid * speeds, "x c -> x (c two)", two=2)
    rows = repeat(angles, "y c -> y x c", x=side)
    columns = repeat(angles, "x c -> y x c", y=side)
    return rearrange(torch.cat([rows, columns], dim=-1), "y x c -> (y x) c")


def _rotary_table(config: FaceEncoderConfig) -> Float[Tensor, "2 patches channels"]:
    angles = rotary_angles(config.image_size // config.patch_size, config.width // config.heads, config.rope_grid)
    return torch.stack([angles.cos(), angles.sin()])


def _turn(x: Float[Tensor, "b h p c"], turn: Float[Tensor, "2 patches c"]) -> Float[Tensor, "b h p c"]:
    token, patches = x[:, :, :1], x[:, :, 1:]
    cos, sin = turn.to(x.dtype)
    first, second = rearrange(patches, "b h p (c two) -> two b h p c", two=2)
    quarter = rearrange([-second, first], "two b h p c -> b h p (c two)")
    return torch.cat([token, patches * cos + quarter * sin], dim=2)


def load_eva_tower(path: str | Path, config: FaceEncoderConfig) -> EvaTower:
    """The tower from the official file (whole CLIP as .pt, tower under `visual.`) or from safetensors, in float32.

    Raises ValueError listing the weights that are missing, foreign or of another shape.
    """
    path = Path(path)
    with reading(path):
        weights = _tower_weights(_read(path))
    with torch.device("meta"):
        tower = EvaTower(config)
    tower.turn = _rotary_table(config)
    expected = {key: tuple(value.shape) for key, value in tower.state_dict().items()}
    if misfits := _misfits(expected, weights):
        raise ValueError(f"{path} is not the EVA02-CLIP tower this model needs: " + "; ".join(misfits))
    tower.load_state_dict({key: value.float() for key, value in weights.items()}, assign=True)
    return tower


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _tower_weights(file: dict) -> dict[str, Tensor]:
    """The tower's own weights by their names inside it; rotary tables follow from the configuration."""
    for wrapper in ("state_dict", "module", "model"):
        if isinstance(file.get(wrapper), dict):
            file = file[wrapper]
    inside = {key.removeprefix("visual."): value for key, value in file.items() if key.startswith("visual.")} or file
    return {key: value for key, value in inside.items() if ".rope." not in f".{key}"}


def _misfits(expected: dict[str, tuple[int, ...]], weights: dict[str, Tensor]) -> list[str]:
    found = {key: tuple(value.shape) for key, value in weights.items()}
    lines = [f"{key} is missing" for key in sorted(expected.keys() - found.keys())]
    lines += [f"{key} is unknown" for key in sorted(found.keys() - expected.keys())]
    lines += [
        f"{key} is {found[key]}, expected {expected[key]}"
        for key in sorted(expected.keys() & found.keys())
        if found[key] != expected[key]
    ]
    return lines[:8] + ([f"and {len(lines) - 8} more"] if len(lines) > 8 else [])
