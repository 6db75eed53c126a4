"""Load Model, Load Face Encoder, Load Audio Encoder."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from . import files, runtime, sockets
from .host_models import HostTextEncoder, HostVideoAutoencoder
from .sockets import schema

if TYPE_CHECKING:
    import torch

    from ..byav_core.config import ModelConfig
    from ..byav_core.network import Models


class LoadModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            "BYAV_LoadModel",
            "loaders",
            display_name="Load Bind-Your-Avatar Model",
            description="Loads the video model with its face extractor, speech projector and router, text encoder and "
            "video autoencoder. The built-in tiny model needs no download. It belongs to a drawn world of cartoon "
            "people at 96 x 64 and knows the words of that world only, so give it drawn faces, such as the examples; "
            "every output says how far it is trained.",
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
                sockets.advanced(
                    io.Combo.Input(
                        "companions",
                        display_name="text encoder and VAE",
                        options=files.companion_choices(),
                        default=files.BESIDE,
                        optional=True,
                        tooltip="Where text_encoder, tokenizer and vae lie: beside the weights, or in a CogVideoX "
                        "folder in models/byav or models/diffusers.",
                    )
                ),
            ],
            outputs=[sockets.Model.Output("model_out", display_name="model", tooltip="The model.")],
        )

    @classmethod
    def validate_inputs(cls, model=None, companions=None):
        found = files.check_choice(model, files.model_choices(), *files.MODEL_KEYS)
        return files.check_choice(companions, files.companion_choices(), *files.FOLDER_KEYS) if found is True else found

    @classmethod
    def fingerprint_inputs(cls, model=None, companions=None, **_):
        weights = files.fingerprint(model, *files.MODEL_KEYS) if model else ()
        return weights, files.fingerprint(companions, *files.FOLDER_KEYS) if companions else ()

    @classmethod
    def execute(cls, model, precision="auto", vae=None, clip=None, companions=files.BESIDE):
        with runtime.told_what_to_install():
            models = load(model, runtime.precision(precision), companions, vae, clip)
        return io.NodeOutput(sockets.LoadedModel(model, models, patchers_of(models)))


class LoadFaceEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            "BYAV_LoadFaceEncoder",
            "loaders",
            display_name="Load Face Encoder",
            description="Loads what looks at reference faces: face recognition and the CLIP image encoder. It must "
            "belong to the model: the built-in tiny encoder to the tiny model, the released one to the released model. "
            "The released one looks for the face in a picture; the tiny one looks at the whole picture, a drawn "
            "portrait, and finds people in a scene by laying their portraits over it.",
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
    def validate_inputs(cls, face_encoder=None):
        return files.check_choice(face_encoder, files.face_encoder_choices(), files.KEY)

    @classmethod
    def fingerprint_inputs(cls, face_encoder=None):
        return files.fingerprint(face_encoder, files.KEY) if face_encoder else ()

    @classmethod
    def execute(cls, face_encoder):
        with runtime.told_what_to_install():
            from ..byav_core.encoders.face_insight_clip import load_face_encoder

            encoder = load_face_encoder(place_of(face_encoder, files.KEY), config_for(face_encoder).face)
        return io.NodeOutput(sockets.LoadedEncoder(face_encoder, encoder, (runtime.hold(encoder.modules),)))


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
    def validate_inputs(cls, audio_encoder=None):
        return files.check_choice(audio_encoder, files.audio_encoder_choices(), *files.AUDIO_KEYS)

    @classmethod
    def fingerprint_inputs(cls, audio_encoder=None):
        return files.fingerprint(audio_encoder, *files.AUDIO_KEYS) if audio_encoder else ()

    @classmethod
    def execute(cls, audio_encoder):
        config = config_for(audio_encoder)
        with runtime.told_what_to_install():
            from ..byav_core.encoders.speech_wav2vec import load_speech_encoder

            encoder = load_speech_encoder(place_of(audio_encoder, *files.AUDIO_KEYS), config.speech)
        patchers = (runtime.hold(encoder.modules),)
        return io.NodeOutput(sockets.LoadedEncoder(audio_encoder, encoder, patchers, config.fps))


def load(choice: str, dtype: torch.dtype, companions: str, vae: Any, clip: Any) -> Models:
    """The model behind a menu entry; ComfyUI's own VAE and text encoder take the place of the model's."""
    from ..byav_core.checkpoints.load import load_models, load_network

    path = place_of(choice, *files.MODEL_KEYS)
    if vae is None or clip is None or files.is_tiny(choice):
        beside = None if companions == files.BESIDE else files.locate(companions, *files.FOLDER_KEYS)
        models = load_models(path, companions=beside, dtype=dtype)
    else:
        network = load_network(path, dtype=dtype)
        models = SimpleNamespace(config=network.config, network=network, text=None, video=None)
    return with_host_models(models, vae, clip)


def with_host_models(models: Models | SimpleNamespace, vae: Any, clip: Any) -> Models:
    from ..byav_core.network import Models

    config = models.config
    video, text = models.video, models.text
    if vae is not None:
        video = HostVideoAutoencoder(vae, config.video.latent_channels, config.video.scaling_factor)
    if clip is not None:
        text = HostTextEncoder(clip, config.transformer.max_text_seq_length, config.text.d_model)
    return Models(config, models.network, text, video)


def patchers_of(models: Models) -> dict[str, Any]:
    """What moves together: the network of the loop, what is used before it, text encoder, video autoencoder."""
    network = models.network
    patchers = {
        "network": runtime.hold([network.transformer, network.router], in_parts=True),
        "conditioners": runtime.hold([network.face_extractor, network.speech_projector]),
    }
    if not isinstance(models.text, HostTextEncoder):
        patchers["text"] = runtime.hold([models.text.module], "text_encoder")
    if not isinstance(models.video, HostVideoAutoencoder):
        patchers["video"] = runtime.hold([models.video.module], "vae")
    return patchers


def place_of(choice: str, *keys: str) -> str | Path:
    return "tiny" if files.is_tiny(choice) else files.locate(choice, *keys)


def config_for(choice: str) -> ModelConfig:
    """Encoders belong to a dialect: the built-in ones to tiny(), those from files to the released model."""
    from ..byav_core.config import released, tiny

    return tiny() if files.is_tiny(choice) else released()
