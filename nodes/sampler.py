"""Sampler and Decode."""

from comfy_api.latest import io

from . import sockets
from .sockets import schema


class Sampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            "BYAV_Sampler",
            "sampling",
            display_name="Bind-Your-Avatar Sampler",
            description="Makes the video's latents: people, voices, prompt and routing together. Decode turns them "
            "into frames; they stay cached between the two nodes, and Save Latent keeps them on disk.",
            inputs=[
                sockets.Model.Input("model", display_name="model", tooltip="From Load Bind-Your-Avatar Model."),
                sockets.SceneLink.Input("scene", display_name="scene", tooltip="From Scene."),
                sockets.PromptLink.Input("prompt", display_name="prompt", tooltip="From Prompt."),
                sockets.Cast.Input("cast", display_name="cast", tooltip="From Character."),
                sockets.Streams.Input("streams", display_name="streams", tooltip="From Speech."),
                sockets.RouterLink.Input("router", display_name="router", tooltip="From Router."),
                io.Int.Input(
                    "seed",
                    display_name="seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The noise it starts from. The same seed and inputs give the same video.",
                ),
                io.Int.Input(
                    "steps",
                    display_name="steps",
                    default=50,
                    min=1,
                    max=1000,
                    tooltip="Denoising steps. The released model uses 50; 8 suit the tiny model.",
                ),
                io.Combo.Input(
                    "scheduler",
                    display_name="scheduler",
                    options=["dpm", "ddim"],
                    default="dpm",
                    tooltip="CogVideoX's noise schedule solved by DPM (the released model's) or DDIM.",
                ),
                io.Combo.Input(
                    "guidance",
                    display_name="guidance",
                    options=["joint", "separate"],
                    default="joint",
                    tooltip="joint: text and speech pull together, two passes per step. separate: a scale of its own "
                    "for each, three passes per step.",
                ),
                io.Float.Input(
                    "guidance_scale",
                    display_name="guidance scale",
                    default=6.0,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    tooltip="How strongly prompt and speech pull (joint), or the prompt alone (separate).",
                ),
                io.Float.Input(
                    "audio_scale",
                    display_name="audio scale",
                    default=4.0,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    optional=True,
                    tooltip="For separate guidance: how strongly the speech pulls.",
                ),
                sockets.Matrix.Input(
                    "matrix",
                    display_name="matrix",
                    optional=True,
                    tooltip="Which voice belongs to whom, from Audio-Character Matrix. Without it: one to one.",
                ),
                sockets.advanced(
                    io.Float.Input(
                        "audio_start",
                        display_name="audio guidance start",
                        default=0.0,
                        min=0.0,
                        max=1.0,
                        step=0.01,
                        optional=True,
                        tooltip="From which part of the steps on the speech is guided; 0 is the first step.",
                    )
                ),
                sockets.advanced(
                    io.Float.Input(
                        "audio_end",
                        display_name="audio guidance end",
                        default=1.0,
                        min=0.0,
                        max=1.0,
                        step=0.01,
                        optional=True,
                        tooltip="Up to which part of the steps the speech is guided; 1 is the last step.",
                    )
                ),
                sockets.advanced(
                    io.String.Input(
                        "strength",
                        display_name="speech strength",
                        default="",
                        multiline=True,
                        optional=True,
                        placeholder="Anna: 1.0\nBen: 0.6",
                        tooltip="How strongly speech moves each character: one line per name, for example Ben: 0.6. "
                        "Who is not named has 1.",
                    )
                ),
                sockets.advanced(
                    io.Int.Input(
                        "stop_at_step",
                        display_name="stop at step",
                        default=0,
                        min=0,
                        max=1000,
                        optional=True,
                        tooltip="Stops early, for a quick look at the masks. 0 runs all steps.",
                    )
                ),
                sockets.advanced(
                    io.Combo.Input(
                        "preview",
                        display_name="preview",
                        options=["overlay", "off"],
                        default="overlay",
                        optional=True,
                        tooltip="While sampling, shows a rough frame with each character's mask in its colour.",
                    )
                ),
            ],
            outputs=[
                io.Latent.Output("latent_out", display_name="latent", tooltip="The video's latents, for Decode."),
                io.Mask.Output(
                    "masks_out",
                    display_name="masks",
                    is_output_list=True,
                    tooltip="The final masks: one MASK batch per character, in the order of the cast.",
                ),
                io.String.Output(
                    "report_out", display_name="report", tooltip="What was done, with what, and how long."
                ),
                sockets.Masks.Output(
                    "routing_out",
                    display_name="routing",
                    tooltip="The final masks by name, for Routing Masks and Film.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, **inputs):
        raise NotImplementedError("being built")


class Decode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            "BYAV_Decode",
            "sampling",
            display_name="Bind-Your-Avatar Decode",
            description="Turns latents into frames. Large videos are decoded in tiles, so that it does not run out of "
            "memory at the very end.",
            inputs=[
                io.Latent.Input("latent", display_name="latent", tooltip="From the Sampler."),
                sockets.Model.Input("model", display_name="model", tooltip="From Load Bind-Your-Avatar Model."),
                io.Vae.Input(
                    "vae",
                    display_name="vae",
                    optional=True,
                    tooltip="A CogVideoX VAE from ComfyUI's own Load VAE, in place of the model's.",
                ),
                sockets.advanced(
                    io.Combo.Input(
                        "tiling",
                        display_name="tiling",
                        options=["auto", "on", "off"],
                        default="auto",
                        optional=True,
                        tooltip="auto: in tiles when the video is larger than the model's training size.",
                    )
                ),
            ],
            outputs=[io.Image.Output("frames_out", display_name="frames", tooltip="The video's frames.")],
        )

    @classmethod
    def execute(cls, **inputs):
        raise NotImplementedError("being built")
