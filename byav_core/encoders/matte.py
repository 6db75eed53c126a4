"""What of an aligned face is face: by BiSeNet's parsing as in the release, or by a plain ellipse."""

import importlib.util
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..weights_folder import reading
from .aligned_face import SIZE, AlignedFace

BACKGROUND = (0, 7, 8, 9, 14, 15, 16, 18)  # parsing labels: background, ears, earring, neck, necklace, clothes, hat
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


class FaceParsing(nn.Module):
    """BiSeNet face parsing through the optional package facexlib, weights from a file the user named."""

    def __init__(self, path: str | Path):
        super().__init__()
        from facexlib.parsing.bisenet import BiSeNet

        self.network = BiSeNet(num_class=19)
        with reading(Path(path)):
            self.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))

    @staticmethod
    def available() -> bool:
        return importlib.util.find_spec("facexlib") is not None

    @torch.no_grad()
    def forward(self, face: AlignedFace) -> Float[Tensor, "size size"]:
        weight = next(self.parameters())
        mean, deviation = (torch.tensor(x)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_DEVIATION))
        labels = self.network(((face.crop - mean) / deviation)[None].to(weight))[0].argmax(1)[0]
        return (~torch.isin(labels, torch.tensor(BACKGROUND, device=labels.device))).float().cpu()


class EllipseMatte:
    """Keeps an upright ellipse from the hair to below the chin: stands in where face parsing is not installed.

    It keeps some background beside a narrow face and cuts long hair; ears and neck go, as they do in the release.
    """

    def __call__(self, face: AlignedFace) -> Float[Tensor, "size size"]:
        y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
        radius = (((x + 0.5 - 256) / 175) ** 2 + ((y + 0.5 - 245) / 225) ** 2).sqrt()
        return ((1 - radius) / 0.06 + 0.5).clamp(0, 1)


def everything(face: AlignedFace) -> Float[Tensor, "size size"]:
    """Keeps all of the square: for pictures in which no face was found."""
    return torch.ones(SIZE, SIZE)
