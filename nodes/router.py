"""Character Mask (chained) and Router: who is where, in one menu."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from comfy_api.latest import io, ui
from einops import rearrange

from . import conditioning, convert, files, runtime, sockets
from .sockets import schema

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from ..byav_core.matrix import AudioCharacterMatrix
    from ..byav_core.pipeline import PreparedScene, Prompt
    from ..byav_core.protocols import CharacterLocator, MaskSource, VideoSegmenter
    from ..byav_core.types import Character, SpeechStream

ABSENT = object()  # an input that is not connected, where None is one that is not computed yet
NEEDS = {"intra": (), "pre": ("face_encoder",), "post": ("prompt", "face_encoder"), "fixed": ("masks",), "uniform": ()}
MISSING = {
    "prompt": "a prompt: connect Prompt",
    "face_encoder": "to recognise faces: connect Load Face Encoder to its face encoder",
    "masks": "masks: connect a chain of Character Mask nodes, one per character",
}
MASK_OUTPUTS = (1, 2)
NOT_COMPUTED = "the masks of this router were not computed, since nothing was connected to them; run again"


class CharacterMask(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            "BYAV_CharacterMask",
            "router",
            display_name="Character Mask",
            description="Says where one character is, for the router `fixed`. Chain one per character; names must be "
            "those of the cast.",
            inputs=[
                io.String.Input(
                    "name", display_name="name", default="Anna", tooltip="The character's name, as in the cast."
                ),
                io.Mask.Input(
                    "mask",
                    display_name="mask",
                    tooltip="White where the character is. One picture for the whole video, or one per frame; any "
                    "size.",
                ),
                sockets.Masks.Input(
                    "masks", display_name="masks", optional=True, tooltip="The masks of the characters so far."
                ),
            ],
            outputs=[sockets.Masks.Output("masks_out", display_name="masks", tooltip="All masks so far, for Router.")],
        )

    @classmethod
    def validate_inputs(cls, name=None):
        return name is None or bool(name.strip()) or "the name is empty; write the character's name as in the cast"

    @classmethod
    def execute(cls, name, mask, masks=None):
        name, before = name.strip(), masks.masks if masks is not None else {}
        if name in before:
            raise ValueError(f"there are two masks for {name}; give each character one, with its own name")
        return io.NodeOutput(sockets.NamedMasks({**before, name: convert.mask_frames(mask, f"mask of {name}")}))


class Router(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            "BYAV_Router",
            "router",
            display_name="Router",
            description="Chooses how the model finds out where each character is.\n"
            "intra: while it denoises, from the model itself; the masks shown come from a short probe, which runs only "
            "when a masks output is connected.\n"
            "pre: from the faces in the first frame; needs a first frame and a face encoder.\n"
            "post: from a first pass without faces and speech, whose frames are segmented; needs a prompt and a face "
            "encoder.\n"
            "fixed: from masks you give, by Character Mask.\n"
            "uniform: everybody is everywhere, for comparison.",
            inputs=[
                sockets.Model.Input("model", display_name="model", tooltip="From Load Bind-Your-Avatar Model."),
                sockets.SceneLink.Input("scene", display_name="scene", tooltip="From Scene."),
                sockets.Cast.Input("cast", display_name="cast", tooltip="From Character."),
                io.Combo.Input(
                    "router",
                    display_name="router",
                    options=list(NEEDS),
                    default="intra",
                    tooltip="intra: while denoising. pre: faces of the first frame. post: segmented from a first pass. "
                    "fixed: your masks. uniform: no binding.",
                ),
                io.Combo.Input(
                    "refinement",
                    display_name="refinement",
                    options=["off", "on"],
                    default="off",
                    tooltip="on: cleans the predicted masks up: uncertain places are given to the character they "
                    "belong to in space and time. The released weights were made without it.",
                ),
                sockets.PromptLink.Input(
                    "prompt",
                    display_name="prompt",
                    optional=True,
                    tooltip="Needed by post, and by intra when a masks output is connected.",
                ),
                sockets.Streams.Input(
                    "streams",
                    display_name="streams",
                    optional=True,
                    tooltip="The voices. Needed by intra when a masks output is connected.",
                ),
                sockets.Matrix.Input(
                    "matrix",
                    display_name="matrix",
                    optional=True,
                    tooltip="Which voice belongs to whom, for the probe of intra. Without it: one to one.",
                ),
                sockets.FaceEncoderLink.Input(
                    "face_encoder",
                    display_name="face encoder",
                    optional=True,
                    tooltip="Recognises the characters, for pre and post.",
                ),
                sockets.Masks.Input(
                    "masks", display_name="masks", optional=True, tooltip="For fixed: one Character Mask per character."
                ),
                io.Int.Input(
                    "seed",
                    display_name="seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    optional=True,
                    control_after_generate=False,  # left out, the page would roll dice for every input named seed
                    tooltip="Noise of the first pass (post) and of the probe (intra). Give the Sampler's seed to see "
                    "what the Sampler will do.",
                ),
                sockets.advanced(
                    io.Int.Input(
                        "coarse_steps",
                        display_name="coarse steps",
                        default=20,
                        min=1,
                        max=1000,
                        optional=True,
                        tooltip="Steps of the first pass (post).",
                    )
                ),
                sockets.advanced(
                    io.Int.Input(
                        "probe_steps",
                        display_name="probe steps",
                        default=2,
                        min=1,
                        max=500,
                        optional=True,
                        tooltip="Steps of the probe (intra): the first half of a short run without guidance.",
                    )
                ),
                sockets.advanced(
                    io.Combo.Input(
                        "segmenter",
                        display_name="segmenter",
                        options=files.segmenter_choices(),
                        default=files.FACE_TRACKS,
                        optional=True,
                        tooltip="What follows the people through the first pass (post): faces found in each frame, "
                        "or a SAM 2 folder in models/byav or models/sam2.",
                    )
                ),
                sockets.advanced(
                    io.Float.Input(
                        "coarse_guidance",
                        display_name="coarse guidance",
                        default=6.0,
                        min=0.0,
                        max=30.0,
                        step=0.1,
                        optional=True,
                        tooltip="How strongly the prompt pulls in the first pass (post). 6 suits the released model, "
                        "1 the tiny one.",
                    )
                ),
            ],
            outputs=[
                sockets.RouterLink.Output("router_out", display_name="router", tooltip="For Sampler."),
                io.Mask.Output(
                    "masks_out",
                    display_name="masks",
                    is_output_list=True,
                    tooltip="One MASK batch per character, in the order of the cast: all frames at the video's size.",
                ),
                sockets.Masks.Output(
                    "routing_out", display_name="routing", tooltip="The same masks by name, for Routing Masks and Film."
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    @classmethod
    def validate_inputs(cls, router, prompt=ABSENT, face_encoder=ABSENT, masks=ABSENT):
        given = {"prompt": prompt, "face_encoder": face_encoder, "masks": masks}
        if router is None:
            return True
        if router not in NEEDS:
            return f"there is no router {router!r}; choose one of {list(NEEDS)}"
        missing = [what for what in NEEDS[router] if given[what] is ABSENT]
        return True if not missing else f"router {router} needs {' and '.join(MISSING[what] for what in missing)}"

    @classmethod
    def fingerprint_inputs(cls, router=None, **_):
        """Changes when masks of `intra` become wanted, so that the probe then runs."""
        at = runtime.running_prompt() if router == "intra" else None
        return router, at is not None and runtime.connected(at[0], MASK_OUTPUTS, at[1])

    @classmethod
    def execute(
        cls,
        model,
        scene,
        cast,
        router,
        refinement,
        prompt=None,
        streams=None,
        matrix=None,
        face_encoder=None,
        masks=None,
        seed=0,
        coarse_steps=20,
        probe_steps=3,
        segmenter=files.FACE_TRACKS,
        coarse_guidance=6.0,
    ):
        node_id = cls.hidden.unique_id
        first = FirstPass(model, scene, cast, prompt, streams, matrix, seed, coarse_steps, coarse_guidance, node_id)
        with runtime.listening(node_id) as notes:
            planned = plan(router, refinement, first, face_encoder, masks, segmenter)
        planned = replace(planned, notes=tuple(notes))
        if planned.masks is None and masks_wanted(cls.hidden):
            planned = replace(planned, masks=first.probe(planned.source, probe_steps))
        shown = ui.PreviewText("\n".join(notes)) if notes else None
        return io.NodeOutput(planned, *mask_outputs(planned, cast), ui=shown)


@dataclass(frozen=True)
class FirstPass:
    """What Post-Denoise's coarse video and Intra-Denoise's probe are made from; both are kept on the model link."""

    model: sockets.LoadedModel
    scene: PreparedScene
    cast: tuple[Character, ...]
    prompt: Prompt | None
    streams: tuple[SpeechStream, ...] | None
    matrix: AudioCharacterMatrix | None
    seed: int
    steps: int
    guidance: float
    node_id: str | None

    def coarse_video(self) -> Float[Tensor, "f 3 H W"]:
        from ..byav_core import pipeline

        def compute():
            compute_on = runtime.bring_network(self.model, self.scene, characters=0)
            progress = runtime.StepProgress(self.node_id, what="first pass: step")
            return pipeline.coarse_video(
                self.model.models,
                self.prompt,
                self.scene,
                self.seed,
                self.steps,
                guidance_scale=self.guidance,
                on_step=progress,
                check_cancelled=runtime.check_cancelled,
                compute=compute_on,
            )

        decided = self.seed, self.steps, self.guidance
        return self.model.memo.get("coarse", (self.prompt, self.scene), decided, compute)

    def probe(self, source: MaskSource, probe_steps: int) -> Float[Tensor, "n f H W"]:
        """The masks half way through a run of a few unguided steps. Raises ValueError without prompt or voices."""
        from ..byav_core import pipeline

        if self.prompt is None or not self.streams:
            raise ValueError(
                "router intra shows masks by a short probe, which needs prompt and streams; connect both to the "
                "Router, or disconnect its masks"
            )
        matrix = conditioning.matrix_or_one_to_one(self.matrix, self.cast, self.streams)
        conditions = conditioning.conditions_for(self.model, self.prompt, self.cast, self.streams, matrix, self.scene)
        compute_on = runtime.bring_network(self.model, self.scene, len(self.cast))
        seen = pipeline.sample(
            self.model.models,
            self.scene,
            conditions,
            source,
            pipeline.SamplingSettings(
                seed=self.seed, steps=2 * probe_steps, stop_at_step=probe_steps, guidance=pipeline.Joint(1.0)
            ),
            on_step=runtime.StepProgress(self.node_id, what="probe: step"),
            check_cancelled=runtime.check_cancelled,
            compute=compute_on,
        )
        return pipeline.masks_to_frames(seen.masks.float().cpu(), self.scene.clip)


def plan(
    router: str,
    refinement: str,
    first: FirstPass,
    face_encoder: sockets.LoadedEncoder | None,
    masks: sockets.NamedMasks | None,
    segmenter: str,
) -> sockets.PlannedRouting:
    from ..byav_core import pipeline
    from ..byav_core.routing import LabelSpreading

    if router == "pre" and first.scene.inpainting_frame is None:
        raise ValueError("router pre reads faces from the first frame; connect one to Scene, or choose router intra")
    seeing = router in ("pre", "post")
    source = pipeline.plan_routing(
        router,
        first.model.models,
        first.scene,
        first.cast,
        masks=given_masks(masks, first.cast, first.scene) if router == "fixed" else None,
        locator=locator_for(face_encoder) if seeing else None,
        segmenter=segmenter_for(segmenter, face_encoder, first.model) if router == "post" else None,
        refiner=LabelSpreading() if refinement == "on" else None,
        coarse=first.coarse_video,
    )
    known = None if router == "intra" else known_masks(source, first.scene, len(first.cast))
    names = tuple(person.name for person in first.cast)
    return sockets.PlannedRouting(router, refinement, source, names, first.scene.clip, known)


def locator_for(face_encoder: sockets.LoadedEncoder) -> CharacterLocator:
    runtime.bring(face_encoder.patchers)
    return face_encoder.encoder.locator()


def segmenter_for(choice: str, face_encoder: sockets.LoadedEncoder, model: sockets.LoadedModel) -> VideoSegmenter:
    """SAM 2 from a folder, or what needs no weights: the face encoder's own way to follow people."""
    from ..byav_core.perception.segmenter import Sam2Segmenter

    locator = locator_for(face_encoder)
    if choice == files.FACE_TRACKS:
        return face_encoder.encoder.segmenter()

    def load() -> tuple[VideoSegmenter, Any]:
        sam2 = Sam2Segmenter(files.locate(choice, *files.SEGMENTER_KEYS), locator)
        return sam2, runtime.hold([sam2.module])

    segmenter, patcher = model.memo.get("segmenter", (face_encoder,), choice, load)
    runtime.bring([patcher])
    return segmenter


