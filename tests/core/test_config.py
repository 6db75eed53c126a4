"""Configurations go to JSON and back, and say in a sentence what is wrong with one that cannot be."""

import json
from dataclasses import replace

import pytest

from byav_core.config import (
    PRESETS,
    ModelConfig,
    PatchAutoencoderConfig,
    VideoAutoencoderConfig,
    paper,
    released,
    tiny,
)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_json(name):
    assert ModelConfig.from_json(PRESETS[name]().to_json()) == PRESETS[name]()


def test_a_whole_number_may_be_written_with_or_without_a_fraction():
    config = replace(tiny(), fps=25.0)
    values = json.loads(config.to_json()) | {"fps": 25}
    values["transformer"]["num_layers"] = float(config.transformer.num_layers)
    read = ModelConfig.from_json(json.dumps(values))
    assert read == config
    assert (type(read.fps), type(read.transformer.num_layers)) == (float, int)


@pytest.mark.parametrize("video", [VideoAutoencoderConfig(layers_per_block=2), PatchAutoencoderConfig(patch=4)])
def test_the_kind_of_autoencoder_is_told_by_its_fields(video):
    config = replace(
        paper(),
        video=replace(video, latent_channels=16, temporal_compression_ratio=2),
        speech_projector=replace(paper().speech_projector, halvings=1),
    )
    read = ModelConfig.from_json(config.to_json())
    assert read == config and type(read.video) is type(video)


def test_a_field_of_the_other_autoencoder_is_unknown():
    values = json.loads(tiny().to_json())
    values["video"]["norm_num_groups"] = 4
    with pytest.raises(ValueError, match=r"config.video has unknown fields \['norm_num_groups'\]; known are"):
        ModelConfig.from_json(json.dumps(values))


@pytest.mark.parametrize(
    "path, value, sentence",
    [
        ("fps", "fast", "config.fps is 'fast'; expected float"),
        ("fps", True, "config.fps is True; expected float"),
        ("router", 5, "config.router should be an object with named fields, got 5"),
        ("router.head", "hard", "config.router.head is 'hard'; expected softmax or sigmoid"),
        ("router.mask_layer", "first", "config.router.mask_layer is 'first'; expected int or NoneType"),
        ("router.table_extent", [13, 30], "config.router.table_extent is [13, 30]; expected (int, int, int)"),
        ("router.table_extent", [13, 30, "w"], "config.router.table_extent[2] is 'w'; expected int"),
        ("transformer.num_layers", 4.5, "config.transformer.num_layers is 4.5; expected int"),
        ("transformer.num_layers", float("inf"), "config.transformer.num_layers is inf; expected int"),
        ("transformer.use_learned_positional_embeddings", 1, "expected bool"),
        ("transformer.layers", 4, "config.transformer has unknown fields ['layers']; known are"),
        ("transformer.face_interval", 0, "cannot be built with {'face_interval': 0}"),
        ("router.attention_heads", 0, "RouterConfig cannot be built with {'attention_heads': 0}"),
        ("face_extractor.depth", -1, "FaceExtractorConfig cannot be built with {'depth': -1}"),
        ("fps", 0, "fps is 0.0; give frames per second"),
        ("transformer.face_dim", 81, "transformer.face_dim is 81 but face_extractor.output_dim is 80"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(path, value, sentence):
    values = json.loads(tiny().to_json())
    *parents, name = path.split(".")
    holder = values
    for parent in parents:
        holder = holder[parent]
    holder[name] = value
    with pytest.raises(ValueError) as error:
        ModelConfig.from_json(json.dumps(values))
    assert sentence in str(error.value)


def test_an_incomplete_configuration_says_what_is_missing():
    with pytest.raises(ValueError, match="config is incomplete: .*'transformer'"):
        ModelConfig.from_json('{"name": "half"}')


def test_what_is_not_json_is_said_to_be_none():
    with pytest.raises(ValueError, match="not JSON"):
        ModelConfig.from_json("{name: tiny}")


def test_parts_that_do_not_meet_are_all_named_at_once():
    config = tiny()
    with pytest.raises(ValueError, match="text_embed_dim is 7 .*; transformer.audio_dim is 9 "):
        replace(config, transformer=replace(config.transformer, text_embed_dim=7, audio_dim=9))


def test_the_released_dialect_differs_from_the_paper_in_the_router_only():
    theirs = replace(released(), name="paper", trained="untrained", router=paper().router)
    assert theirs == paper()
    assert released().router != paper().router
