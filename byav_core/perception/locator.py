"""Where each character is in a picture: by face recognition, or by boxes given by hand."""

import warnings

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from ..protocols import FaceFinder, FaceRecogniser
from ..types import Character
from .head_mask import HeadShape, head_masks

Box = tuple[float, float, float, float]


class FaceLocator:
    """Finds the faces of a picture and gives each character the one that looks most like the reference (§3.3.1 a).

    All characters are assigned together, so no face is given twice. A similarity (cosine) below `doubt` is said in a
    warning. A character in whose reference no face was found gets what is left, from left to right.
    """

    def __init__(self, find: FaceFinder, recognise: FaceRecogniser, shape: HeadShape | None = None, doubt: float = 0.2):
        self.find, self.recognise, self.shape, self.doubt = find, recognise, shape or HeadShape(), doubt

    def __call__(self, picture: Float[Tensor, "3 H W"], cast: tuple[Character, ...]) -> Float[Tensor, "n H W"]:
        """Raises ValueError naming the characters for whom no face is left."""
        return head_masks(self.boxes(picture, cast), *picture.shape[-2:], self.shape)

    def boxes(self, picture: Float[Tensor, "3 H W"], cast: tuple[Character, ...]) -> Float[Tensor, "n 4"]:
        boxes, landmarks, _ = self.find(picture)
        alike = likeness(cast, self.recognise(picture, landmarks), boxes)
        chosen = assign(alike)
        if absent := [person.name for person, face in zip(cast, chosen, strict=True) if face is None]:
            raise ValueError(
                f"faces in the picture: {len(boxes)}, characters in the cast: {len(cast)}; not found: "
                f"{', '.join(absent)}. Use a picture that shows everyone, give boxes or masks by hand, or use "
                "Intra-Denoise"
            )
        self.say_doubts(cast, alike, chosen)
        return boxes[chosen]

    def say_doubts(
        self, cast: tuple[Character, ...], alike: Float[Tensor, "n faces"], chosen: list[int | None]
    ) -> None:
        """Warns of characters whose face is a guess."""
        for row, (person, face) in enumerate(zip(cast, chosen, strict=True)):
            if face is None:
                continue
            if not person.features.found:
                warnings.warn(f"{person.name} has no face to compare and gets a face that is left over", stacklevel=4)
            elif alike[row, face] < self.doubt:
                warnings.warn(
                    f"no face looks like {person.name}; the most similar one is taken (similarity "
                    f"{float(alike[row, face]):.2f} of 1)",
                    stacklevel=4,
                )


class BoxLocator:
    """Boxes of faces given by hand: left, top, right, bottom in pixels of the picture, by the name of the character."""

    def __init__(self, boxes: dict[str, Box], shape: HeadShape | None = None):
        self.given, self.shape = boxes, shape or HeadShape()

    def __call__(self, picture: Float[Tensor, "3 H W"], cast: tuple[Character, ...]) -> Float[Tensor, "n H W"]:
        """Raises ValueError naming who has no box, whose box is of nobody, and which box is not in the picture."""
        names = [person.name for person in cast]
        if missing := [name for name in names if name not in self.given]:
            raise ValueError(f"no box is given for {', '.join(missing)}; give one for each of {', '.join(names)}")
        if unknown := sorted(self.given.keys() - set(names)):
            raise ValueError(f"boxes are given for {', '.join(unknown)}, but the cast is {', '.join(names)}")
        height, width = picture.shape[-2:]
        for name, (left, top, right, bottom) in self.given.items():
            if not (left < right and top < bottom and left < width and top < height and right > 0 and bottom > 0):
                raise ValueError(
                    f"the box of {name} is {(left, top, right, bottom)} but the picture is {width}x{height}; give "
                    "left, top, right, bottom in its pixels"
                )
        return head_masks(torch.tensor([self.given[name] for name in names]).float(), height, width, self.shape)


def likeness(
    cast: tuple[Character, ...], faces: Float[Tensor, "faces d"], boxes: Float[Tensor, "faces 4"]
) -> Float[Tensor, "n faces"]:
    """Cosine of recognition vectors; for characters without one, almost nothing, but falling from left to right."""
    known = torch.stack([person.features.identity[: faces.shape[-1]].float().cpu() for person in cast])
    alike = normalize(known, dim=-1) @ normalize(faces.float(), dim=-1).T
    rank = boxes[:, 0].argsort().argsort()
    for row, person in enumerate(cast):
        if not person.features.found:
            alike[row] = -0.001 * (rank - row).abs()
    return alike


def assign(score: Float[Tensor, "n faces"]) -> list[int | None]:
    """The face of each character so that the scores add up to the most; None where faces run out."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(score.numpy(), maximize=True)
    found = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    return [found.get(row) for row in range(len(score))]
