"""§3.3.1 (a): faces found in the inpainting frame, held still over time."""

from einops import rearrange

from ..protocols import CharacterLocator, MaskRefiner, MaskSource
from ..types import Scene
from .fixed import masks_on_grid
from .rasterize import Rasterizer, soft


class PreDenoiseRouter:
    def __init__(self, locator: CharacterLocator, rasterize: Rasterizer = soft, refiner: MaskRefiner | None = None):
        self.locator, self.rasterize, self.refiner = locator, rasterize, refiner

    def plan(self, scene: Scene) -> MaskSource:
        if scene.inpainting_frame is None:
            raise ValueError(
                "Pre-Denoise routing reads faces from the inpainting frame; connect one, or use Intra-Denoise"
            )
        still = self.locator(scene.inpainting_frame, scene.cast)
        return masks_on_grid(rearrange(still, "n H W -> n 1 H W"), scene, self.rasterize, self.refiner)
