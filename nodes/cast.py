"""Character (chained), Speech (chained), Audio-Character Matrix."""

from comfy_api.latest import io

from . import sockets
from .sockets import schema

MATRIX_MODES = ["one to one", "swapped", "custom table"]


class Character(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            "BYAV_Character",
            "cast",
            display_name="Character",
            description="Adds one person to the cast: a name and a reference face. Chain as many as you want: the cast "
            "of one goes into the next.",
            inputs=[
                io.String.Input(
                    "name",
                    display_name="name",
                    default="Anna",
                    tooltip="What this person is called in tables, masks and messages. Each name once.",
                ),
                io.Image.Input(
                    "image",
                    display_name="reference image",
                    tooltip="A picture with this person's face. The largest face counts, unless you give a box.",
                ),
                sockets.FaceEncoderLink.Input(
                    "face_encoder", display_name="face encoder", tooltip="From Load Face Encoder."
                ),
                sockets.Cast.Input(
                    "cast",
                    display_name="cast",
                    optional=True,
                    tooltip="The people so far: the cast of another Character node.",
                ),
                sockets.advanced(
                    io.String.Input(
                        "box",
                        display_name="face box",
                        default="",
                        optional=True,
                        placeholder="left, top, right, bottom",
                        tooltip="Which face, when there are several or none is found: left, top, right, bottom in "
                        "pixels, for example 120, 40, 280, 230. Empty: the largest face.",
                    )
                ),
            ],
            outputs=[
                sockets.Cast.Output("cast_out", display_name="cast", tooltip="All people so far, this one last."),
                io.Image.Output(
                    "crop_out", display_name="crop", tooltip="The aligned face that the encoder looked at."
                ),
            ],
        )

    @classmethod
    def execute(cls, **inputs):
        raise NotImplementedError("being built")


class Speech(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            "BYAV_Speech",
            "cast",
            display_name="Speech",
            description="Adds one voice: a name and a recording. Chain as many as you want. Any sample rate and length "
            "will do; stereo is mixed to mono; what is shorter than the video is followed by silence.",
            inputs=[
                io.String.Input(
                    "name",
                    display_name="name",
                    default="voice 1",
                    tooltip="What this voice is called in the matrix. Each name once.",
                ),
                io.Audio.Input("audio", display_name="audio", tooltip="The recording of this voice alone."),
                sockets.AudioEncoderLink.Input(
                    "audio_encoder", display_name="audio encoder", tooltip="From Load Audio Encoder."
                ),
                io.Float.Input(
                    "start",
                    display_name="start (seconds)",
                    default=0.0,
                    min=0.0,
                    max=3600.0,
                    step=0.04,
                    tooltip="When in the video this recording begins. Before it, this voice is silent.",
                ),
                sockets.Streams.Input(
                    "streams",
                    display_name="streams",
                    optional=True,
                    tooltip="The voices so far: the streams of another Speech node.",
                ),
                sockets.advanced(
                    io.Float.Input(
                        "loudness",
                        display_name="loudness (dB)",
                        default=0.0,
                        min=-60.0,
                        max=0.0,
                        step=0.5,
                        optional=True,
                        tooltip="Brings the recording to this mean loudness (RMS, dB below full scale), for example "
                        "-20, so that several voices match. 0 leaves it as it is.",
                    )
                ),
            ],
            outputs=[sockets.Streams.Output("streams_out", display_name="streams", tooltip="All voices so far.")],
        )

    @classmethod
    def execute(cls, **inputs):
        raise NotImplementedError("being built")


class AudioCharacterMatrix(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            "BYAV_AudioCharacterMatrix",
            "cast",
            display_name="Audio-Character Matrix",
            description="Says which voice belongs to which character. A character without a voice stays silent; one "
            "voice may drive several characters.",
            inputs=[
                sockets.Streams.Input("streams", display_name="streams", tooltip="The voices, from Speech."),
                sockets.Cast.Input("cast", display_name="cast", tooltip="The people, from Character."),
                io.Combo.Input(
                    "mode",
                    display_name="mode",
                    options=MATRIX_MODES,
                    default=MATRIX_MODES[0],
                    tooltip="one to one: first voice to first character and so on. swapped: the other way round. "
                    "custom table: as written below.",
                ),
                io.String.Input(
                    "table",
                    display_name="custom table",
                    default="",
                    multiline=True,
                    optional=True,
                    placeholder="voice 1: Anna\nvoice 2: Ben, Carla",
                    tooltip="For the custom table: one line per voice, its name, a colon, and the names of the "
                    "characters it speaks for, with commas between. A character in no line stays silent.",
                ),
            ],
            outputs=[
                sockets.Matrix.Output("matrix_out", display_name="matrix", tooltip="For Router and Sampler."),
                io.Image.Output("picture_out", display_name="picture", tooltip="The matrix as a picture, with names."),
            ],
        )

    @classmethod
    def execute(cls, **inputs):
        raise NotImplementedError("being built")
