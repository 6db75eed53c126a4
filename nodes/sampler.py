"""Sampler and Decode."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

from . import conditioning, convert, pictures, report, runtime, sockets
from .host_models import HostVideoAutoencoder
from .sockets import schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from ..byav_core.matrix import AudioCharacterMatrix
    from ..byav_core.pipeline import Guidance, PreparedScene, Prompt, SamplingSettings, StepReport
    from ..byav_core.protocols import VideoAutoencoder
    from ..byav_core.types import Character, Clip, SpeechStream

TILINGS = ["auto", "small tiles"]


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
                    tooltip="Denoising steps. The released model uses 50; 12 to 16 suit the tiny model.",
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
    def validate_inputs(cls, steps=None, audio_start=0.0, audio_end=1.0, strength="", stop_at_step=0):
        if steps is not None and not 1 <= steps <= 1000:
            return f"the number of steps is {steps}; give 1 to 1000"
        if audio_start is not None and audio_end is not None and not 0 <= audio_start <= audio_end <= 1:
            return f"audio guidance from {audio_start:g} to {audio_end:g} is no interval; give 0 to 1, start first"
        if steps is not None and stop_at_step is not None and not 0 <= stop_at_step <= steps:
            return f"it cannot stop at step {stop_at_step} of {steps}; give 1 to {steps}, or 0 for all"
        return strength_problem(strength or "")

    @classmethod
    def execute(
        cls,
        model,
        scene,
        prompt,
        cast,
        streams,
        router,
        seed,
        steps,
        scheduler,
        guidance,
        guidance_scale,
        audio_scale=4.0,
        matrix=None,
        audio_start=0.0,
        audio_end=1.0,
        strength="",
        stop_at_step=0,
        preview="overlay",
    ):
        from ..byav_core.pipeline import SamplingSettings

        settings = SamplingSettings(
            seed=seed,
            steps=steps,
            scheduler=scheduler,
            guidance=guidance_of(guidance, guidance_scale, audio_scale),
            audio_start=audio_start,
            audio_end=audio_end,
            strength=strengths(strength, tuple(person.name for person in cast)),
            stop_at_step=stop_at_step or None,
        )
        check_plan(router, tuple(person.name for person in cast), scene.clip)
        matrix = conditioning.matrix_or_one_to_one(matrix, cast, streams)
        run = Run(model, scene, prompt, cast, streams, router, matrix, settings)
        sampled = run.remembered(cls.hidden.unique_id, preview)
        masks = [convert.to_mask(mask) for mask in sampled.masks]
        named = sockets.NamedMasks({person.name: mask for person, mask in zip(cast, masks, strict=True)})
        latent = convert.to_latent(sampled.latents, model.models.config.video.scaling_factor)
        return io.NodeOutput(latent, masks, sampled.report, named, ui=ui.PreviewText(sampled.report))


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
                        options=TILINGS,
                        default="auto",
                        optional=True,
                        tooltip="auto: in tiles when the video is larger than the model was trained for. small tiles: "
                        "a quarter of that area at a time, for less memory.",
                    )
                ),
            ],
            outputs=[io.Image.Output("frames_out", display_name="frames", tooltip="The video's frames.")],
        )

    @classmethod
    def execute(cls, latent, model, vae=None, tiling="auto"):
        from ..byav_core import pipeline

        config = model.models.config.video
        samples = convert.latents(latent, config.latent_channels, config.scaling_factor)
        models = replace(model.models, video=decoder_of(model, vae, tiling))
        frames = pipeline.decode(models, samples, check_cancelled=runtime.check_cancelled)
        return io.NodeOutput(convert.to_image(frames))


@dataclass(frozen=True)
class Sampled:
    """What stays of a finished run."""

    latents: Float[Tensor, "1 t c H W"]
    masks: Float[Tensor, "n f H W"]
    report: str


@dataclass(frozen=True)
class Run:
    """One sampling with everything that decides its outcome."""

    model: sockets.LoadedModel
    scene: PreparedScene
    prompt: Prompt
    cast: tuple[Character, ...]
    streams: tuple[SpeechStream, ...]
    router: sockets.PlannedRouting
    matrix: AudioCharacterMatrix
    settings: SamplingSettings

    def remembered(self, node_id: str | None, preview: str) -> Sampled:
        """The last run is kept on the model link: connecting another output of the Router does not repeat it."""
        parts = (self.scene, self.prompt, *self.cast, *self.streams, *self.router.objects)
        values = (self.settings, conditioning.matrix_key(self.matrix), self.router.name, self.router.refinement)
        return self.model.memo.get("sampled", parts, values, lambda: self.sample(node_id, preview))

    def sample(self, node_id: str | None, preview: str) -> Sampled:
        from ..byav_core import pipeline

        started = time.perf_counter()
        conditions = conditioning.conditions_for(
            self.model, self.prompt, self.cast, self.streams, self.matrix, self.scene
        )
        compute = runtime.bring_network(self.model, self.scene, len(self.cast))
        denoised = pipeline.sample(
            self.model.models,
            self.scene,
            conditions,
            self.router.source,
            self.settings,
            on_step=runtime.StepProgress(node_id, self.previewer() if preview == "overlay" else None),
            check_cancelled=runtime.check_cancelled,
            compute=compute,
        )
        masks = pipeline.masks_to_frames(denoised.masks.float().cpu(), self.scene.clip)
        written = report.text(self, masks, denoised.steps_done, time.perf_counter() - started)
        return Sampled(denoised.latents.cpu(), masks, written)

    def previewer(self) -> Callable[[StepReport], Any]:
        """Latents to a rough picture by a linear map, fitted once per model, with the masks over it."""
        from ..byav_core.sampling.preview import fit_preview

        models, names = self.model.models, tuple(person.name for person in self.cast)
        to_frames = self.model.memo.get("preview", (), "fitted", lambda: fit_preview(models.video))
        return lambda report: pictures.step_preview(report, to_frames(report.clean), names)


def check_plan(router: sockets.PlannedRouting, names: tuple[str, ...], clip: Clip) -> None:
    """Raises ValueError when the Router planned for another video, or has the masks of other people or in another
    order: they would go to the wrong ones. A learned router finds the people it is given; uniform asks for nothing."""
    if router.name != "uniform" and router.clip != clip:
        planned, here = (f"{c.width} x {c.height}, {c.frames} frames" for c in (router.clip, clip))
        raise ValueError(
            f"the Router planned a video of {planned}, but the Sampler's scene is {here}; connect one Scene to both"
        )
    if router.name not in ("intra", "uniform") and router.names != names:
        raise ValueError(
            f"the Router has masks of {', '.join(router.names)}, in this order, but the Sampler's cast is "
            f"{', '.join(names)}; connect the same cast to both"
        )


def decoder_of(model: sockets.LoadedModel, vae: Any, tiling: str) -> VideoAutoencoder:
    """ComfyUI's VAE if one is connected, else the model's own with the tiles chosen, its weights in place."""
    from ..byav_core.config import PatchAutoencoderConfig

    own, config = model.models.video, model.models.config.video
    if vae is not None:
        return HostVideoAutoencoder(vae, config.latent_channels, config.scaling_factor)
    if "video" not in model.patchers:
        return own
    if isinstance(config, PatchAutoencoderConfig):  # of the tiny model: needs little memory at any size
        runtime.bring([model.patchers["video"]])
        return own
    share = 2 if tiling == TILINGS[1] else 1
    height, width = config.sample_height // share, config.sample_width // share
    dtype = runtime.compute_of(model.patchers["video"]).dtype
    activations = runtime.decoding_bytes(height, width, config.block_out_channels[0], dtype)
    runtime.bring([model.patchers["video"]], activations)
    return type(own)(own.config, own.module, (height, width))


def guidance_of(kind: str, scale: float, audio_scale: float) -> Guidance:
    from ..byav_core.pipeline import Joint, Separate

    return Joint(scale) if kind == "joint" else Separate(text=scale, audio=audio_scale)


def strength_problem(text: str) -> bool | str:
    """True, or a sentence about the first entry that is not "name: number"."""
    for entry in _entries(text):
        name, _, number = entry.rpartition(":")
        if not name.strip() or _number(number) is None:
            return f"the speech strength {entry!r} is not a name, a colon and a number from 0 up, such as Ben: 0.6"
    return True


def strengths(text: str, names: tuple[str, ...]) -> tuple[float, ...] | None:
    """One strength per character. Raises ValueError for names that are not in the cast."""
    given = {name.strip(): _number(number) for name, _, number in (e.rpartition(":") for e in _entries(text))}
    if strangers := [name for name in given if name not in names]:
        raise ValueError(
            f"speech strength names {strangers[0]}, who is not in the cast ({', '.join(names)}); rename it"
        )
    return tuple(given.get(name, 1.0) for name in names) if given else None


def _entries(text: str) -> list[str]:
    """Lines, and what stands between commas; a name may hold commas itself, so an entry ends with its number."""
    entries = []
    for line in text.splitlines():
        begun = ""
        for part in line.split(","):
            begun = f"{begun},{part}" if begun else part.strip()
            if _number(begun.rpartition(":")[2]) is not None and ":" in begun:
                entries.append(begun)
                begun = ""
        entries += [begun] * bool(begun)
    return entries


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
