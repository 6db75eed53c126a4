"""People of the drawn world found by their portraits: each is laid over the picture until it fits.

Finders made for photographs see no face in drawings. Nothing here is learned: a portrait fits where the colours under
its head are the same, whatever hides a part of it (a hat, another person), since no pixel counts for more than
`MOST`. Pictures are made coarse first, which is quicker and forgives the pose.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad, unfold

from ..types import Character
from .head_mask import HeadShape, head_masks

IN_PORTRAIT = 0.32  # half the height of a head, as a share of the side of a portrait
SIZES = (0.165, 0.19, 0.212, 0.25)  # of heads that are looked for: the same as a share of the height of the picture
OVAL = (0.85, 1.1, 1.0)  # of a head and its hair: to the sides, up and down from the middle of the face, in such halves
FINENESS = 5  # coarse pixels in half the height of a head
MOST = 0.06  # squared difference of colours from which on a pixel is just different
IN_PICTURE = 0.7  # share of a head that the picture must hold
APART = 0.6  # of half the height of a head: nobody is so near to another
PERSON = HeadShape(width=1.5, above=0.15, below=1.2, softness=0.2)


class PortraitLocator:
    """A character locator and a video segmenter for drawn pictures, by what the face encoder looked at.

    All heads of a video are taken to be of one size, upright and about frontal, as the drawn world has them.
    """

    def __init__(self, shape: HeadShape = PERSON):
        self.shape = shape

    def __call__(self, video: Float[Tensor, "*f 3 H W"], cast: tuple[Character, ...]) -> Float[Tensor, "n *f H W"]:
        """Raises ValueError for a picture that is too small to hold everybody apart."""
        if video.ndim == 3:
            return self(video[None], cast)[:, 0]
        boxes = self.boxes(video, cast)
        frames = [head_masks(boxes[:, f], *video.shape[-2:], self.shape) for f in range(len(video))]
        return torch.stack(frames, dim=1)

    def boxes(self, video: Float[Tensor, "f 3 H W"], cast: tuple[Character, ...]) -> Float[Tensor, "n f 4"]:
        """Of faces, at the size of heads that fits best over all frames."""
        portraits = torch.stack([person.features.crop for person in cast]).float().cpu()
        tried = [_found(video.float().cpu(), portraits, share * video.shape[-2]) for share in SIZES]
        best = min(tried, key=lambda found: found.misfit)
        if best.misfit == float("inf"):
            height, width = video.shape[-2:]
            raise ValueError(
                f"{len(cast)} heads have no room beside each other in a picture of {width}x{height}; use a wider one"
            )
        x, y = best.places.unbind(-1)
        half = torch.tensor([OVAL[0], 1.0]) * best.head
        return torch.stack([x - half[0], y - half[1], x + half[0], y + half[1]], dim=-1)


@dataclass(frozen=True)
class Found:
    """The middle of each face in each frame (x, y, in pixels), for heads of one size, and how badly they all fit."""

    places: Float[Tensor, "n f 2"]
    misfit: float
    head: float


def _found(video: Float[Tensor, "f 3 H W"], portraits: Float[Tensor, "n 3 size size"], head: float) -> Found:
    coarse = max(1, round(head / FINENESS))
    chosen, misfits = zip(
        *(_apart(misfit(frame, portraits, head, coarse), APART * head / coarse) for frame in video), strict=True
    )
    return Found((torch.stack(chosen, dim=1) + 0.5) * coarse, sum(misfits), head)


def misfit(
    frame: Float[Tensor, "3 H W"], portraits: Float[Tensor, "n 3 size size"], head: float, coarse: int
) -> Float[Tensor, "n h w"]:
    """How badly each portrait, or its mirror image, fits with the middle of the face on each coarse pixel; infinite
    where too much of the head would be outside of the picture."""
    seen = avg_pool2d(frame[None], coarse)
    side = 2 * round(head / IN_PORTRAIT / coarse / 2) + 1
    oval = _oval(side, head / coarse)
    heads = interpolate(portraits, (side, side), mode="bilinear", antialias=True)
    under = rearrange(_around(seen, side), "(c k) s -> c k s", c=3)[:, oval]
    inside = _around(torch.ones_like(seen[:, :1]), side)[oval].mean(dim=0)
    fits = [
        torch.minimum(*(_difference(under, face.flatten(1)[:, oval]) for face in (one, one.flip(-1)))) for one in heads
    ]
    fits = torch.stack(fits).where(inside >= IN_PICTURE, torch.inf)
    return rearrange(fits, "n (h w) -> n h w", h=seen.shape[-2])


def _difference(under: Float[Tensor, "3 k s"], head: Float[Tensor, "3 k"]) -> Float[Tensor, " s"]:
    return (under - head[..., None]).square().sum(dim=0).clamp(max=MOST).mean(dim=0)


def _around(picture: Float[Tensor, "1 c h w"], side: int) -> Float[Tensor, "ck s"]:
    """The square around every pixel, black beyond the edge."""
    return unfold(pad(picture, (side // 2,) * 4), side)[0]


def _oval(side: int, head: float) -> Bool[Tensor, " k"]:
    at = (torch.arange(side) - side // 2) / head
    across, up, down = OVAL
    along = torch.where(at < 0, at / up, at / down)
    return ((at[None, :] / across) ** 2 + along[:, None] ** 2 <= 1).flatten()


def _apart(misfit: Float[Tensor, "n h w"], apart: float) -> tuple[Float[Tensor, "n 2"], float]:
    """A place (x, y) for everybody, who fits best first, and nobody where somebody is already; the sum of misfits."""
    left, places, total = misfit.clone(), torch.zeros(len(misfit), 2), 0.0
    y, x = torch.meshgrid(torch.arange(misfit.shape[1]), torch.arange(misfit.shape[2]), indexing="ij")
    for _ in misfit:
        best = int(left.argmin())
        who, place = divmod(best, x.numel())
        places[who] = torch.tensor([float(x.flatten()[place]), float(y.flatten()[place])])
        total += float(left.flatten()[best])
        taken = (x - places[who, 0]) ** 2 + (y - places[who, 1]) ** 2 < apart**2
        left[:, taken] = torch.inf
        left[who] = torch.inf
    return places, total
