"""Where a token is, told to the Intra-Denoise Router in one of two ways (Appendix A; the released table)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Complex, Float
from torch import Tensor

from ..config import RouterConfig
from ..types import TokenGrid

THETA = 10000.0


@dataclass(frozen=True)
class Rotation:
    """Turns the channel pairs of queries and keys: neighbouring channels are the parts of a complex number."""

    phases: Complex[Tensor, "tokens pairs"]

    def __call__(self, x: Float[Tensor, "b heads tokens d"]) -> Float[Tensor, "b heads tokens d"]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        turned = torch.view_as_complex(rearrange(wide, "... (pair two) -> ... pair two", two=2)) * self.phases
        return rearrange(torch.view_as_real(turned), "... pair two -> ... (pair two)").to(x)


def unturned(x: Float[Tensor, "b heads tokens d"]) -> Float[Tensor, "b heads tokens d"]:
    return x


@dataclass(frozen=True)
class Places:
    """A position code on one grid: a table added to the tokens, and turns of queries and keys inside a frame and
    over time. Of a 3D rotation only the axes attended over count, since the phases of the others cancel in q k^T."""

    grid: TokenGrid
    added: Float[Tensor, "t p width"] | None
    within_frame: Callable[[Tensor], Tensor]
    over_time: Callable[[Tensor], Tensor]


class Rotary:
    """3D rotary position code on queries and keys (Appendix A). Of the channel pairs of a head a quarter tells the
    time, the rest is shared by row and column, as in CogVideoX."""

    def __init__(self, config: RouterConfig):
        pairs, odd = divmod(config.heads * config.face_tokens // config.attention_heads, 2)
        if odd or pairs < 3:
            raise ValueError(
                f"3D rotary positions need an even head width of at least 6, but {config.heads} heads x "
                f"{config.face_tokens} face tokens over {config.attention_heads} attention heads give {2 * pairs + odd}"
            )
        time = max(1, pairs // 4)
        self.pairs = (time, (pairs - time + 1) // 2, (pairs - time) // 2)

    def table(self) -> None:
        """Nothing to keep in a checkpoint."""

    def places(self, grid: TokenGrid, table: Tensor | None, device: torch.device) -> Places:
        t, h, w = (
            torch.outer(torch.arange(extent, device=device), THETA ** (-torch.arange(n, device=device) / n))
            for extent, n in zip((grid.t, grid.h, grid.w), self.pairs, strict=True)
        )
        rows, columns = repeat(h, "h c -> (h w) c", w=grid.w), repeat(w, "w c -> (h w) c", h=grid.h)
        still, at_origin = t.new_zeros(len(rows), self.pairs[0]), t.new_zeros(grid.t, sum(self.pairs[1:]))
        return Places(
            grid,
            added=None,
            within_frame=_rotation(torch.cat([still, rows, columns], dim=-1)),
            over_time=_rotation(torch.cat([t, at_origin], dim=-1)),
        )


def _rotation(angles: Float[Tensor, "tokens pairs"]) -> Rotation:
    return Rotation(torch.polar(torch.ones_like(angles), angles))


class AddedTable:
    """The released code: sines and cosines of time, row and column, added to the features.

    Quirk: the table is labelled (t, w, h) and laid flat over tokens that are ordered (t, h, w), so token p of a frame
    gets the code of column p // h and row p % h. The published weights were trained that way.
    """

    def __init__(self, config: RouterConfig):
        self.grid, self.width = TokenGrid(*config.table_extent), config.heads * config.face_tokens

    def table(self) -> Float[Tensor, "t w h d"]:
        return released_table(self.grid, self.width)

    def places(self, grid: TokenGrid, table: Tensor, device: torch.device) -> Places:
        if tuple(table.shape[:3]) != (grid.t, grid.w, grid.h):
            table = released_table(grid, self.width).to(table.dtype)
        return Places(grid, rearrange(table.to(device), "t w h d -> t (w h) d"), unturned, unturned)


def released_table(grid: TokenGrid, width: int) -> Float[Tensor, "t w h width"]:
    """What the released code builds for a grid: a third of the channels for each axis, zeros in what is left."""
    table, channels = torch.zeros(grid.t, grid.w, grid.h, width), 2 * (width // 6)
    frequencies = THETA ** (torch.arange(0, channels, 2) / channels)
    for axis, extent in enumerate(table.shape[:3]):
        angles = torch.arange(extent)[:, None] / frequencies
        code = rearrange([angles.sin(), angles.cos()], "two extent c -> extent (c two)")
        shape = [1, 1, 1, channels]
        shape[axis] = extent
        table[..., axis * channels : (axis + 1) * channels] = code.reshape(shape)
    return table


POSITIONS = {"rotary": Rotary, "table": AddedTable}
