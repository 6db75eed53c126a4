"""Load Model, Load Face Encoder, Load Audio Encoder."""

from comfy_api.latest import io

from . import files, sockets
from .sockets import schema


class LoadModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            "BYAV_LoadModel",
            "loaders",
            display_name="Load Bind-Your-Avatar Model",
            description="Loads the video model with its face extractor, speech projector and router, text encoder and "
            "video autoencoder. The built-in tiny model needs no download and is untrained: it shows that a graph "
            "works, not what people look like.",
            inputs=[
                io.Combo.Input(
                    "model",
                    display_name="model",
                    options=files.model_choices(),
                    default=files.TINY,
                    tooltip="The built-in tiny model, or a file or folder in models/byav, or a file of ours in "
                    "models/diffusion_models.",
                ),
                sockets.advanced(
                    io.Combo.Input(
                        "precision",
                        display_name="precision",
                        options=["auto", "float32", "bfloat16", "float16"],
                        default="auto",
                        optional=True,
                        tooltip="Number format of the weights. auto: bfloat16 on a graphics card that has it, "
                        "otherwise float32.",
                    )
                ),
                io.Vae.Input(
                    "vae",
                    display_name="vae",
                    optional=True,
                    tooltip="A CogVideoX VAE from ComfyUI's own Load VAE, used in place of the one that belongs to "
                    "the model.",
                ),
                io.Clip.Input(
                    "clip",
                    display_name="clip",
                    optional=True,
                    tooltip="A CogVideoX text encoder (T5) from ComfyUI's own Load CLIP, used in place of the one "
                    "that belongs to the model.",
                ),
            ],
            outputs=[sockets.Model.Output("model_out", display_name="model", tooltip="The model.")],
        )

    @classmethod
    def execute(cls, **inputs):
        raise NotImplementedError("being built")


class LoadFaceEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            "BYAV_LoadFaceEncoder",
            "loaders",
            display_name="Load Face Encoder",
            description="Loads what looks at reference faces: face recognition and the CLIP image encoder. It must "
            "belong to the model: the built-in tiny encoder to the tiny model, the released one to the released model.",
            inputs=[
                io.Combo.Input(
                    "face_encoder",
                    display_name="face encoder",
                    options=files.face_encoder_choices(),
                    default=files.TINY,
                    tooltip="The built-in tiny encoder, or a folder in models/byav that holds face_encoder files.",
                ),
            ],
            outputs=[
                sockets.FaceEncoderLink.Output(
                    "face_encoder_out", display_name="face encoder", tooltip="For Character and Router nodes."
                )
            ],
        )

    @classmethod
    def execute(cls, **inputs):
        raise NotImplementedError("being built")


class LoadAudioEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            "BYAV_LoadAudioEncoder",
            "loaders",
            display_name="Load Audio Encoder",
            description="Loads what listens to speech: wav2vec2. It must belong to the model: the built-in tiny "
            "encoder to the tiny model, wav2vec2-base-960h to the released model.",
            inputs=[
                io.Combo.Input(
                    "audio_encoder",
                    display_name="audio encoder",
                    options=files.audio_encoder_choices(),
                    default=files.TINY,
                    tooltip="The built-in tiny encoder, or a wav2vec2 folder in models/byav or models/audio_encoders.",
                ),
            ],
            outputs=[
                sockets.AudioEncoderLink.Output(
                    "audio_encoder_out", display_name="audio encoder", tooltip="For Speech nodes."
                )
            ],
        )

    @classmethod
    def execute(cls, **inputs):
        raise NotImplementedError("being built")