def known_masks(source: MaskSource, scene: PreparedScene, characters: int) -> Float[Tensor, "n f H W"]:
    """What a source that ignores queries and keys answers, over the pixels of every frame."""
    from ..byav_core.pipeline import masks_to_frames

    queries, keys = torch.zeros(1, 1, scene.grid.tokens, 1), torch.zeros(1, characters, 1, 1, 1)
    return masks_to_frames(scene.grid.fold(source(0, queries, keys).mask)[0], scene.clip)


def given_masks(
    named: sockets.NamedMasks | None, cast: tuple[Character, ...], scene: PreparedScene
) -> Float[Tensor, "n f H W"] | None:
    """One mask per character in the order of the cast, all at the video's extent. Raises ValueError for names that do
    not meet, for numbers of frames other than one or the video's, and for another shape than the video's."""
    if named is None:
        return None
    names = [person.name for person in cast]
    if strangers := [name for name in named.masks if name not in names]:
        raise ValueError(f"there is a mask for {strangers[0]}, who is not in the cast ({', '.join(names)}); rename it")
    if missing := [name for name in names if name not in named.masks]:
        raise ValueError(f"there is no mask for {missing[0]}; add a Character Mask with that name")
    return torch.stack([at_extent(name, named.masks[name], scene) for name in names])


