"""Who a face is: one vector per aligned face, near for the same person."""

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, normalize

from ..weights_folder import reading


@runtime_checkable
class Recogniser(Protocol):
    def __call__(self, crops: Float[Tensor, "faces 3 size size"]) -> Float[Tensor, "faces d"]: ...


class ArcFace:
    """InsightFace's recognition network (glintr100.onnx), vectors not normalised, as the release joins them."""

    def __init__(self, path: str | Path):
        from insightface.model_zoo import get_model

        with reading(Path(path)):
            self.network = get_model(str(path), providers=["CPUExecutionProvider"])
        if getattr(self.network, "taskname", None) != "recognition":
            raise ValueError(f"{path} is not a recognition network of InsightFace; use glintr100.onnx of antelopev2")

    def __call__(self, crops: Float[Tensor, "faces 3 size size"]) -> Float[Tensor, "faces d"]:
        bgr = rearrange(crops.flip(1).clamp(0, 1) * 255, "n c H W -> n H W c").round().to(torch.uint8).cpu().numpy()
        return torch.from_numpy(np.asarray(self.network.get_feat(list(bgr)), dtype=np.float32))


class SmallRecogniser(nn.Module):
    """A recognition network for `tiny()`: vectors of length sqrt(dim), so that an element is about 1.

    Untrained it tells the same photograph's faces apart, not people in general: crops of one picture match each other,
    two pictures of one person need not.
    """

    def __init__(self, dim: int, size: int = 64, widths: tuple[int, ...] = (16, 32, 64, 64)):
        super().__init__()
        self.size = size
        ends = zip((3, *widths), widths, strict=False)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False) for a, b in ends)
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for width in widths)
        self.out = nn.Linear(widths[-1] * (size // 2 ** len(widths)) ** 2, dim, bias=False)

    def forward(self, crops: Float[Tensor, "faces 3 size size"]) -> Float[Tensor, "faces d"]:
        x = interpolate(crops.to(self.out.weight), (self.size, self.size), mode="bilinear", antialias=True)
        deviation, mean = torch.std_mean(x, dim=(-3, -2, -1), keepdim=True)
        x = (x - mean) / (deviation + 1e-3)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = gelu(norm(convolution(x)))
        vectors = normalize(self.out(rearrange(x, "n c h w -> n (c h w)")), dim=-1)
        return vectors * vectors.shape[-1] ** 0.5
