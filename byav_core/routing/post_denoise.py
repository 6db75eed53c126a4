"""§3.3.1 (b): characters segmented in a coarse first pass that saw neither faces nor speech."""

from ..protocols import MaskRefiner, MaskSource, VideoSegmenter
from ..types import Scene
from .fixed import masks_on_grid
from .rasterize import Rasterizer, soft


class PostDenoiseRouter:
    def __init__(self, segmenter: VideoSegmenter, rasterize: Rasterizer = soft, refiner: MaskRefiner | None = None):
        self.segmenter, self.rasterize, self.refiner = segmenter, rasterize, refiner

    def plan(self, scene: Scene) -> MaskSource:
        if scene.coarse_video is None:
            raise ValueError("Post-Denoise routing segments a first pass, but the scene brings no way to make one")
        return masks_on_grid(self.segmenter(scene.coarse_video(), scene.cast), scene, self.rasterize, self.refiner)
