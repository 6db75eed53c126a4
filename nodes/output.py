"""Make Video, Routing Masks, Routing Film."""

from comfy_api.latest import io

from . import sockets
from .sockets import schema


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
    def execute(cls, **inputs):
        raise NotImplementedError("being built")


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
    def execute(cls, **inputs):
        raise NotImplementedError("being built")


class RoutingFilm(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            "BYAV_RoutingFilm",
            "masks",
            display_name="Routing Film",
            description="Lays each character's mask over the frames in its colour, with the names beside.",
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
    def execute(cls, **inputs):
        raise NotImplementedError("being built")
