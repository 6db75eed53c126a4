"""The trainable parts as one module, and the bundle that Load Model hands on."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from .config import ModelConfig
from .encoders.untrained import seeded_weights
from .model.face_extractor import FaceExtractor
from .model.speech_projector import SpeechProjector
from .model.transformer import BindYourAvatarTransformer
from .protocols import TextEncoder, VideoAutoencoder
from .routing.intra_denoise import IntraDenoiseRouter
from .types import Character


class Network(nn.Module):
    """The four trained parts of Figure 2: the MM-DiT, the face Q-Former, the speech projector and the router."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.transformer = BindYourAvatarTransformer(**asdict(config.transformer))
        self.face_extractor = FaceExtractor(config.face_extractor)
        self.speech_projector = SpeechProjector(config.speech_projector)
        self.router = IntraDenoiseRouter(config.router, config.transformer.face_layers)

    @classmethod
    def on_meta(cls, config: ModelConfig) -> "Network":
        """Every parameter with its shape and no memory; for loading by assignment and for looking at shapes."""
        with torch.device("meta"):
            return cls(config)

    @classmethod
    def seeded(cls, config: ModelConfig, seed: int = 0, dtype: torch.dtype = torch.float32) -> "Network":
        """Untrained weights that follow from the seed; the global random state and default dtype stay untouched."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with seeded_weights(seed):
                return cls(config).to(dtype)  # diffusers makes the position table in float64
        finally:
            torch.set_default_dtype(before)

    def encode_characters(self, cast: Sequence[Character]) -> Float[Tensor, "1 n k d"]:
        """Face features to e_c, in the order of the cast."""
        identity = torch.stack([character.features.identity for character in cast])
        depths = zip(*(character.features.hidden for character in cast), strict=True)
        return rearrange(self.face_extractor(identity, [torch.stack(maps) for maps in depths]), "n k d -> 1 n k d")


@dataclass(frozen=True)
class Models:
    """What Load Model hands on: the network and the two frozen models whose files lie beside it."""

    config: ModelConfig
    network: Network
    text: TextEncoder
    video: VideoAutoencoder
