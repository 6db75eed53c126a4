"""A reference picture to face features: recognition vector, CLIP embedding and CLIP feature maps (§3.2)."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from ..config import FaceEncoderConfig
from ..perception.face_finder import CenterFaceFinder, InsightFaceFinder
from ..perception.locator import FaceLocator
from ..perception.portraits import PortraitLocator
from ..perception.segmenter import FaceTracks
from ..protocols import FaceFinder, VideoSegmenter
from ..types import FaceFeatures
from .aligned_face import AlignedFace, align, whole_picture
from .eva_clip import EvaTower, load_eva_tower
from .matte import EllipseMatte, FaceParsing, everything
from .recognition import ArcFace, Recogniser, SmallRecogniser
from .untrained import seeded_weights, weights_in_the_box

Box = tuple[float, float, float, float]
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
LUMA = (0.299, 0.587, 0.114)
SMALLEST = 16  # pixels


@dataclass
class InsightClipFace:
    """Face finding, alignment, recognition and CLIP, in the order of the release.

    The recognition vector sees the aligned crop as it is; CLIP sees it in grey (or as `config.seen_in` says), the
    background white. A picture without a face is looked at whole, with a warning; where `find` is None, every picture
    is a portrait, looked at whole. `trained` says which weights are inside.
    """

    config: FaceEncoderConfig
    find: FaceFinder | None
    recogniser: Recogniser
    tower: EvaTower
    matte: Callable[[AlignedFace], Tensor]
    trained: str

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The torch parts."""
        return tuple(part for part in (self.tower, self.recogniser, self.matte) if isinstance(part, nn.Module))

    def __call__(
        self, picture: Float[Tensor, "3 H W"], box: Box | None = None, name: str = "the reference picture"
    ) -> FaceFeatures:
        """`box` (left, top, right, bottom in pixels) chooses the face; without it the largest one counts.

        Raises ValueError for a picture that is too small or not finite, and for a box outside of it.
        """
        _check(picture, box, name)
        if self.find is None:
            return self._whole(picture, box, found=True)
        landmarks = self._landmarks(picture, box)
        if landmarks is not None:
            face = align(picture, landmarks)
            return self._features(face, self.matte(face), found=True)
        where = name if box is None else f"the box {tuple(round(x) for x in box)} of {name}"
        warnings.warn(
            f"no face was found in {where}, so all of it is used as the reference; a larger or more frontal face is "
            "better" + (", or a box around it" if box is None else ""),
            stacklevel=2,
        )
        return self._whole(picture, box, found=False)

    @torch.no_grad()
    def recognise(
        self, picture: Float[Tensor, "3 H W"], landmarks: Float[Tensor, "faces 5 2"]
    ) -> Float[Tensor, "faces d"]:
        """One recognition vector per face; `FaceFeatures.identity` begins with such a one."""
        if not len(landmarks):
            return torch.zeros(0, self.config.recognition_dim)
        return self.recogniser(torch.stack([align(picture, points).crop for points in landmarks])).float().cpu()

    def locator(self) -> FaceLocator | PortraitLocator:
        """Finds the people of a cast in a picture, as this encoder knows them."""
        return PortraitLocator() if self.find is None else FaceLocator(self.find, self.recognise)

    def segmenter(self) -> VideoSegmenter:
        """Follows them through a video, without weights of its own."""
        locator = self.locator()
        return FaceTracks(locator) if isinstance(locator, FaceLocator) else locator

    def _whole(self, picture: Float[Tensor, "3 H W"], box: Box | None, found: bool) -> FaceFeatures:
        face = whole_picture(picture if box is None else _cut(picture, box))
        return self._features(face, everything(face), found)

    def _landmarks(self, picture: Float[Tensor, "3 H W"], box: Box | None) -> Float[Tensor, "5 2"] | None:
        boxes, landmarks, _ = self.find(picture)
        sizes = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(-1)
        if box is None:
            return landmarks[int(sizes.argmax())] if len(boxes) else None
        shared = _shared(boxes, box)
        mostly = shared > 0.5 * sizes
        if mostly.any():
            return landmarks[int((shared * mostly).argmax())]
        _, inside, _ = self.find(_cut(picture, box))
        return inside[0] + torch.tensor(_whole(box)[:2]) if len(inside) else None

    @torch.no_grad()
    def _features(self, face: AlignedFace, matte: Float[Tensor, "size size"], found: bool) -> FaceFeatures:
        white = face.on_white(matte)
        weight = next(self.tower.parameters())
        embedding, hidden = self.tower(clip_input(white, self.config)[None].to(weight))
        recognition = self.recogniser(face.crop[None])[0].float().cpu()
        identity = torch.cat([recognition, normalize(embedding[0].float().cpu(), dim=0)])
        return FaceFeatures(identity, tuple(x[0].float().cpu() for x in hidden), white, found)


def clip_input(crop: Float[Tensor, "3 H W"], config: FaceEncoderConfig) -> Float[Tensor, "3 size size"]:
    """Bicubic to CLIP's size, with CLIP's mean and deviation."""
    size = (config.image_size, config.image_size)
    small = interpolate(SEEN_IN[config.seen_in](crop)[None], size, mode="bicubic", antialias=True)[0]
    return (small - torch.tensor(CLIP_MEAN)[:, None, None]) / torch.tensor(CLIP_DEVIATION)[:, None, None]


def grey(crop: Float[Tensor, "3 H W"]) -> Float[Tensor, "3 H W"]:
    return (crop * torch.tensor(LUMA)[:, None, None]).sum(0).expand(3, -1, -1)


SEEN_IN: dict[str, Callable[[Tensor], Tensor]] = {"grey": grey, "colour": lambda crop: crop}


