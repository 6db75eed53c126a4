"""Character Mask (chained) and Router: who is where, in one menu."""

from comfy_api.latest import io

from . import files, sockets
from .sockets import schema


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
    def execute(cls, **inputs):
        raise NotImplementedError("being built")


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
                    options=["intra", "pre", "post", "fixed", "uniform"],
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
                    tooltip="The voices, for the probe of intra. Without them the probe hears silence.",
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
                        tooltip="Steps of the first pass (post), and length of the schedule of which the probe (intra) "
                        "runs the beginning.",
                    )
                ),
                sockets.advanced(
                    io.Int.Input(
                        "probe_steps",
                        display_name="probe steps",
                        default=3,
                        min=1,
                        max=1000,
                        optional=True,
                        tooltip="After how many of the coarse steps the probe (intra) stops.",
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
    def execute(cls, **inputs):
        raise NotImplementedError("being built")