def at_extent(name: str, mask: Float[Tensor, "g H W"], scene: PreparedScene) -> Float[Tensor, "f H2 W2"]:
    clip, (frames, height, width) = scene.clip, mask.shape
    if frames not in (1, clip.frames):
        raise ValueError(
            f"the mask of {name} has {frames} frames and the video {clip.frames}; give one or {clip.frames}"
        )
    if abs(height * clip.width - width * clip.height) > 0.02 * width * clip.height:
        raise ValueError(
            f"the mask of {name} is {width} x {height} and the video {clip.width} x {clip.height}, which is another "
            "shape; paint it on the first frame that Scene hands out"
        )
    sized = torch.nn.functional.interpolate(mask[:, None], (clip.height, clip.width), mode="area")
    return rearrange(sized, "f 1 H W -> f H W").expand(clip.frames, -1, -1)


def masks_wanted(hidden: Any) -> bool:
    """Whether anything takes the masks; when the graph is not known, yes."""
    if hidden.dynprompt is None:
        return True
    graph = {node: hidden.dynprompt.get_node(node) for node in hidden.dynprompt.all_node_ids()}
    return runtime.connected(hidden.unique_id, MASK_OUTPUTS, graph)


def mask_outputs(planned: sockets.PlannedRouting, cast: tuple[Character, ...]) -> tuple[Any, Any]:
    """The masks as ComfyUI's and as ours; blocked with a sentence when they were not computed."""
    from comfy_execution.graph_utils import ExecutionBlocker

    if planned.masks is None:
        return ExecutionBlocker(NOT_COMPUTED), ExecutionBlocker(NOT_COMPUTED)
    masks = [convert.to_mask(mask) for mask in planned.masks]
    return masks, sockets.NamedMasks({person.name: mask for person, mask in zip(cast, masks, strict=True)})
