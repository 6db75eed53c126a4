"""The rough preview: colours come back from latents that hold them, whatever the number of channels."""

import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from byav_core.sampling.preview import fit_preview


class Averages(nn.Module):
    """An autoencoder whose latents are a linear mixture of the mean colours of 8 x 8 pixels."""

    def __init__(self, channels: int):
        super().__init__()
        self.mixture = torch.randn(3, channels, generator=torch.Generator().manual_seed(1))

    def encode(self, video, generator=None):
        return torch.einsum("tchw,cd->tdhw", avg_pool2d(video[0], 8) - 0.4, self.mixture)[None]

    def decode(self, latents):
        raise NotImplementedError


def test_a_linear_autoencoder_is_previewed_exactly():
    autoencoder, video = Averages(5), torch.rand(1, 3, 3, 32, 48)
    shown = fit_preview(autoencoder)(autoencoder.encode(video))
    torch.testing.assert_close(shown, avg_pool2d(video[0], 8), atol=1e-4, rtol=0)


def test_a_preview_has_a_pixel_per_latent_and_stays_within_colours():
    shown = fit_preview(Averages(7))(10 * torch.randn(1, 4, 7, 5, 6))
    assert shown.shape == (4, 3, 5, 6)
    assert 0 <= shown.min() and shown.max() <= 1
