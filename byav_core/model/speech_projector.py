"""The speech projector (§3.2): windows of speech hidden states -> e_a, at the frame rate of the latents.

Runs once per stream and generation. Parameter names are those of the released weights; at full size the down-sampling
alone holds 1.2 billion numbers, one more reason not to keep it beside the sampling loop.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from ..config import SpeechProjectorConfig


def windows(
    hidden: Float[Tensor, "f layers d"], first: int, frames: int, window: int = 5
) -> Float[Tensor, "frames window layers d"]:
    """For each of `frames` video frames the `window` rows around it; rows before the beginning or past the end are 0.

    first: the row that belongs to video frame 0. Below zero the stream starts that many frames into the video.
    """
    start = first - window // 2
    stop = start + frames + window - 1
    rows = hidden[max(start, 0) : max(stop, 0)]
    before = min(max(-start, 0), stop - start)
    rows = pad(rows, (0, 0, 0, 0, before, stop - start - before - len(rows)))
    return rearrange(rows.unfold(0, window, 1), "frames layers d window -> frames window layers d")


class SpeechProjector(nn.Module):
    """Each window to `tokens` tokens, then time halved `halvings` times as the video autoencoder does.

    mute_learnable_tokens and learnable_scale are part of the released weights; nothing reads them.
    """

    def __init__(self, config: SpeechProjectorConfig):
        super().__init__()
        width = config.tokens * config.output_dim
        self.config = config
        self.proj1 = nn.Linear(config.window * config.layers * config.channels, config.hidden_dim)
        self.proj2 = nn.Linear(config.hidden_dim, config.hidden_dim)
        self.proj3 = nn.Linear(config.hidden_dim, width)
        self.conv1 = nn.Conv1d(width, width, kernel_size=2, stride=2)
        self.norm = nn.LayerNorm(config.output_dim)
        self.mute_learnable_tokens = nn.Parameter(torch.zeros(1, *config.mute_shape))
        self.learnable_scale = nn.Parameter(torch.zeros(1))

    def forward(self, windows: Float[Tensor, "b f w layers d"]) -> Float[Tensor, "b t k d_speech"]:
        x = relu(self.proj1(rearrange(windows, "b f w layers d -> b f (w layers d)")))
        x = self.proj3(relu(self.proj2(x)))
        for _ in range(self.config.halvings):
            x = self._halve(x)
        return self.norm(rearrange(x, "b t (k d) -> b t k d", k=self.config.tokens))

    def _halve(self, x: Float[Tensor, "b f d"]) -> Float[Tensor, "b f2 d"]:
        """Half the frame rate; of an odd number of frames the first stays as it is."""
        if x.shape[1] == 1:
            return x
        odd = x.shape[1] % 2
        pairs = self.conv1(x[:, odd:].transpose(1, 2)).transpose(1, 2)
        return torch.cat([x[:, :odd], pairs], dim=1)
