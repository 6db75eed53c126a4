"""Where each character is in every frame of a video: face tracks, which need no weights, or SAM 2."""

import warnings
from pathlib import Path

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from ..protocols import CharacterLocator, VideoSegmenter
from ..types import Character
from ..weights_folder import reading, refuse_gaps
from .head_mask import head_masks, share
from .locator import FaceLocator
from .tracks import fill_gaps, sightings

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def columns(video: Float[Tensor, "f 3 H W"], cast: tuple[Character, ...]) -> Float[Tensor, "n f H W"]:
    """Equal columns from left to right in the order of the cast: a segmenter that looks at nothing."""
    frames, _, height, width = video.shape
    owner = (torch.arange(width) * len(cast)) // width
    masks = (owner == torch.arange(len(cast))[:, None]).float()
    return repeat(masks, "n W -> n f H W", f=frames, H=height)


class FaceTracks:
    """A stand-in for video segmentation: faces found in each frame, linked over time, grown to head and shoulders.

    `locator` lends its eyes: face finder, recognition and the shape of a head. Frames in which someone is not seen are
    filled in between their neighbours. When there are fewer tracks than characters, `fallback` answers for all, with
    a warning; None makes that an error.
    """

    def __init__(self, locator: FaceLocator, fallback: VideoSegmenter | None = columns):
        self.locator, self.fallback = locator, fallback

    def __call__(self, video: Float[Tensor, "f 3 H W"], cast: tuple[Character, ...]) -> Float[Tensor, "n f H W"]:
        """Raises ValueError naming who is in no frame."""
        seen = sightings(video, cast, self.locator)
        if absent := unseen(seen, cast):
            sentence = f"no face like {', '.join(absent)} in any of the {len(video)} frames"
            if self.fallback is None:
                raise ValueError(f"{sentence}; use other routing, or masks given by hand")
            warnings.warn(
                f"{sentence}, so the picture is divided from left to right in the order of the cast", stacklevel=2
            )
            return self.fallback(video, cast)
        boxes = fill_gaps(seen)
        frames = [head_masks(boxes[:, f], *video.shape[-2:], self.locator.shape) for f in range(len(video))]
        return torch.stack(frames, dim=1)


class Sam2Segmenter:
    """SAM 2 through transformers, told whom to follow by boxes of head and shoulders in the frame that shows most.

    The folder has transformers' layout, as of facebook/sam2.1-hiera-large. Masks are probabilities; where people
    overlap they share. `module` is transformers' Sam2VideoModel.
    """

    def __init__(self, folder: str | Path, locator: CharacterLocator, device: str | torch.device = "cpu"):
        """Raises FileNotFoundError naming what is missing, ValueError for damaged weights, and for a locator that
        finds no faces."""
        from transformers import Sam2VideoModel

        if not isinstance(locator, FaceLocator):
            raise ValueError(
                "SAM 2 is told whom to follow by faces that are found, which the tiny face encoder does without; leave "
                "SAM 2 out, or take another face encoder"
            )
        path = Path(folder)
        if not (path / "config.json").is_file():
            raise FileNotFoundError(
                f"no SAM 2 weights in {path} (config.json and model.safetensors were looked for); download the files "
                "of facebook/sam2.1-hiera-large into that folder, or use face tracks"
            )
        with reading(path):
            module, report = Sam2VideoModel.from_pretrained(path, local_files_only=True, output_loading_info=True)
        refuse_gaps(path, report)
        self.locator, self.module = locator, module.to(device).eval().requires_grad_(False)

    def __call__(self, video: Float[Tensor, "f 3 H W"], cast: tuple[Character, ...]) -> Float[Tensor, "n f H W"]:
        """Raises ValueError naming who is in no frame."""
        seen = sightings(video, cast, self.locator)
        if absent := unseen(seen, cast):
            raise ValueError(
                f"no face like {', '.join(absent)} in any of the {len(video)} frames, so SAM 2 cannot be told whom to "
                "follow; use other routing, or masks given by hand"
            )
        start = int((~seen.isnan().any(-1)).sum(0).argmax())
        boxes = self.locator.shape.grow(fill_gaps(seen)[:, start])
        logits = self._follow(video, boxes, start)
        masks = interpolate(logits, size=video.shape[-2:], mode="bilinear", align_corners=False).sigmoid()
        return share(rearrange(masks, "f n H W -> n f H W"))

    @torch.inference_mode()
    def _follow(
        self, video: Float[Tensor, "f 3 H W"], boxes: Float[Tensor, "n 4"], start: int
    ) -> Float[Tensor, "f n h w"]:
        """Mask logits of every frame, forwards and backwards from the frame with the boxes."""
        session = self._session(video, boxes, start)
        found = {start: self.module(session, frame_idx=start).pred_masks}
        for reverse in (False, True):
            steps = self.module.propagate_in_video_iterator(session, start_frame_idx=start, reverse=reverse)
            found |= {step.frame_idx: step.pred_masks for step in steps}
        return torch.stack([found[f][:, 0].float().cpu() for f in range(len(video))]).clone()

    def _session(self, video: Float[Tensor, "f 3 H W"], boxes: Float[Tensor, "n 4"], start: int):
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        height, width = video.shape[-2:]
        side = self.module.config.image_size
        mean, deviation = (torch.tensor(x)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_DEVIATION))
        frames = interpolate(video.float().cpu(), (side, side), mode="bilinear", antialias=True)
        session = Sam2VideoInferenceSession(
            video=(frames - mean) / deviation,
            video_height=height,
            video_width=width,
            inference_device=self.module.device,
            inference_state_device=self.module.device,
            dtype=self.module.dtype,
        )
        corners = rearrange(boxes, "n (corner xy) -> n 1 1 corner xy", xy=2).clamp(min=0)
        corners = torch.minimum(corners, torch.tensor([width, height])) * side / torch.tensor([width, height])
        for person, points in enumerate(corners):
            box = {"point_coords": points, "point_labels": torch.tensor([[[2, 3]]], dtype=torch.int32)}
            session.add_point_inputs(session.obj_id_to_idx(person), start, box)
        session.obj_with_new_inputs = list(range(len(boxes)))
        return session


def unseen(seen: Float[Tensor, "n f 4"], cast: tuple[Character, ...]) -> list[str]:
    return [person.name for person, boxes in zip(cast, seen, strict=True) if boxes.isnan().any(-1).all()]
