"""The tiny released model, number for number, at every place it was tapped."""

from dataclasses import replace

import pytest
import torch

pytestmark = pytest.mark.usefixtures("no_grad")


def test_with_the_router(released, agree):
    agree(released.run(released.conditioning(), released.routed()), released.outputs["A_router.sample"])


def test_with_the_masks_that_the_released_router_found(released, agree):
    agree(released.run(released.conditioning(), released.router_masks()), released.outputs["A_router.sample"])


@pytest.mark.parametrize("vector", ["B_forced", "B2_forced_timemax"])
def test_with_forced_masks(released, agree, vector):
    agree(released.run(released.conditioning(), released.forced_masks()), released.outputs[f"{vector}.sample"])


def test_with_the_audio_character_matrix_swapped(released, agree):
    told = released.conditioning()
    swapped = replace(told, audio_to_character=1 - told.audio_to_character)
    agree(released.run(swapped, released.routed()), released.outputs["C_af_swapped.sample"])


def test_without_audio(released, agree):
    told = released.conditioning()
    silent = replace(told, speech=told.speech[:, :0], audio_to_character=told.audio_to_character[:, :0])
    agree(released.run(silent, released.routed()), released.outputs["D_no_audio.sample"])


def test_face_tokens(released, agree):
    characters = released.characters()
    for i in range(2):
        agree(characters[:, i], released.taps[f"tap.local_facial_extractor#{i}.0"])


def test_speech_tokens(released, agree):
    agree(released.projector(released.windows()), released.taps["tap.audio_model.audio_proj_model#0.0"])


def test_queries_and_keys_handed_to_the_router(released, agree):
    masks = released.router_masks()
    released.run(released.conditioning(), masks)
    for layer, (q, k) in masks.asked.items():
        for row in range(2):
            tap = f"tap.perceiver_cross_attention.{layer}#{row}."
            agree(q[row].expand(2, *q[row].shape), released.taps[tap + "2"])
            agree(k[row], released.taps[tap + "3"])
            agree(q[row] / q.shape[-1] ** 0.5 @ k[row].mT, released.taps[tap + "1"])


def each_alone(attention, q, k, v):
    """The features of each group of keys by itself: as many batch rows as groups, each with a mask of ones."""
    n = k.shape[1]
    ones = q.new_ones(n, 1, q.shape[2])
    return attention(q.expand(n, -1, -1, -1), k.transpose(0, 1), v.transpose(0, 1), ones)


def test_features_of_each_character(released, agree):
    masks = released.router_masks()
    released.run(released.conditioning(), masks)
    bound = released.transformer.project(released.conditioning())
    for layer, (q, _) in masks.asked.items():
        k, v = bound.face[layer]
        face = released.transformer.transformer_blocks[2 * layer].face
        for row in range(2):
            features = each_alone(face, q[row : row + 1], k[row : row + 1], v[row : row + 1])
            agree(features, released.taps[f"tap.perceiver_cross_attention.{layer}#{row}.0"])


def test_features_of_each_stream(released, agree):
    seen = {}
    for layer, block in enumerate(released.transformer.transformer_blocks):
        block.audio.register_forward_pre_hook(lambda _, inputs, layer=layer: seen.update({layer: inputs}))
    released.run(released.conditioning(), released.router_masks())
    for layer, (q, k, v, _) in seen.items():
        audio = released.transformer.transformer_blocks[layer].audio
        for row in range(2):
            features = each_alone(audio, q[row : row + 1], k[row : row + 1], v[row : row + 1])
            agree(features, released.taps[f"tap.audio_model#{2 * layer + row}.0"])


def test_embeddings_and_joint_attention_of_every_block(released, agree):
    """The taps end a block before its face and audio attention; ours begin there."""
    seen = {}

    def after(name):
        return lambda module, inputs, output: seen.setdefault(name, output)

    model = released.transformer
    for name in ("patch_embed", "time_embedding", "norm_out"):
        model.get_submodule(name).register_forward_hook(after(name))
    model.norm_final.register_forward_hook(after("norm_final"))
    for layer, block in enumerate(model.transformer_blocks):
        first = block.face.norm2 if block.face is not None else block.audio.norm_q
        first.register_forward_pre_hook(lambda module, inputs, layer=layer: seen.setdefault(layer, inputs[0]))
    released.run(released.conditioning(), released.router_masks())

    for name in ("patch_embed", "time_embedding", "norm_out"):
        agree(seen[name], released.taps[f"tap.{name}#0.0"])
    agree(seen["norm_final"], released.taps["tap.norm_final#0.0"][:, 6:])
    for layer in range(4):
        agree(seen[layer], released.taps[f"tap.transformer_blocks.{layer}#0.0"])


def test_rotary_positions(released, agree):
    grid = released.transformer.grid(released.inputs["hidden_states"])
    cos, sin = released.transformer.rotary(grid, torch.device("cpu"))
    agree(cos, released.inputs["rope_cos"])
    agree(sin, released.inputs["rope_sin"])
