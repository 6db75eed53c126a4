import json
from dataclasses import asdict, replace

import pytest
import torch

from byav_core.checkpoints.fit import CheckpointError
from byav_core.checkpoints.infer import infer_config
from byav_core.checkpoints.names import to_released
from byav_core.config import ModelConfig, released
from byav_core.network import Network


def shapes_of(config: ModelConfig) -> dict[str, torch.Tensor]:
    return to_released(Network.on_meta(config).state_dict(), config.transformer)


@pytest.fixture
def infer(tmp_path):
    """Infers from tensors and what the config.json files of some folders say."""

    def run(tensors, **stated) -> ModelConfig:
        for folder, content in stated.items():
            name = "scheduler_config.json" if folder == "scheduler" else "config.json"
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return infer_config(released(), tmp_path, "transformer", tensors)

    return run


def test_the_full_size_released_model_is_recognised_from_its_shapes_alone(infer, full_shapes):
    tensors = {name: torch.empty(shape, device="meta") for name, shape in full_shapes.items()}
    assert infer(tensors) == released()


@pytest.mark.parametrize(
    "transformer",
    [
        dict(num_layers=7, face_interval=3),
        dict(num_layers=6, face_interval=1, audio_interval=2),
        dict(num_layers=2, num_attention_heads=5, attention_head_dim=32, audio_heads=5, audio_head_dim=16),
        dict(num_layers=2, time_embed_dim=96, use_learned_positional_embeddings=False),
    ],
)
def test_other_extents_are_recognised_from_shapes(infer, transformer):
    config = replace(released(), transformer=replace(released().transformer, **transformer))
    assert infer(shapes_of(config)) == config


@pytest.mark.parametrize(("layers", "interval"), [(4, 3), (5, 4), (5, 3), (6, 5)])
def test_where_the_number_of_face_layers_leaves_a_choice_the_stated_interval_counts(infer, layers, interval):
    config = replace(released(), transformer=replace(released().transformer, num_layers=layers, face_interval=interval))
    stated = {"cross_attn_interval": interval}
    assert infer(shapes_of(config), transformer=stated).transformer.face_interval == interval


def test_a_stated_interval_that_contradicts_the_weights_does_not_count(infer):
    config = replace(released(), transformer=replace(released().transformer, num_layers=6, face_interval=2))
    assert infer(shapes_of(config), transformer={"cross_attn_interval": 1}) == config


def test_parts_beside_the_transformer_are_recognised_from_shapes(infer):
    base = released()
    config = replace(
        base,
        transformer=replace(base.transformer, num_layers=3, face_heads=6, face_head_dim=48, face_dim=96, audio_dim=40),
        face_extractor=replace(
            base.face_extractor, dim=192, heads=3, identity_tokens=7, queries=12, output_dim=96, ff_mult=3
        ),
        speech_projector=replace(base.speech_projector, hidden_dim=56, tokens=6, output_dim=40),
        router=replace(
            base.router, heads=6, head_dim=48, face_tokens=12, depth=2, attention_heads=8, table_extent=(4, 9, 5)
        ),
    )
    assert infer(shapes_of(config)) == config


def test_what_shapes_cannot_tell_is_read_from_the_config_files(infer, full_shapes):
    tensors = {name: torch.empty(shape, device="meta") for name, shape in full_shapes.items()}
    config = infer(
        tensors,
        transformer={"sample_frames": 81, "in_channels": 32, "LFE_num_heads": 32, "LFE_dim_head": 32, "other": [1]},
        vae={"scaling_factor": 1.15258426, "block_out_channels": [64, 128, 128, 256], "_class_name": "Autoencoder"},
        scheduler={"snr_shift_scale": 3.0, "timestep_spacing": "leading"},
        text_encoder={"num_layers": 12},
    )
    assert config.transformer == replace(released().transformer, sample_frames=81)
    assert (config.face_extractor.heads, config.face_extractor.head_dim) == (32, 32)
    assert config.video.block_out_channels == (64, 128, 128, 256) and config.video.scaling_factor == 1.15258426
    assert (config.schedule.snr_shift_scale, config.schedule.timestep_spacing) == (3.0, "leading")
    assert config.text == replace(released().text, num_layers=12)


def test_a_stated_interval_that_the_weights_contradict_is_not_believed(infer):
    config = replace(released(), transformer=replace(released().transformer, num_layers=6, face_interval=2))
    assert infer(shapes_of(config), transformer={"cross_attn_interval": 1}) == config


def test_with_a_name_missing_the_rest_still_says_enough(infer):
    config = replace(released(), transformer=replace(released().transformer, num_layers=2))
    for lost in ("patch_embed.proj.weight", "proj_out.weight", "local_facial_extractor.latents"):
        tensors = shapes_of(config)
        del tensors[lost]
        assert infer(tensors).transformer.num_layers == 2


@pytest.mark.parametrize(
    "stated, sentence",
    [
        ({"transformer": "{num_layers"}, "config.json is not JSON"),
        ({"transformer": "[1, 2]"}, "should hold an object with named fields, got list"),
        ({"transformer": {"num_layers": "42"}}, "TransformerConfig.num_layers is '42'; expected int"),
        ({"transformer": {"patch_size_t": 2}}, "says patch_size_t = 2, but only None can be loaded"),
        ({"transformer": {"use_rotary_positional_embeddings": False}}, "another kind of model"),
        ({"transformer": {"num_layers": 9}}, "4 audio cross-attentions cannot be spread evenly over 9 blocks"),
        ({"transformer": {"cross_attn_interval": "2"}}, "TransformerConfig.face_interval is '2'; expected int"),
        ({"transformer": {"cross_attn_interval": 0}}, "cannot be built with {'face_interval': 0}"),
        ({"vae": {"latent_channels": 4}}, "transformer.in_channels is 48 but 3 x video.latent_channels is 12"),
        ({"text_encoder": {"d_model": 1024}}, "transformer.text_embed_dim is 4096 but text.d_model is 1024"),
    ],
)
def test_a_wrong_config_file_has_its_sentence(infer, stated, sentence):
    config = replace(released(), transformer=replace(released().transformer, num_layers=4))
    with pytest.raises(CheckpointError) as error:
        infer(shapes_of(config), **stated)
    assert sentence in str(error.value)


def test_our_own_fields_in_a_config_file_are_believed(infer):
    config = replace(
        released(), transformer=replace(released().transformer, num_layers=2, audio_heads=24, audio_head_dim=128)
    )
    assert infer(shapes_of(config), transformer=asdict(config.transformer)).transformer.audio_heads == 24
