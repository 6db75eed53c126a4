"""Make Video, Routing Masks, Routing Film."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from comfy_api.latest import InputImpl, Types, io, ui

from ..byav_core.overlay import overlay
from ..byav_core.types import Clip, silence
from . import convert, pictures, sockets
from .sockets import schema

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from ..byav_core.types import SpeechStream
    from .sockets import LoadedModel, NamedMasks


class MakeVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            "BYAV_MakeVideo",
            "output",
            display_name="Make Video",
            description="Joins frames and speech, in step, at the model's frame rate. Save Video writes the file.",
            inputs=[
                io.Image.Input("frames", display_name="frames", tooltip="From Decode."),
                sockets.Model.Input(
                    "model", display_name="model", tooltip="Gives the frame rate and says whether it is trained."
                ),
                sockets.Streams.Input(
                    "streams",
                    display_name="streams",
                    optional=True,
                    tooltip="The voices to be heard, from Speech. Without them the video is silent.",
                ),
            ],
            outputs=[
                io.Video.Output("video_out", display_name="video", tooltip="For Save Video."),
                io.Audio.Output("audio_out", display_name="audio", tooltip="The mixed voices, as long as the video."),
            ],
        )

    @classmethod
    def execute(cls, frames, model, streams=None):
        frames = convert.to_image(convert.pictures(frames, "frames"))
        sound = mixed(frames, model, streams)
        video = to_video(frames, model, sound)
        silent = sound or convert.to_audio(silence(len(frames) / model.models.config.fps, 16000))
        return io.NodeOutput(video, silent, ui=ui.PreviewText(label(model)))


class RoutingMasks(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            "BYAV_RoutingMasks",
            "masks",
            display_name="Routing Masks",
            description="Takes the mask of one character out of a routing, by name.",
            inputs=[
                sockets.Masks.Input("routing", display_name="routing", tooltip="From Router or Sampler."),
                io.String.Input(
                    "character",
                    display_name="character",
                    default="1",
                    tooltip="The character's name, or its number in the cast, counted from 1.",
                ),
            ],
            outputs=[
                io.Mask.Output("mask_out", display_name="mask", tooltip="The character's mask, one picture per frame."),
                io.Mask.Output(
                    "others_out",
                    display_name="all others",
                    tooltip="Where any of the other characters is, one picture per frame.",
                ),
                io.Mask.Output("background_out", display_name="background", tooltip="Where nobody is."),
            ],
        )

    @classmethod
    def validate_inputs(cls, character=None):
        return (
            character is None or bool(character.strip()) or "the character is empty; write a name, or a number from 1"
        )

    @classmethod
    def execute(cls, routing, character):
        chosen = name_of(routing, character)
        mask = routing.masks[chosen]
        others = [other for name, other in routing.masks.items() if name != chosen]
        anybody = torch.stack([*others, torch.zeros_like(mask)]).amax(dim=0)
        return io.NodeOutput(mask, anybody, 1 - torch.maximum(mask, anybody), ui=ui.PreviewMask(mask[:1], cls=cls))


class RoutingFilm(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            "BYAV_RoutingFilm",
            "masks",
            display_name="Routing Film",
            description="Lays each character's mask over the frames in its colour, with the names. Small "
            "videos are shown larger, so that the names can be read.",
            inputs=[
                io.Image.Input("frames", display_name="frames", tooltip="From Decode."),
                sockets.Masks.Input("routing", display_name="routing", tooltip="From Router or Sampler."),
                sockets.Model.Input(
                    "model", display_name="model", tooltip="Gives the frame rate and says whether it is trained."
                ),
                sockets.Streams.Input(
                    "streams", display_name="streams", optional=True, tooltip="The voices to be heard, from Speech."
                ),
                sockets.advanced(
                    io.Float.Input(
                        "opacity",
                        display_name="opacity",
                        default=0.5,
                        min=0.0,
                        max=1.0,
                        step=0.05,
                        optional=True,
                        tooltip="How strongly the colours cover the frames.",
                    )
                ),
            ],
            outputs=[
                io.Image.Output("frames_out", display_name="frames", tooltip="The frames with masks and names."),
                io.Video.Output("video_out", display_name="video", tooltip="For Save Video."),
            ],
        )

    @classmethod
    def execute(cls, frames, routing, model, streams=None, opacity=0.5):
        shown = pictures.large_enough(convert.pictures(frames, "frames"))
        masks, names = torch.stack([fitted(mask, shown) for mask in routing.masks.values()]), tuple(routing.masks)
        film = pictures.captioned(overlay(shown, masks, names, opacity), names, label(model))
        images = convert.to_image(film)
        return io.NodeOutput(images, to_video(images, model, mixed(frames, model, streams)))


class LabelledVideo(InputImpl.VideoFromComponents):
    """A video whose file says in its metadata what made it."""

    def __init__(self, components: Any, comment: str):
        super().__init__(components)
        self.comment = comment

    def save_to(self, path, *args, metadata: dict | None = None, **kwargs):
        return super().save_to(path, *args, metadata={**(metadata or {}), "comment": self.comment}, **kwargs)


def label(model: LoadedModel) -> str:
    return f"Bind-Your-Avatar, {model.models.config.name} model ({model.trained})"


def to_video(images: Tensor, model: LoadedModel, sound: dict | None) -> LabelledVideo:
    height, width = images.shape[1:3]
    if height % 2 or width % 2:
        raise ValueError(f"the frames are {width} x {height}; a video file needs even sides: crop or scale them first")
    rate = Fraction(model.models.config.fps).limit_denominator(1001)
    return LabelledVideo(Types.VideoComponents(images=images, audio=sound, frame_rate=rate), label(model))


def mixed(images: Tensor, model: LoadedModel, streams: tuple[SpeechStream, ...] | None) -> dict | None:
    """All voices together for as long as the frames last; None without voices."""
    from ..byav_core.pipeline import mix

    if not streams:
        return None
    frames, height, width = images.shape[:3]
    return convert.to_audio(mix(streams, Clip(frames, height, width, model.models.config.fps)))


def name_of(routing: NamedMasks, character: str) -> str:
    """A character's name from its name or number. Raises ValueError listing who there is."""
    names, wanted = list(routing.masks), character.strip()
    if wanted in names:
        return wanted
    if wanted.isdecimal() and 1 <= int(wanted) <= len(names):
        return names[int(wanted) - 1]
    raise ValueError(
        f"there is no character {wanted!r} here; there are {', '.join(names)}, or numbers 1 to {len(names)}"
    )


def fitted(mask: Float[Tensor, "g H W"], frames: Float[Tensor, "f 3 H2 W2"]) -> Float[Tensor, "f H2 W2"]:
    """A mask at the extent of the frames. Raises ValueError when it has another number of frames, unless one."""
    if len(mask) not in (1, len(frames)):
        raise ValueError(f"the masks have {len(mask)} frames and the video {len(frames)}; take both from the same run")
    sized = torch.nn.functional.interpolate(mask[:, None], tuple(frames.shape[-2:]), mode="bilinear")[:, 0]
    return sized.expand(len(frames), -1, -1)
