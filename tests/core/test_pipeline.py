"""The flow from portraits and voices to video on the tiny model, whose untrained weights obey the same laws."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from byav_core.checkpoints.load import load_models
from byav_core.encoders.face_insight_clip import load_face_encoder
from byav_core.encoders.matte import EllipseMatte
from byav_core.encoders.speech_wav2vec import load_speech_encoder
from byav_core.matrix import AudioCharacterMatrix, from_table, one_to_one, swapped
from byav_core.perception.face_finder import CenterFaceFinder
from byav_core.perception.locator import FaceLocator
from byav_core.perception.segmenter import FaceTracks
from byav_core.pipeline import (
    Joint,
    Perception,
    Request,
    SamplingSettings,
    Separate,
    add_character,
    add_speech,
    coarse_video,
    condition,
    decode,
    encode_prompt,
    generate,
    masks_to_frames,
    matrix_values,
    mix,
    plan_routing,
    prepare_scene,
    probe_masks,
    sample,
)
from byav_core.routing import FixedMask
from byav_core.types import Audio, Clip, SpeechStream

WIDTH, HEIGHT, FRAMES = 48, 32, 9
NAMES = ("anna", "ben", "carla")


@pytest.fixture(scope="module")
def models():
    return load_models("tiny")


@pytest.fixture(scope="module")
def perception(models):
    small = load_face_encoder("tiny", models.config.face)
    face = replace(small, find=CenterFaceFinder(), matte=EllipseMatte())  # for photographs
    locator = FaceLocator(face.find, face.recognise)
    return Perception(face, load_speech_encoder("tiny", models.config.speech), locator, FaceTracks(locator))


@pytest.fixture(scope="module")
def faces(real_inputs):
    pictures = real_inputs.pictures()
    return {name: torch.from_numpy(picture).permute(2, 0, 1) / 255 for name, picture in pictures.items()}


@pytest.fixture(scope="module")
def voices(real_inputs):
    """Two seconds of each, from where they begin to speak."""
    return {name: voice(*real_inputs.speech(name)) for name in NAMES}


def voice(samples: np.ndarray, rate: int) -> Audio:
    first = int((np.abs(samples) > 0.05).argmax())
    return Audio(torch.from_numpy(samples[first : first + 2 * rate].copy()), rate)


@pytest.fixture(scope="module")
def cast(faces, perception):
    everyone = ()
    for name in NAMES:
        everyone = add_character(everyone, name, faces[name], perception.face_encoder)
    return everyone


@pytest.fixture(scope="module")
def streams(voices, perception, models):
    everyone = ()
    for name in NAMES:
        everyone = add_speech(everyone, f"voice of {name}", voices[name], perception.speech_encoder, models.config.fps)
    return everyone


@pytest.fixture(scope="module")
def prompt(models):
    return encode_prompt(models.text, "two people talk", "dark")


@pytest.fixture(scope="module")
def scene(models):
    return prepare_scene(models.config, WIDTH, HEIGHT, FRAMES)


@pytest.fixture(scope="module")
def told(models, prompt, cast, streams, scene):
    """Conditions for the first n characters and m streams."""

    def conditions(n=2, m=None, matrix=None, clip=None):
        return condition(models, prompt, cast[:n], streams[: n if m is None else m], matrix, clip or scene.clip)

    return conditions


def quick(**changes):
    return replace(SamplingSettings(seed=1, steps=3), **changes)


def left_and_right(n, grid, exchanged=False):
    """Character i owns the i-th vertical stripe, or, exchanged, the i-th from the right."""
    columns = torch.arange(grid.w) * n // grid.w
    masks = (columns == torch.arange(n)[:, None]).float()
    masks = masks.flip(0) if exchanged else masks
    return FixedMask(masks[:, None, None].expand(n, grid.t, grid.h, grid.w).reshape(1, n, -1).contiguous())


# The cast, the voices and the scene


def test_a_cast_grows_in_order_and_keeps_names_apart(cast, faces, perception):
    assert [character.name for character in cast] == list(NAMES)
    with pytest.raises(ValueError, match="a character named anna already"):
        add_character(cast, "anna", faces["ben"], perception.face_encoder)
    with pytest.raises(ValueError, match="needs a name"):
        add_character(cast, "  ", faces["ben"], perception.face_encoder)


def test_a_picture_without_a_face_is_named_and_used_whole(perception):
    with pytest.warns(UserWarning, match="the picture of Wall"):
        (wall,) = add_character((), "Wall", torch.full((3, 80, 80), 0.4), perception.face_encoder)
    assert not wall.features.found


def test_voices_keep_their_names_apart(streams, voices, perception):
    with pytest.raises(ValueError, match="a voice named voice of ben already"):
        add_speech(streams, "voice of ben", voices["ben"], perception.speech_encoder, 25.0)


@pytest.mark.parametrize(
    ("audio", "sentence"),
    [
        (Audio(torch.zeros(0), 16000), "the sound of Anna is empty"),
        (Audio(torch.tensor([0.1, math.nan]), 16000), "1 of 2 samples of the sound of Anna are NaN"),
    ],
)
def test_sound_that_is_none_is_refused_by_name(audio, sentence, perception):
    with pytest.raises(ValueError, match=sentence):
        add_speech((), "Anna", audio, perception.speech_encoder, 25.0)


@pytest.mark.parametrize("start", [-0.1, math.inf, math.nan])
def test_an_impossible_start_is_refused(start, voices, perception):
    with pytest.raises(ValueError, match="cannot start to speak"):
        add_speech((), "Anna", voices["anna"], perception.speech_encoder, 25.0, start)


@pytest.mark.parametrize("start", [0.0, 0.08, 0.3, 0.5])
def test_a_late_voice_is_silent_first_and_says_the_same_then(start, voices, perception):
    (now,) = add_speech((), "Anna", voices["anna"], perception.speech_encoder, 25.0)
    (late,) = add_speech((), "Anna", voices["anna"], perception.speech_encoder, 25.0, start)
    before = math.floor(start * 25 + 1e-6)
    assert late.audio.seconds == pytest.approx(now.audio.seconds + start, abs=1e-4)
    assert torch.equal(late.hidden[:before], late.silence.expand(before, -1, -1))
    if start * 25 == before:
        assert torch.equal(late.hidden[before:], now.hidden)
    assert len(late.hidden) == late.audio.rows(25.0)


def test_loudness_changes_what_people_hear_and_not_what_the_network_hears(voices, perception):
    (kept,) = add_speech((), "Anna", voices["anna"], perception.speech_encoder, 25.0)
    (loud,) = add_speech((), "Anna", voices["anna"], perception.speech_encoder, 25.0, loudness_db=-12.0)
    assert torch.equal(kept.hidden, loud.hidden)
    assert loud.audio.waveform.square().mean().sqrt() == pytest.approx(10 ** (-12 / 20), rel=1e-3)


@pytest.mark.parametrize("rate", [8000, 44100])
@pytest.mark.parametrize("seconds", [0.01, 0.5])
def test_voices_of_any_rate_and_length_condition_a_clip(rate, seconds, models, prompt, cast, scene, perception):
    tone = Audio(torch.sin(torch.arange(round(rate * seconds)) / rate * 1000), rate)
    streams = add_speech((), "tone", tone, perception.speech_encoder, models.config.fps)
    conditions = condition(models, prompt, cast[:1], streams, None, scene.clip)
    assert conditions.speech.shape[:3] == (1, 1, scene.grid.t)
    assert torch.isfinite(conditions.speech).all()


@pytest.mark.parametrize(
    ("extent", "sentence"),
    [((50, 32, 9), "use 48"), ((48, 36, 9), "use 32"), ((48, 32, 10), "use 9"), ((48, 0, 9), "use 8")],
)
def test_a_clip_the_model_cannot_hold_is_refused_with_the_nearest_it_can(models, extent, sentence):
    with pytest.raises(ValueError, match=sentence):
        prepare_scene(models.config, *extent)


def test_a_first_frame_is_fitted_and_it_is_said(models, faces):
    prepared = prepare_scene(models.config, WIDTH, HEIGHT, FRAMES, faces["anna"], "pad")
    assert prepared.inpainting_frame.shape == (3, HEIGHT, WIDTH)
    assert "200x240" in prepared.note and "black bars" in prepared.note


def test_noise_hides_the_faces_of_the_first_frame_and_leaves_the_rest(models, faces, perception, cast):
    scene = prepare_scene(models.config, 240, 160, FRAMES, faces["together"])
    hidden = scene.with_noise_on_faces(perception.locator, cast[:2])
    changed = (hidden.frame_to_encode(5) != scene.frame_to_encode(5)).any(0)
    assert 0.05 < changed.float().mean() < 0.9
    assert not changed[hidden.faces == 0].any()
    assert torch.equal(hidden.frame_to_encode(5), hidden.frame_to_encode(5))
    assert not torch.equal(hidden.frame_to_encode(5), hidden.frame_to_encode(6))


def test_noise_on_faces_needs_a_first_frame(scene, perception, cast):
    with pytest.raises(ValueError, match="needs a first frame"):
        scene.with_noise_on_faces(perception.locator, cast)


# Speech on the clip's clock


def numbered(frames, silence=-1.0):
    """A stream whose hidden states are the number of their row."""
    rows = torch.arange(float(frames))[:, None, None].expand(frames, 3, 72)
    return SpeechStream("numbers", Audio(torch.zeros(frames), 25), rows, torch.full((3, 72), silence))


@pytest.fixture
def heard(models, prompt, cast):
    """The hidden states in the windows around each video frame, as they reach the speech projector."""

    def windows(stream, frames):
        seen = []
        hook = models.network.speech_projector.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        condition(models, prompt, cast[:1], (stream,), None, Clip(frames, HEIGHT, WIDTH, models.config.fps))
        hook.remove()
        return seen[0][0, :, :, 0, 0].tolist()

    return windows


def test_each_video_frame_hears_the_sound_around_it(heard):
    windows = heard(numbered(20), 9)
    assert [window[2] for window in windows] == list(range(9))
    assert windows[4] == [2, 3, 4, 5, 6]


def test_before_the_first_frame_there_is_silence(heard):
    assert heard(numbered(20), 9)[0] == [-1, -1, 0, 1, 2]


def test_a_longer_voice_is_heard_beyond_the_last_frame_and_a_shorter_one_falls_silent(heard):
    assert heard(numbered(20), 9)[-1] == [6, 7, 8, 9, 10]
    assert heard(numbered(6), 9)[-1] == [-1] * 5
    assert heard(numbered(6), 9)[4] == [2, 3, 4, 5, -1]


def test_streams_of_different_length_speak_together(models, prompt, cast, scene, streams):
    short, long = streams[0], streams[1]
    short = replace(short, hidden=short.hidden[:3])
    conditions = condition(models, prompt, cast[:2], (short, long), None, scene.clip)
    assert conditions.speech.shape[:3] == (1, 2, scene.grid.t)


def test_where_a_voice_has_ended_it_sounds_like_silence_more_than_like_zeros(models, prompt, cast, voices, perception):
    clip = Clip(25, HEIGHT, WIDTH, models.config.fps)

    def told(audio):
        stream = add_speech((), "a", audio, perception.speech_encoder, models.config.fps)
        return condition(models, prompt, cast[:1], stream, None, clip)

    ended = told(Audio(voices["anna"].waveform[:4410], 22050))
    silence = told(Audio(torch.zeros(3 * 22050), 22050)).speech
    after = slice(5, None)  # latent frames from 0.64 seconds on
    far = (ended.no_speech - silence)[:, :, after].abs().mean()
    assert (ended.speech - silence)[:, :, after].abs().mean() < far
    assert (ended.speech - silence)[:, :, 0].abs().mean() > 2 * (ended.speech - silence)[:, :, after].abs().mean()


@pytest.mark.parametrize("seconds", [0.1, 5.0])
def test_the_mix_lasts_exactly_as_long_as_the_clip(seconds):
    stream = SpeechStream("a", Audio(torch.ones(round(8000 * seconds)) * 0.1, 8000), torch.zeros(3, 3, 72))
    assert len(mix((stream,), Clip(49, 32, 48, 25.0)).waveform) == round(49 / 25 * 8000)


# The matrix


def test_a_matrix_finds_its_people_by_name(cast, streams):
    reversed_names = AudioCharacterMatrix(
        torch.tensor([[0.0, 1.0], [0.25, 0.0]]),
        (streams[1].name, streams[0].name),
        ("ben", "anna"),
    )
    assert matrix_values(reversed_names, streams[:2], cast[:2]).tolist() == [[0, 0.25], [1, 0]]


def test_a_matrix_for_other_people_is_refused_with_both_lists(cast, streams):
    matrix = one_to_one((streams[0].name,), ("Zoe",))
    with pytest.raises(ValueError, match="characters Zoe, but here are anna"):
        matrix_values(matrix, streams[:1], cast[:1])


def test_an_empty_cast_is_refused(models, prompt, streams, scene):
    with pytest.raises(ValueError, match="nobody in the cast"):
        condition(models, prompt, (), streams, None, scene.clip)


# Sampling


def test_the_same_seed_gives_the_same_latents_and_another_seed_others(models, scene, told):
    def latents(seed):
        masks = plan_routing("uniform", models, scene, ())
        return sample(models, scene, told(), masks, quick(seed=seed)).latents

    assert torch.equal(latents(1), latents(1))
    assert not torch.allclose(latents(1), latents(2), atol=0.1)


def test_a_seed_means_the_same_noise_with_and_without_a_first_frame(models, told, faces):
    noises = []
    hook = models.network.transformer.register_forward_pre_hook(
        lambda _, inputs: noises.append(inputs[0][:, :, : models.config.video.latent_channels])
    )
    for frame in (None, faces["anna"]):
        scene = prepare_scene(models.config, WIDTH, HEIGHT, FRAMES, frame)
        sample(models, scene, told(), plan_routing("uniform", models, scene, ()), quick(stop_at_step=1))
    hook.remove()
    assert torch.equal(noises[0], noises[-1])


@pytest.mark.parametrize("router", ["intra", "uniform"])
def test_swapping_the_matrix_changes_the_video(models, scene, cast, streams, told, router):
    masks = plan_routing(router, models, scene, cast[:2])
    names = tuple(stream.name for stream in streams[:2]), tuple(character.name for character in cast[:2])
    straight, crossed = (
        sample(models, scene, told(matrix=matrix(*names)), masks, quick()).latents for matrix in (one_to_one, swapped)
    )
    same = torch.allclose(straight, crossed, atol=1e-4)
    assert same == (router == "uniform")


@pytest.mark.parametrize("exchanged", [False, True])
@pytest.mark.parametrize("voice", [0, 1])
def test_a_voice_changes_mostly_the_side_of_its_character(models, scene, told, voice, exchanged):
    masks, half = left_and_right(2, scene.grid, exchanged), WIDTH // 16
    loud, quiet = told(), told()
    quiet.audio_to_character[:, voice] = 0
    changed = (
        sample(models, scene, loud, masks, quick(steps=4)).latents
        - sample(models, scene, quiet, masks, quick(steps=4)).latents
    ).abs()
    left, right = changed[..., :half].mean(), changed[..., half:].mean()
    own, other = (right, left) if (voice == 1) != exchanged else (left, right)
    assert own > 2 * other


def test_a_face_changes_mostly_the_side_of_its_character(models, scene, told):
    masks, half = left_and_right(2, scene.grid), WIDTH // 16
    told_before, told_after = told(), told()
    told_after.characters[:, 1] = told(n=3).characters[:, 2]
    changed = (
        sample(models, scene, told_before, masks, quick(steps=1)).latents
        - sample(models, scene, told_after, masks, quick(steps=1)).latents
    ).abs()
    assert changed[..., half:].mean() > 2 * changed[..., :half].mean()


def test_strength_zero_is_silence_and_one_changes_nothing(models, scene, told, cast, streams):
    masks = left_and_right(2, scene.grid)
    mute = from_table(
        f"{streams[0].name}: -", tuple(stream.name for stream in streams[:2]), tuple(c.name for c in cast[:2])
    )
    silent = sample(models, scene, told(matrix=mute), masks, quick()).latents
    assert torch.equal(silent, sample(models, scene, told(), masks, quick(strength=(0.0, 0.0))).latents)
    normal = sample(models, scene, told(), masks, quick()).latents
    assert torch.equal(normal, sample(models, scene, told(), masks, quick(strength=(1.0, 1.0))).latents)
    assert not torch.allclose(normal, silent, atol=1e-3)


def test_nobody_speaking_is_the_same_as_voices_that_belong_to_nobody(models, scene, told, cast, streams):
    masks = left_and_right(2, scene.grid)
    voices, people = tuple(stream.name for stream in streams[:2]), tuple(character.name for character in cast[:2])
    mute = AudioCharacterMatrix(torch.zeros(2, 2), voices, people)
    without = sample(models, scene, told(m=0), masks, quick()).latents
    torch.testing.assert_close(sample(models, scene, told(matrix=mute), masks, quick()).latents, without)


def test_a_strength_is_asked_for_each_character(models, scene, told):
    with pytest.raises(ValueError, match="3 audio strengths were given for 2 characters"):
        sample(models, scene, told(), left_and_right(2, scene.grid), quick(strength=(1.0, 1.0, 1.0)))


def test_no_face_or_voice_is_encoded_once_sampling_has_begun(models, scene, told):
    conditions, called = told(), []
    parts = (models.network.face_extractor, models.network.speech_projector)
    hooks = [part.register_forward_hook(lambda *_: called.append(1)) for part in parts]
    sample(models, scene, conditions, left_and_right(2, scene.grid), quick())
    for hook in hooks:
        hook.remove()
    assert not called


@pytest.mark.parametrize("scheduler", ["dpm", "ddim"])
@pytest.mark.parametrize("guidance", [Joint(1.0), Joint(4.0), Separate(3.0, 2.0)])
def test_every_scheduler_and_guidance_runs_to_the_end(models, scene, cast, told, scheduler, guidance):
    done = sample(
        models, scene, told(), plan_routing("intra", models, scene, cast[:2]),
        quick(scheduler=scheduler, guidance=guidance, audio_start=0.3, audio_end=0.7),
    )  # fmt: skip
    assert torch.isfinite(done.latents).all() and done.steps_done == 3
    assert done.masks.shape == (2, scene.grid.t, scene.grid.h, scene.grid.w)


def test_stopping_after_a_step_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="cannot stop after step 4 of 3"):
        quick(stop_at_step=4)


def test_a_probe_shows_masks_of_everybody(models, scene, cast, told):
    masks = probe_masks(models, scene, told(3), plan_routing("intra", models, scene, cast), quick())
    assert masks.shape == (3, scene.grid.t, scene.grid.h, scene.grid.w)
    assert masks.min() >= 0 and masks.max() <= 1


def test_cancelling_stops_inside_a_step(models, scene, told):
    asked = []

    def check():
        asked.append(1)
        if len(asked) == 6:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        sample(models, scene, told(), left_and_right(2, scene.grid), quick(), check_cancelled=check)
    assert not any(module._forward_pre_hooks for module in models.network.transformer.transformer_blocks)


def test_cancelling_stops_decoding_too(models, scene, told):
    latents = sample(models, scene, told(), left_and_right(2, scene.grid), quick(steps=1)).latents

    def check():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        decode(models, latents, check)


def test_frames_that_are_not_numbers_are_an_error_and_not_a_black_video(models, scene):
    latents = torch.full((1, 3, models.config.video.latent_channels, 4, 6), math.nan)
    with pytest.raises(FloatingPointError, match="not numbers"):
        decode(models, latents)


def test_the_coarse_pass_knows_neither_faces_nor_voices_but_the_first_frame(models, prompt, faces):
    plain, framed = (
        coarse_video(models, prompt, prepare_scene(models.config, WIDTH, HEIGHT, FRAMES, frame), 1, 2)
        for frame in (None, faces["anna"])
    )
    assert plain.shape == (FRAMES, 3, HEIGHT, WIDTH)
    assert not torch.allclose(plain, framed, atol=0.01)


def test_the_coarse_pass_starts_from_the_noise_of_the_pass_that_follows(models, scene, prompt, told):
    noises = []
    hook = models.network.transformer.register_forward_pre_hook(
        lambda _, inputs: noises.append(inputs[0][:, :, : models.config.video.latent_channels])
    )
    coarse_video(models, prompt, scene, 7, 2)
    first_pass = len(noises)
    sample(models, scene, told(), left_and_right(2, scene.grid), quick(seed=7))
    hook.remove()
    assert torch.equal(noises[0], noises[first_pass])


def test_a_step_cache_that_never_skips_changes_nothing_and_forgets_between_runs(models, scene, cast, told):
    from diffusers import FirstBlockCacheConfig

    transformer, blocks_run = models.network.transformer, []

    def run():
        masks = plan_routing("intra", models, scene, cast[:2])
        blocks_run.clear()
        return sample(models, scene, told(), masks, quick(guidance=Separate(3.0, 2.0)))

    hook = transformer.transformer_blocks[-1].audio.register_forward_hook(lambda *_: blocks_run.append(1))
    plain = run()
    try:
        transformer.enable_cache(FirstBlockCacheConfig(threshold=0.0))
        exact, exact_again = run(), run()
        assert len(blocks_run) == 9
        transformer.disable_cache()
        transformer.enable_cache(FirstBlockCacheConfig(threshold=1e6))
        skipping, skipping_again = run(), run()
        assert len(blocks_run) == 3, "each of the three passes keeps its own first step"
    finally:
        transformer.disable_cache()
        hook.remove()
    assert torch.equal(plain.latents, exact.latents) and torch.equal(exact.latents, exact_again.latents)
    assert torch.equal(skipping.latents, skipping_again.latents)
    assert skipping.masks.shape == plain.masks.shape


def test_weights_in_half_precision_sample_too(prompt, cast, streams):
    models = load_models("tiny", dtype=torch.bfloat16)
    scene = prepare_scene(models.config, WIDTH, HEIGHT, FRAMES)
    conditions = condition(models, prompt, cast[:2], streams[:2], None, scene.clip)
    done = sample(models, scene, conditions, plan_routing("intra", models, scene, cast[:2]), quick())
    assert done.latents.dtype == torch.float32
    assert torch.isfinite(decode(models, done.latents)).all()


# Masks over frames


def test_every_frame_takes_the_mask_of_its_latent_frame():
    masks = torch.arange(4.0)[None, :, None, None].expand(1, 4, 2, 3)
    shown = masks_to_frames(masks, Clip(13, 32, 48, 25.0))
    assert shown[0, :, 0, 0].tolist() == [0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]


def test_a_still_clip_has_one_mask():
    assert masks_to_frames(torch.ones(2, 1, 2, 3), Clip(1, 32, 48, 25.0)).shape == (2, 1, 32, 48)


def test_left_stays_left_on_the_pixels(scene):
    masks = scene.grid.fold(left_and_right(3, scene.grid).mask)[0]
    shown = masks_to_frames(masks, scene.clip)
    assert (shown[0, ..., :8] == 1).all() and (shown[2, ..., -8:] == 1).all() and (shown[0, ..., -8:] == 0).all()


# All of it


@pytest.fixture
def request_for(faces, voices, real_inputs):
    def make(n=2, **changes):
        return Request(
            faces={name: faces[name] for name in NAMES[:n]},
            voices={f"voice of {name}": voices[name] for name in NAMES[:n]},
            prompt="two people talk",
            width=WIDTH,
            height=HEIGHT,
            frames=FRAMES,
            settings=quick(),
            **changes,
        )

    return make


@pytest.mark.parametrize("n", [1, 2, 3])
def test_any_number_of_people_make_a_video_with_their_voices(models, perception, request_for, n):
    made = generate(models, perception, request_for(n))
    assert made.video.frames.shape == (FRAMES, 3, HEIGHT, WIDTH)
    assert made.video.frames.std() > 0.01 and 0 <= made.video.frames.min() and made.video.frames.max() <= 1
    assert made.video.audio.seconds == pytest.approx(FRAMES / models.config.fps, abs=1e-4)
    assert made.video.audio.waveform.abs().max() > 0.01
    assert made.masks.shape == (n, FRAMES, HEIGHT, WIDTH)


@pytest.mark.parametrize("router", ["intra", "pre", "post", "fixed", "uniform"])
@pytest.mark.filterwarnings("ignore:no face like")
def test_each_router_makes_a_video(models, perception, request_for, faces, router):
    masks = torch.zeros(2, 1, HEIGHT, WIDTH)
    masks[0, ..., :20], masks[1, ..., 28:] = 1, 1
    made = generate(
        models,
        perception,
        request_for(router=router, first_frame=faces["together"], masks=masks if router == "fixed" else None),
    )
    assert made.masks.shape == (2, FRAMES, HEIGHT, WIDTH)
    if router == "fixed":
        assert (made.masks[0, ..., :8] > 0.9).all() and (made.masks[0, ..., 40:] < 0.1).all()


def test_a_table_by_names_says_who_speaks(models, perception, request_for):
    straight = generate(models, perception, request_for()).video.frames
    crossed = generate(models, perception, request_for(table="voice of anna: ben\nvoice of ben: anna")).video.frames
    assert not torch.allclose(straight, crossed, atol=1e-3)


def test_finished_latents_are_handed_out_before_they_are_decoded(models, perception, request_for, monkeypatch):
    kept = []
    monkeypatch.setattr(models.video.module, "decode", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        generate(models, perception, request_for(), on_latents=lambda done, sound: kept.append((done, sound)))
    assert kept[0][0].latents.shape == (1, 3, models.config.video.latent_channels, 4, 6)
    assert kept[0][1].seconds == pytest.approx(FRAMES / models.config.fps, abs=1e-4)


def test_each_part_is_placed_while_it_works_and_only_then(models, perception, request_for):
    from contextlib import contextmanager

    placed, events = [], []

    @contextmanager
    def place(*modules):
        placed.extend(modules)
        yield
        for module in modules:
            placed.remove(module)

    network, encoders = models.network, (perception.face_encoder, perception.speech_encoder)
    parts = [models.text.module, network.face_extractor, network.speech_projector, network.transformer]
    parts += [module for encoder in encoders for module in encoder.modules]
    hooks = [part.register_forward_pre_hook(lambda module, _: events.append(module in placed)) for part in parts]
    generate(models, perception, request_for(), place=place)
    for hook in hooks:
        hook.remove()
    assert events and all(events) and not placed


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"router": "fixed"}, "needs a mask for each character"),
        ({"router": "pre"}, "inpainting frame"),
        ({"router": "post-office"}, "no router 'post-office'"),
        ({"table": "voice of anna: Zoe"}, "Zoe"),
        ({"faces": {}}, "one to one"),
        ({"width": 50}, "use 48"),
    ],
)
def test_what_cannot_be_filmed_is_refused_with_a_sentence(models, perception, request_for, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        generate(models, perception, replace(request_for(), **changes))
