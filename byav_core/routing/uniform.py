"""No binding: every character owns every token alike. The control to compare the routers with."""

from jaxtyping import Float
from torch import Tensor

from ..protocols import MaskSource
from ..types import Routed, Scene


class UniformRouter:
    """Each of n characters gets 1/n of every token, so that the faces are averaged and each voice reaches everywhere.
    Ones would add n faces up, and the inflated audio mask (1 - the others') would silence everybody."""

    def plan(self, scene: Scene) -> MaskSource:
        return uniform_masks


def uniform_masks(layer: int, q: Float[Tensor, "b heads s d"], k: Float[Tensor, "#b n heads k d"]) -> Routed:
    b, n, s = q.shape[0], k.shape[1], q.shape[2]
    return Routed(q.new_full((1, 1, 1), 1 / n).expand(b, n, s))
