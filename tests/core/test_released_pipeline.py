"""The released pipeline on its tiny model, number for number: from inputs and a seed to latents, from them to video."""

import json
from dataclasses import replace

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file

from byav_core.checkpoints.names import released_name
from byav_core.config import (
    FaceEncoderConfig,
    FaceExtractorConfig,
    ModelConfig,
    RouterConfig,
    SpeechEncoderConfig,
    SpeechProjectorConfig,
    TextConfig,
    TransformerConfig,
    VideoAutoencoderConfig,
)
from byav_core.encoders.video_vae import VideoVae
from byav_core.model.speech_projector import windows
from byav_core.network import Models, Network
from byav_core.pipeline import Joint, Prompt, SamplingSettings, condition, decode, plan_routing, prepare_scene, sample
from byav_core.routing import FixedMask
from byav_core.types import Character, FaceFeatures

SCALE = 7.0  # not in the recording; follows from its first step, where x0 = -v
RUNS = ["P1_inpaint_router", "P2_no_inpaint", "P3_forced"]


def close(ours, theirs, tolerance=1e-5):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


@pytest.fixture(scope="module")
def recorded(vectors):
    return {
        **load_file(vectors / "tiny_pipeline.inputs.safetensors"),
        **load_file(vectors / "tiny_pipeline.outputs.safetensors"),
    }


def released_config(described, autoencoder):
    t, face, audio, speech = (described[name] for name in ("transformer", "lfe", "audio", "audio_proj"))
    same = set(TransformerConfig.__dataclass_fields__) & set(t)
    vae = {key: tuple(v) if isinstance(v, list) else v for key, v in autoencoder.items()}
    return ModelConfig(
        name="released, tiny",
        transformer=TransformerConfig(
            **{name: t[name] for name in same},
            face_interval=t["cross_attn_interval"],
            face_heads=described["perceiver"]["heads"],
            face_head_dim=described["perceiver"]["dim_head"],
            face_dim=face["output_dim"],
            audio_interval=t["audio_attn_interval"],
            audio_heads=audio["num_attention_heads"],
            audio_head_dim=audio["attention_head_dim"],
            audio_dim=audio["audio_dim"],
        ),
        face_extractor=FaceExtractorConfig(
            identity_dim=described["id_dim"],
            feature_dim=described["vit_dim"],
            dim=face["dim"],
            depth=face["depth"],
            heads=face["heads"],
            head_dim=face["dim_head"],
            identity_tokens=face["num_id_token"],
            queries=face["num_queries"],
            output_dim=face["output_dim"],
            ff_mult=face["ff_mult"],
        ),
        speech_projector=SpeechProjectorConfig(
            layers=speech["blocks"],
            channels=speech["channels"],
            window=speech["seq_len"],
            hidden_dim=speech["intermediate_dim"],
            tokens=speech["context_tokens"],
            output_dim=speech["output_dim"],
        ),
        router=RouterConfig(
            heads=described["router"]["num_heads"],
            head_dim=described["perceiver"]["dim_head"],
            face_tokens=described["router"]["num_id_token"],
            head="sigmoid",
            positions="table",
            table_extent=tuple(described["grid"].values()),
            rasterize="released",
        ),
        text=TextConfig(d_model=t["text_embed_dim"]),
        video=VideoAutoencoderConfig(**{key: vae[key] for key in VideoAutoencoderConfig.__dataclass_fields__}),
        face=FaceEncoderConfig(width=described["vit_dim"], recognition_dim=12, embed_dim=8),
        speech=SpeechEncoderConfig(hidden_size=speech["channels"], num_hidden_layers=speech["blocks"]),
    )


@pytest.fixture(scope="module")
def models(vectors, recipe):
    from diffusers import AutoencoderKLCogVideoX

    described = json.loads((vectors / "tiny_transformer.config.json").read_text())
    autoencoder = json.loads((vectors / "tiny_pipeline.config.json").read_text())["vae"]
    config = released_config(described, autoencoder)
    buffers = load_file(vectors / "tiny_transformer.buffers.safetensors")
    released = recipe.state_dict(described["seed"], described["state_dict_shapes"], buffers)
    network = Network(config).eval()
    network.load_state_dict({key: released[released_name(key, config.transformer)] for key in network.state_dict()})
    vae = AutoencoderKLCogVideoX(**autoencoder)
    vae.load_state_dict(load_file(vectors / "tiny_pipeline.vae_state_dict.safetensors"))
    return Models(config, network, lambda prompt: torch.zeros(1, 6, 12), VideoVae(config.video, vae))


def picture(pixels):
    return rearrange(pixels, "h w c -> c h w") / 255


def squeezed(frame):
    """The release presses the first frame to the video's size, by Pillow's Lanczos."""
    from diffusers.video_processor import VideoProcessor
    from torchvision.transforms.functional import to_pil_image

    return VideoProcessor(do_normalize=False).preprocess(to_pil_image(frame), height=64, width=112)[0]


def cast(recorded):
    def features(i):
        hidden = tuple(recorded[f"id_vit_hidden.{i}.{scale}"][0] for scale in range(5))
        return FaceFeatures(recorded[f"id_cond.{i}"][0], hidden, torch.ones(3, 32, 32))

    return tuple(Character(name, torch.ones(3, 32, 32), features(i)) for i, name in enumerate(("Anna", "Ben")))


@torch.no_grad()
def conditions(models, recorded, clip):
    """As the release has them: its canvas as recorded, and its speech from the first row on, not centred on it."""
    prompt = Prompt(recorded["prompt_embeds"], recorded["negative_prompt_embeds"])
    told = condition(models, prompt, cast(recorded), (), None, clip)
    heard = torch.stack([windows(hidden, 2, clip.frames) for hidden in recorded["audio_embs"][0]])
    return replace(
        told,
        speech=models.network.speech_projector(heard)[None],
        no_speech=told.no_speech.expand(1, 2, -1, -1, -1),
        audio_to_character=recorded["af_matrix"],
        canvas=picture(recorded["ref_image_u8"]),
    )


def routing(run, models, scene, recorded):
    if run != "P3_forced":
        return plan_routing("intra", models, scene, cast(recorded))
    given = rearrange(recorded["forced"], "1 (t p) n -> 1 n t p", t=scene.grid.t)
    once_is_always = given.amax(dim=2, keepdim=True).expand_as(given)
    return FixedMask(rearrange(once_is_always, "1 n t p -> 1 n (t p)"))


@pytest.mark.parametrize("run", RUNS)
def test_seed_and_inputs_give_the_released_latents(models, recorded, run):
    frame = None if run == "P2_no_inpaint" else squeezed(picture(recorded["bg_image_u8"]))
    scene = prepare_scene(models.config, 112, 64, 9, frame)
    latents = []

    sample(
        models,
        scene,
        conditions(models, recorded, scene.clip),
        routing(run, models, scene, recorded),
        SamplingSettings(seed=42, steps=3, guidance=Joint(SCALE)),
        on_step=lambda report: latents.append(report.latents),
    )

    for step, ours in enumerate(latents):
        close(ours, recorded[f"{run}.latents_after_step{step}"])


@pytest.mark.parametrize("run", RUNS)
def test_the_released_latents_decode_to_the_released_video(models, recorded, run):
    frames = decode(models, recorded[f"{run}.latents_after_step2"])
    close(rearrange(frames[:, :, ::4, ::4], "f c h w -> 1 f h w c"), recorded[f"{run}.video_every_4th_pixel"])