def load_face_encoder(
    name_or_folder: str | Path, config: FaceEncoderConfig, *, device: str | torch.device = "cpu"
) -> InsightClipFace:
    """ "tiny": the small networks in the box, untrained where none fits; what they know are portraits of the drawn
    world, looked at whole. Else a folder with the release's files, or with a `tiny_face.safetensors`.

    The folder (or face_encoder/ in it) holds EVA02_CLIP_L_336_psz14_s6B.pt and, there or in models/antelopev2/,
    glintr100.onnx; with scrfd_10g_bnkps.onnx that detector is used, else CenterFace; with parsing_bisenet.pth and
    the package facexlib the background is removed by face parsing, else by an ellipse.
    Raises FileNotFoundError naming the file and the folders searched, ValueError for weights that do not fit.
    """
    folder = None if name_or_folder == "tiny" else Path(name_or_folder)
    small = folder is None or (folder / "tiny_face.safetensors").is_file()
    encoder = _small(config, folder) if small else _released(folder, config)
    for module in encoder.modules:
        module.eval().requires_grad_(False).to(device)
    return encoder


def _small(config: FaceEncoderConfig, box: Path | None) -> InsightClipFace:
    if config.recognition != "small":
        raise ValueError(
            f'the "tiny" face encoder has no {config.recognition} network; it belongs to the tiny model, for another '
            "model name the folder with its face encoder"
        )
    networks, trained = untrained_networks(config), "untrained"
    if found := weights_in_the_box("tiny_face", config, box):
        state, trained = found
        networks.load_state_dict(state)
    recogniser, tower = networks["recogniser"], networks["tower"]
    return InsightClipFace(config, None, recogniser, tower, everything, trained)


def untrained_networks(config: FaceEncoderConfig, seed: int = 0) -> nn.ModuleDict:
    """What is trained of the small face encoder: `recogniser` and `tower`."""
    with seeded_weights(seed):
        return nn.ModuleDict({"tower": EvaTower(config), "recogniser": SmallRecogniser(config.recognition_dim)})


def _released(folder: Path, config: FaceEncoderConfig) -> InsightClipFace:
    if config.recognition != "insightface":
        raise ValueError(
            f"{folder} holds a full-size face encoder but this model was made with a {config.recognition} one; choose "
            '"tiny"'
        )
    files = FaceEncoderFiles(folder)
    recognition = files.need("glintr100.onnx", "InsightFace's antelopev2 pack")
    tower = files.need("EVA02_CLIP_L_336_psz14_s6B", "the hub repository QuanSun/EVA-CLIP", (".pt", ".safetensors"))
    detector = files.look("scrfd_10g_bnkps.onnx")
    return InsightClipFace(
        config,
        InsightFaceFinder(detector) if detector else CenterFaceFinder(),
        ArcFace(recognition),
        load_eva_tower(tower, config),
        _matte(files),
        folder.name,
    )


def _matte(files: "FaceEncoderFiles") -> Callable[[AlignedFace], Tensor]:
    parser = files.look("parsing_bisenet.pth")
    if parser and FaceParsing.available():
        return FaceParsing(parser)
    missing = "the package facexlib is not installed" if parser else "parsing_bisenet.pth is not beside the weights"
    warnings.warn(
        f"{missing}, so the background of reference faces is removed by an ellipse and not by face parsing as in the "
        "release",
        stacklevel=4,
    )
    return EllipseMatte()


class FaceEncoderFiles:
    """The places below a folder in which the release keeps the files of its face encoder."""

    def __init__(self, folder: Path):
        bases = (folder, folder / "face_encoder")
        self.places = [base / inner for base in bases for inner in ("", "models/antelopev2", "antelopev2")]

    def look(self, name: str) -> Path | None:
        return next((place / name for place in self.places if (place / name).is_file()), None)

    def need(self, name: str, source: str, endings: tuple[str, ...] = ("",)) -> Path:
        for ending in endings:
            if path := self.look(name + ending):
                return path
        searched = ", ".join(str(place) for place in self.places if place.is_dir())
        raise FileNotFoundError(
            f"the face encoder needs {name}{endings[0]}, which is not in "
            f"{searched or f'{self.places[0]} (there is no such folder)'}; get it from {source} and put it there, or "
            'choose "tiny"'
        )


def _check(picture: Float[Tensor, "3 H W"], box: Box | None, name: str) -> None:
    height, width = picture.shape[-2:]
    if min(height, width) < SMALLEST:
        raise ValueError(f"{name} is {width}x{height} pixels; use one of at least {SMALLEST}x{SMALLEST}")
    if not torch.isfinite(picture).all():
        raise ValueError(f"{name} has pixels that are NaN or infinite; load it again or use another one")
    if box is not None and (min(box[2], width) - max(box[0], 0) < 1 or min(box[3], height) - max(box[1], 0) < 1):
        raise ValueError(
            f"the box {tuple(box)} lies outside of {name} ({width}x{height}); give left, top, right, bottom in pixels"
        )


def _cut(picture: Float[Tensor, "3 H W"], box: Box) -> Float[Tensor, "3 h w"]:
    left, top, right, bottom = _whole(box)
    return picture[:, top : max(bottom, top + 1), left : max(right, left + 1)]


def _whole(box: Box) -> tuple[int, int, int, int]:
    """The box in whole pixels, none of them below zero."""
    left, top, right, bottom = (max(0, int(x)) for x in box)
    return left, top, right, bottom


def _shared(boxes: Float[Tensor, "faces 4"], box: Box) -> Float[Tensor, " faces"]:
    """Area that each of `boxes` has in common with `box`."""
    other = torch.tensor(box, dtype=boxes.dtype)
    corners = torch.minimum(boxes[:, 2:], other[2:]) - torch.maximum(boxes[:, :2], other[:2])
    return corners.clamp(min=0).prod(-1)
