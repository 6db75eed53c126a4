"""No binding: every character owns every token alike. The control to compare the routers with."""

from jaxtyping import Float
from torch import Tensor

from ..protocols import MaskSource
from ..types import Routed, Scene


class UniformRouter:
    """Each of n characters gets 1/n of every token: the faces are averaged and every voice reaches every token.

    Ones instead would add n faces up, and the inflated audio mask (1 - the largest of the others) would silence all.
    """

    def plan(self, scene: Scene) -> MaskSource:
        return uniform_masks


def uniform_masks(layer: int, q: Float[Tensor, "b heads s d"], k: Float[Tensor, "#b n heads k d"]) -> Routed:
    n = k.shape[1]
    return Routed(q.new_full((len(q), n, q.shape[2]), 1 / max(n, 1)))
