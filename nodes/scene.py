"""Prompt, and Scene: size, frames and the optional first frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from comfy_api.latest import io, ui

from . import convert, runtime, sockets
from .sockets import schema

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from .sockets import LoadedModel

FITS = ["crop", "pad"]


class Prompt(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            "BYAV_Prompt",
            "scene",
            display_name="Prompt",
            description="Encodes what the video shows. With conditioning connected (ComfyUI's own CLIP Text Encode "
            "with a CogVideoX text encoder) the texts here are not used.",
            inputs=[
                sockets.Model.Input("model", display_name="model", tooltip="From Load Bind-Your-Avatar Model."),
                io.String.Input(
                    "prompt",
                    display_name="prompt",
                    default="Two people sit at a table and talk to each other.",
                    multiline=True,
                    tooltip="What happens in the scene: who is where, what they do, the surroundings, the light. The "
                    "tiny model knows few words, as in: left black in green, right blond in blue, turning, park.",
                ),
                io.String.Input(
                    "negative",
                    display_name="negative prompt",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="What the video should not look like. Empty is what the model was trained with.",
                ),
                io.Conditioning.Input(
                    "positive_conditioning",
                    display_name="positive conditioning",
                    optional=True,
                    tooltip="In place of the prompt: conditioning of a CogVideoX text encoder.",
                ),
                io.Conditioning.Input(
                    "negative_conditioning",
                    display_name="negative conditioning",
                    optional=True,
                    tooltip="In place of the negative prompt: conditioning of a CogVideoX text encoder.",
                ),
            ],
            outputs=[sockets.PromptLink.Output("prompt_out", display_name="prompt", tooltip="For Router and Sampler.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model, prompt, negative="", positive_conditioning=None, negative_conditioning=None):
        from ..byav_core.pipeline import Prompt as TextPrompt

        texts = (prompt, positive_conditioning), (negative, negative_conditioning)
        with runtime.listening(cls.hidden.unique_id) as notes:
            encoded = TextPrompt(*(tokens_of(model, *text) for text in texts))
        return io.NodeOutput(encoded, ui=ui.PreviewText("\n".join(notes)) if notes else None)


class Scene(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            "BYAV_Scene",
            "scene",
            display_name="Scene",
            description="The extent of the video and, if you have one, the picture it starts from.",
            inputs=[
                sockets.Model.Input("model", display_name="model", tooltip="From Load Bind-Your-Avatar Model."),
                io.Int.Input(
                    "width",
                    display_name="width",
                    default=720,
                    min=16,
                    max=4096,
                    step=16,
                    tooltip="Pixels, a multiple of 16. The released model was trained at 720 x 480; 96 suits the tiny "
                    "model.",
                ),
                io.Int.Input(
                    "height",
                    display_name="height",
                    default=480,
                    min=16,
                    max=4096,
                    step=16,
                    tooltip="Pixels, a multiple of 16. The released model was trained at 720 x 480; 64 suits the tiny "
                    "model.",
                ),
                io.Int.Input(
                    "frames",
                    display_name="frames",
                    default=49,
                    min=1,
                    max=4097,
                    step=4,
                    tooltip="Number of frames, 4k+1 (1, 5, 9, ... 49). Trained with: the released model 49 at 25 per "
                    "second, 1.96 seconds; the tiny model 25 at 12.5 per second, 2 seconds.",
                ),
                io.Image.Input(
                    "first_frame",
                    display_name="first frame",
                    optional=True,
                    tooltip="The picture the video starts from, with the people in it. Without it the model makes the "
                    "scene up from the prompt and the faces.",
                ),
                io.Combo.Input(
                    "fit",
                    display_name="fit first frame",
                    options=FITS,
                    default="crop",
                    optional=True,
                    tooltip="How a first frame of another shape becomes the video's: crop fills the picture and cuts "
                    "off the sides, pad keeps all of it and adds borders. The aspect ratio is always kept.",
                ),
            ],
            outputs=[
                sockets.SceneLink.Output("scene_out", display_name="scene", tooltip="For Router and Sampler."),
                io.Image.Output(
                    "first_frame_out",
                    display_name="first frame",
                    tooltip="The first frame as the model gets it; black when there is none.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, width=None, height=None, frames=None, fit=None):
        for side, pixels in (("width", width), ("height", height)):
            if pixels is not None and (pixels % 16 or not 16 <= pixels <= 4096):
                near = min(4096, max(16, round(pixels / 16) * 16))
                return f"the {side} is {pixels}; it must be a multiple of 16 from 16 to 4096: use {near}"
        if frames is not None and ((frames - 1) % 4 or not 1 <= frames <= 4097):
            near = min(4097, max(1, round((frames - 1) / 4) * 4 + 1))
            return f"the number of frames is {frames}; it must be 4k+1 (1, 5, 9, ... 49): use {near}"
        return True if fit in (None, *FITS) else f"a first frame cannot be fitted by {fit!r}; choose one of {FITS}"

    @classmethod
    def execute(cls, model, width, height, frames, first_frame=None, fit="crop"):
        from ..byav_core.pipeline import prepare_scene

        picture = None if first_frame is None else convert.picture(first_frame, "first frame")
        scene = prepare_scene(model.models.config, width, height, frames, picture, fit)
        shown = torch.zeros(3, height, width) if scene.inpainting_frame is None else scene.inpainting_frame
        return io.NodeOutput(
            scene, convert.to_image(shown[None]), ui=ui.PreviewText(scene.note) if scene.note else None
        )


def tokens_of(model: LoadedModel, text: str, conditioning: list | None) -> Float[Tensor, "1 l d"]:
    """The model's own text encoder, or conditioning that another node made."""
    config = model.models.config
    if conditioning is not None:
        return convert.text_tokens(conditioning, config.transformer.max_text_seq_length, config.text.d_model)
    runtime.bring([model.patchers["text"]] if "text" in model.patchers else [])
    return model.models.text(text)
