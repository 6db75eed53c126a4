"""A face brought upright to a square of fixed layout (§3.2)."""

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

SIZE = 512
# where eyes, nose and mouth corners (x, y) go in the square: the FFHQ layout that the released pipeline uses
LAYOUT = ((192.98, 239.95), (318.90, 240.19), (256.63, 314.02), (201.26, 371.41), (313.09, 371.15))
OUTSIDE = (0.5216, 0.5216, 0.5294)  # grey beyond the picture's edge


@dataclass(frozen=True)
class AlignedFace:
    """crop: the square, RGB 0..1. inside: where it shows the picture and not what lies beyond its edge."""

    crop: Float[Tensor, "3 size size"]
    inside: Float[Tensor, "size size"]

    def on_white(self, matte: Float[Tensor, "size size"]) -> Float[Tensor, "3 size size"]:
        kept = matte * self.inside
        return self.crop * kept + (1 - kept)


def align(picture: Float[Tensor, "3 H W"], landmarks: Float[Tensor, "5 2"]) -> AlignedFace:
    """Turns, scales and shifts the face (never shears it) so that its landmarks meet the layout."""
    import cv2

    points = landmarks.detach().cpu().numpy().astype(np.float32)
    move, _ = cv2.estimateAffinePartial2D(points, np.array(LAYOUT, np.float32), method=cv2.LMEDS)
    if move is None:
        raise ValueError(f"the five landmarks {points.round(1).tolist()} do not form a face; choose another picture")
    image = rearrange(picture.detach().cpu().float(), "c H W -> H W c").numpy()
    crop = cv2.warpAffine(image, move, (SIZE, SIZE), borderMode=cv2.BORDER_CONSTANT, borderValue=OUTSIDE)
    inside = cv2.warpAffine(np.ones(image.shape[:2], np.float32), move, (SIZE, SIZE)) > 0.999
    return AlignedFace(rearrange(torch.from_numpy(crop), "H W c -> c H W"), torch.from_numpy(inside).float())


def whole_picture(picture: Float[Tensor, "3 H W"]) -> AlignedFace:
    """The picture itself, fitted into the square: what is left to look at when no face was found."""
    height, width = picture.shape[-2:]
    scale = SIZE / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    fitted = interpolate(picture.detach().cpu().float()[None], size=size, mode="bilinear", antialias=True)[0]
    top, left = (SIZE - size[0]) // 2, (SIZE - size[1]) // 2
    crop, inside = torch.ones(3, SIZE, SIZE), torch.zeros(SIZE, SIZE)
    crop[:, top : top + size[0], left : left + size[1]] = fitted.clamp(0, 1)
    inside[top : top + size[0], left : left + size[1]] = 1
    return AlignedFace(crop, inside)
