"""What is measured, as data: every claim about binding is a row or two of this table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .masks import MADE_BY_HAND
from .scenes import SCENES

Matrix = Float[Tensor, "m n"]

MATRICES: Mapping[str, Callable[[Matrix, int], Matrix]] = {  # of the scene's own matrix and its number
    "own": lambda matrix, number: matrix,
    "swapped": lambda matrix, number: matrix.roll(1, dims=1),
    "one muted": lambda matrix, number: matrix * (torch.arange(matrix.shape[1]) != number % matrix.shape[1]),
    "one voice for all": lambda matrix, number: (
        (torch.arange(len(matrix)) == number % len(matrix))[:, None] * torch.ones_like(matrix)
    ),
}
FILMED = ("drawn", "autoencoder", "sampled", "noised")
FIRST_FRAMES = ("none", "hidden", "clear")
REFINEMENTS = ("none", "label spreading", "no background")


@dataclass(frozen=True)
class Condition:
    """about: what it shows, in a few words. scenes: a kind of SCENES. model: the name of another weights file for the
    same architecture, or main.

    filmed: the true video as drawn, through the video autoencoder and back, sampled from noise, or noised: the router
    alone, looking at the true video under the noise of every step. router: as routing names it; masks: for the fixed
    one, how they are made of the true masks. first_frame: none, with noise over the people as in training, or clear.
    against: another condition, which differs by the matrix only; what that changes is read from films of one seed.
    """

    about: str
    scenes: str = "everyday"
    filmed: str = "sampled"
    router: str = "intra"
    masks: str = "fine"
    refinement: str = "none"
    first_frame: str = "hidden"
    matrix: str = "own"
    model: str = "main"
    against: str = ""

    def __post_init__(self):
        """Raises ValueError naming what is not there to choose."""
        known = {
            "scenes": SCENES,
            "filmed": FILMED,
            "masks": MADE_BY_HAND,
            "refinement": REFINEMENTS,
            "first_frame": FIRST_FRAMES,
            "matrix": MATRICES,
        }
        for name, choices in known.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} {getattr(self, name)!r} is unknown; choose one of {', '.join(choices)}")


CONDITIONS: Mapping[str, Condition] = {
    "true video": Condition("ceiling of the read-outs", filmed="drawn"),
    "autoencoder": Condition("ceiling of the video autoencoder", filmed="autoencoder"),
    "intra": Condition("Intra-Denoise router"),
    "intra, swapped": Condition("the matrix swapped", matrix="swapped", against="intra"),
    "intra, one muted": Condition("a column of the matrix zero", matrix="one muted", against="intra"),
    "intra, one voice": Condition("one voice for all", matrix="one voice for all"),
    "intra, refined": Condition("masks refined", refinement="label spreading"),
    "intra, no first frame": Condition("prompt, faces and voices only", first_frame="none"),
    "intra, clear first frame": Condition("no noise over the people of the first frame", first_frame="clear"),
    "intra, noised": Condition("the router on the true video under noise", filmed="noised"),
    "true masks": Condition("fine 3D masks given by hand", router="fixed"),
    "true masks, no first frame": Condition("fine 3D masks, no first frame", router="fixed", first_frame="none"),
    "true masks, swapped": Condition(
        "fine 3D masks, the matrix swapped", router="fixed", matrix="swapped", against="true masks"
    ),
    "pre": Condition("Pre-Denoise: people found in the first frame, held still", router="pre"),
    "post": Condition("Post-Denoise: people found in a coarse first pass", router="post"),
    "union": Condition("masks united over time, as the released code does", router="fixed", masks="union"),
    "uniform": Condition("no binding", router="uniform"),
    "close, fine": Condition("people close: fine masks", "close", router="fixed"),
    "close, boxes": Condition("people close: bounding boxes", "close", router="fixed", masks="boxes"),
    "close, intra": Condition("people close: Intra-Denoise", "close"),
    "moving, fine": Condition("people crossing and walking: 3D masks", "moving", router="fixed"),
    "moving, static": Condition("the same: 2D masks of the first frame", "moving", router="fixed", masks="first frame"),
    "moving, union": Condition("the same: masks united over time", "moving", router="fixed", masks="union"),
    "moving, intra": Condition("the same: Intra-Denoise", "moving"),
    "standing, static": Condition("people standing: 2D masks", "standing", router="fixed", masks="first frame"),
    "standing, intra": Condition("people standing: Intra-Denoise", "standing"),
    "three": Condition("three people", "three"),
    "three, true masks": Condition("three people, fine masks", "three", router="fixed"),
    "four": Condition("four people", "four"),
    "four, true masks": Condition("four people, fine masks", "four", router="fixed"),
    "three, true video": Condition("three people, ceiling", "three", filmed="drawn"),
    "four, true video": Condition("four people, ceiling", "four", filmed="drawn"),
    "with eq. 3 and 4": Condition("the router trained on alone, with both", model="eq. 3 and 4"),
    "without eq. 3 and 4": Condition("as long without them", model="no eq. 3 and 4"),
    "n classes": Condition("what the background's class has goes to the characters", refinement="no background"),
}
