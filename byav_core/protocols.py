"""Every small interface on one page. Routers and the pipeline are handed these; they never import an adapter."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from .types import Audio, Character, FaceFeatures, Routed, Scene, TokenGrid


@runtime_checkable
class MaskSource(Protocol):
    """What the transformer asks at every face cross-attention: who owns each visual token?

    q: queries of the visual tokens, unscaled, the same for every character, so given once.
    k: keys of each character's face tokens, unscaled. Masks known beforehand ignore both.
    """

    def __call__(self, layer: int, q: Float[Tensor, "b heads s d"], k: Float[Tensor, "b n heads k d"]) -> Routed: ...


@runtime_checkable
class Router(Protocol):
    """A way to find the masks (§3.3.1). `plan` runs once before sampling and may fail with a sentence for the user."""

    def plan(self, scene: Scene) -> MaskSource: ...


@runtime_checkable
class FaceFinder(Protocol):
    """Finds faces in a picture: boxes as (left, top, right, bottom) in pixels, best first, with five landmarks
    (eye, eye, nose, mouth corner, mouth corner) as (x, y)."""

    def __call__(
        self, picture: Float[Tensor, "3 H W"]
    ) -> tuple[Float[Tensor, "faces 4"], Float[Tensor, "faces 5 2"], Float[Tensor, " faces"]]: ...


@runtime_checkable
class CharacterLocator(Protocol):
    """Says where each character of the cast is in a picture: one soft mask each, in the order of the cast."""

    def __call__(self, picture: Float[Tensor, "3 H W"], cast: tuple[Character, ...]) -> Float[Tensor, "n H W"]: ...


@runtime_checkable
class VideoSegmenter(Protocol):
    """Follows each character of the cast through a video: one soft mask each per frame, in the order of the cast."""

    def __call__(self, video: Float[Tensor, "f 3 H W"], cast: tuple[Character, ...]) -> Float[Tensor, "n f H W"]: ...


@runtime_checkable
class FaceEncoder(Protocol):
    """A reference picture to its features. `box` chooses a face; without it the largest one counts. `name` is what
    messages call the picture."""

    def __call__(
        self,
        picture: Float[Tensor, "3 H W"],
        box: tuple[float, float, float, float] | None = None,
        name: str = "the reference picture",
    ) -> FaceFeatures: ...


@runtime_checkable
class FaceRecogniser(Protocol):
    """Faces at given landmarks to vectors that are near for the same person. The identity of `FaceFeatures` begins
    with such a vector."""

    def __call__(
        self, picture: Float[Tensor, "3 H W"], landmarks: Float[Tensor, "faces 5 2"]
    ) -> Float[Tensor, "faces d"]: ...


@runtime_checkable
class SpeechEncoder(Protocol):
    """Sound to hidden states on a clock of `fps` rows per second."""

    def __call__(self, audio: Audio, fps: float) -> Float[Tensor, "f layers d"]: ...


@runtime_checkable
class TextEncoder(Protocol):
    def __call__(self, prompt: str) -> Float[Tensor, "1 l d"]: ...


@runtime_checkable
class VideoAutoencoder(Protocol):
    """Pixels 0..1 to scaled latents and back. `encode` draws from the posterior with the generator given."""

    def encode(self, video: Float[Tensor, "b f 3 H W"], generator=None) -> Float[Tensor, "b t c H2 W2"]: ...

    def decode(self, latents: Float[Tensor, "b t c H2 W2"]) -> Float[Tensor, "b f 3 H W"]: ...


@runtime_checkable
class VoiceFaceScorer(Protocol):
    """How well each of m voices fits each of n faces in one window of sound; higher is better (§3.3.3)."""

    def __call__(self, voices: tuple[Audio, ...], cast: tuple[Character, ...]) -> Float[Tensor, "m n"]: ...


@runtime_checkable
class MaskRefiner(Protocol):
    """Cleans a predicted mask up over space and time (§3.3.1 c, refinement)."""

    def __call__(self, mask: Float[Tensor, "b n s"], grid: TokenGrid) -> Float[Tensor, "b n s"]: ...
