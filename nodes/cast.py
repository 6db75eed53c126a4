"""Character (chained), Speech (chained), Audio-Character Matrix."""

import math

from comfy_api.latest import io, ui

from . import convert, pictures, runtime, sockets
from .sockets import schema

MATRIX_MODES = ["one to one", "swapped", "custom table"]
BOX_SENTENCE = "the face box is {box!r}; write left, top, right, bottom in pixels, such as 120, 40, 280, 230"


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
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, name=None, box=None):
        if name is not None and not name.strip():
            return "the name is empty; give this character a name, such as Anna"
        try:
            parse_box(box or "")
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, name, image, face_encoder, cast=(), box=""):
        from ..byav_core.pipeline import add_character

        name = name.strip()
        runtime.bring(face_encoder.patchers)
        with runtime.listening(cls.hidden.unique_id) as notes:
            picture = convert.only_picture(image, f"reference image of {name}")
            cast = add_character(cast or (), name, picture, face_encoder.encoder, parse_box(box))
        crop = convert.to_image(cast[-1].features.crop[None])
        shown = ui.PreviewImage(crop, cls=cls).as_dict()
        return io.NodeOutput(cast, crop, ui={**shown, "text": tuple(notes)} if notes else shown)


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
    def validate_inputs(cls, name=None, start=None, loudness=None):
        if name is not None and not name.strip():
            return "the name is empty; give this voice a name, such as voice 1"
        if start is not None and not 0 <= start <= 3600:
            return f"the start is {start:g} seconds; give 0 to 3600"
        if loudness is not None and not -60 <= loudness <= 0:
            return f"the loudness is {loudness:g} dB; give -60 to 0, where 0 leaves the recording as it is"
        return True

    @classmethod
    def execute(cls, name, audio, audio_encoder, start, streams=(), loudness=0.0):
        from ..byav_core.pipeline import add_speech

        name = name.strip()
        runtime.bring(audio_encoder.patchers)
        recording = convert.recording(audio, f"audio of {name}")
        encoder, level = audio_encoder.encoder, loudness or None
        with runtime.told_what_to_install():
            streams = add_speech(streams or (), name, recording, encoder, audio_encoder.fps, start, level)
        return io.NodeOutput(streams)


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
                    tooltip="one to one: first voice to first character and so on. swapped: each voice to the "
                    "character after its own, the last one's to the first. custom table: as written below.",
                ),
                io.String.Input(
                    "table",
                    display_name="custom table",
                    default="",
                    multiline=True,
                    optional=True,
                    placeholder="voice 1: Anna\nvoice 2: Ben, Carla",
                    tooltip="For the custom table: one line per voice, its name, a colon, and the names of the "
                    "characters it speaks for, with commas between; a number after a name is a weight, as in Ben "
                    "0.5. A character in no line stays silent.",
                ),
            ],
            outputs=[
                sockets.Matrix.Output("matrix_out", display_name="matrix", tooltip="For Router and Sampler."),
                io.Image.Output("picture_out", display_name="picture", tooltip="The matrix as a picture, with names."),
            ],
        )

    @classmethod
    def validate_inputs(cls, mode=None, table=None):
        if mode not in (None, *MATRIX_MODES):
            return f"the mode is {mode!r}; choose one of {MATRIX_MODES}"
        if mode != MATRIX_MODES[-1]:
            return True
        lines = [line for line in (table or "").splitlines() if line.strip()]
        if not lines:
            return "the custom table is empty; write one line per voice, such as voice 1: Anna"
        wrong = next((line for line in lines if ":" not in line), None)
        return True if wrong is None else f"{wrong!r} has no colon; write voice and characters such as voice 1: Anna"

    @classmethod
    def execute(cls, streams, cast, mode, table=""):
        from ..byav_core import matrix

        names = tuple(stream.name for stream in streams), tuple(person.name for person in cast)
        made = {
            "one to one": lambda: matrix.one_to_one(*names),
            "swapped": lambda: matrix.swapped(*names),
            "custom table": lambda: matrix.from_table(table, *names),
        }[mode]()
        picture = convert.to_image(pictures.matrix_table(made, cast))
        return io.NodeOutput(made, picture, ui=ui.PreviewImage(picture, cls=cls))


def parse_box(text: str) -> tuple[float, float, float, float] | None:
    """left, top, right, bottom in pixels; None for an empty text. Raises ValueError for any other."""
    if not text.strip():
        return None
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(BOX_SENTENCE.format(box=text)) from None
    if not -math.inf < left < right < math.inf or not -math.inf < top < bottom < math.inf:
        raise ValueError(BOX_SENTENCE.format(box=text))
    return left, top, right, bottom
