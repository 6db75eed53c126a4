"""From router features to masks: who owns a token, out of n characters and perhaps nobody."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..types import Routed


class SoftmaxHead(nn.Module):
    """n+1 classes, one of them the background (Appendix A). Its logit is read from the mean over characters, so the
    same weights serve any n and the order of the cast does not matter."""

    def __init__(self, width: int):
        super().__init__()
        self.background = nn.Linear(width, 1)

    def forward(self, features: Float[Tensor, "b s n width"], scores: Float[Tensor, "b n s"]) -> Routed:
        nobody = self.background(features.mean(dim=2)).mT
        logits = torch.cat([scores, nobody], dim=1)
        return Routed(logits.softmax(dim=1)[:, :-1], logits)


class SigmoidHead(nn.Module):
    """An independent yes or no per character, no background class (the released code)."""

    def __init__(self, width: int):
        super().__init__()

    def forward(self, features: Float[Tensor, "b s n width"], scores: Float[Tensor, "b n s"]) -> Routed:
        return Routed(scores.sigmoid(), scores)


HEADS = {"softmax": SoftmaxHead, "sigmoid": SigmoidHead}
