"""A reference picture to face features: recognition vector and CLIP feature maps (§3.2)."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..config import FaceEncoderConfig
from ..protocols import FaceFinder
from ..types import FaceFeatures


class InsightClipFace:
    """`find` is its face finder, `recognise` its recognition network, `modules` the torch parts."""

    find: FaceFinder
    modules: tuple[nn.Module, ...]

    def __call__(
        self, picture: Float[Tensor, "3 H W"], box: tuple[float, float, float, float] | None = None
    ) -> FaceFeatures:
        raise NotImplementedError

    def recognise(
        self, picture: Float[Tensor, "3 H W"], landmarks: Float[Tensor, "faces 5 2"]
    ) -> Float[Tensor, "faces d"]:
        """One recognition vector per face; the beginning of `FaceFeatures.identity` is made the same way."""
        raise NotImplementedError


def load_face_encoder(
    name_or_folder: str | Path, config: FaceEncoderConfig, *, device: str | torch.device = "cpu"
) -> InsightClipFace:
    """ "tiny" (no files, untrained) or the folder with the released face encoder's files."""
    raise NotImplementedError
