"""Every example workflow on a real server: what comes out is a video with sound, and masks that fit it."""

import io
from dataclasses import dataclass

import av
import numpy as np
import pytest

from byav_core.checkpoints import load_models

FRAMES, FPS = 25, 12.5
TALKS = [
    "two_speakers_first_frame",
    "two_speakers",
    "swapped_matrix",
    "hand_painted_masks",
    "three_speakers",
    "four_speakers",
]


@dataclass
class Film:
    """A video file, read back. frames: f H W 3. sound: samples of all channels."""

    frames: np.ndarray
    fps: float
    sound: np.ndarray
    sample_rate: int
    codecs: tuple[str, ...]


def read(data: bytes) -> Film:
    with av.open(io.BytesIO(data)) as file:
        picture, sound = file.streams.video[0], file.streams.audio[0]
        rate, codecs = float(picture.average_rate), (picture.codec_context.name, sound.codec_context.name)
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(picture)])
        file.seek(0)
        samples = np.concatenate([block.to_ndarray() for block in file.decode(sound)], axis=-1)
        return Film(frames, rate, samples, sound.codec_context.sample_rate, codecs)


@pytest.fixture(scope="session")
def finished(client, artifacts):
    """Runs a workflow once for all tests that look at it."""
    known = {}

    def run(name: str, prompt: dict):
        if name not in known:
            known[name] = client.run(prompt)
            for node in known[name].outputs:
                for number, data in enumerate(client.files(known[name], node)):
                    if data[4:8] == b"ftyp":
                        (artifacts / f"{name}_{node}_{number}.mp4").write_bytes(data)
        assert known[name].status == "success", known[name]
        return known[name]

    return run


@pytest.fixture(scope="session")
def trained() -> str:
    """What the built-in model says of itself."""
    return load_models("tiny").config.trained


@pytest.mark.parametrize("name", TALKS)
def test_the_video_has_every_frame_at_the_size_and_rate_of_the_scene(name, workflow, finished, client):
    prompt = workflow(name)
    [data] = client.files(finished(name, prompt), prompt.id("Video with sound"))
    film = read(data)
    assert film.frames.shape == (FRAMES, 64, 96, 3)
    assert film.fps == FPS
    assert film.codecs == ("h264", "aac")


@pytest.mark.parametrize("name", TALKS)
def test_the_voices_are_heard_for_as_long_as_the_video_lasts(name, workflow, finished, client):
    prompt = workflow(name)
    [data] = client.files(finished(name, prompt), prompt.id("Video with sound"))
    film = read(data)
    aac_block = 1024
    assert abs(film.sound.shape[-1] - FRAMES / FPS * film.sample_rate) <= 2 * aac_block
    assert np.sqrt(np.mean(np.square(film.sound, dtype=np.float64))) > 0.003


@pytest.mark.parametrize("name", TALKS)
def test_the_frames_are_neither_flat_nor_all_the_same(name, workflow, finished, client):
    prompt = workflow(name)
    [data] = client.files(finished(name, prompt), prompt.id("Video with sound"))
    frames = read(data).frames.astype(np.float64)
    assert frames.std(axis=(1, 2)).min() > 1  # within each frame, in 0..255
    assert np.abs(np.diff(frames, axis=0)).mean() > 0.05


@pytest.mark.parametrize("name", TALKS)
def test_the_film_of_the_masks_shows_every_frame(name, workflow, finished, client):
    prompt = workflow(name)
    [data] = client.files(finished(name, prompt), prompt.id("Who was where"))
    film = read(data)
    assert len(film.frames) == FRAMES and film.fps == FPS
    assert film.frames.shape[1] >= 64 and film.frames.shape[2] >= 96


@pytest.mark.parametrize("name", TALKS)
def test_the_report_says_how_far_the_tiny_model_is_trained(name, workflow, finished, trained):
    prompt = workflow(name)
    report = finished(name, prompt).outputs[prompt.id("Report")]["text"][0]
    assert f"tiny ({trained})" in report, report


@pytest.mark.parametrize("name", TALKS)
def test_nothing_in_a_workflow_is_complained_of(name, workflow, finished, trained):
    prompt = workflow(name)
    report = finished(name, prompt).outputs[prompt.id("Report")]["text"][0]
    assert trained == "untrained" or "look at" not in report, report


def test_three_routers_at_one_seed_make_one_film_of_three(workflow, finished, client):
    prompt = workflow("compare_routers")
    [data] = client.files(finished("compare_routers", prompt), prompt.id("Side by side"))
    film = read(data)
    assert len(film.frames) == FRAMES and film.fps == FPS
    assert film.frames.shape[2] >= 3 * 96
    pre, post, intra = np.array_split(film.frames.astype(np.float64), 3, axis=2)
    width = min(part.shape[2] for part in (pre, post, intra))
    assert np.abs(pre[:, :, :width] - post[:, :, :width]).mean() > 0.5
    assert np.abs(post[:, :, :width] - intra[:, :, :width]).mean() > 0.5


def test_there_is_a_preview_at_every_step_and_progress_is_counted_in_steps(workflow, finished):
    prompt = workflow("two_speakers_first_frame")
    run = finished("two_speakers_first_frame", prompt)
    steps = [e.data["value"] for e in run.of("progress") if e.data["node"] == prompt.id("Sampler")]
    assert steps == sorted(steps) and steps[-1] == 14
    assert len(run.of("preview")) >= 14


def test_a_run_with_the_built_in_model_takes_about_a_minute_at_most(workflow, finished):
    assert finished("two_speakers_first_frame", workflow("two_speakers_first_frame")).seconds < 90


@pytest.mark.parametrize(("name", "people"), [("two_speakers", 2), ("three_speakers", 3), ("four_speakers", 4)])
def test_there_is_one_mask_per_character_and_frame_at_the_size_of_the_video(name, people, workflow, client):
    prompt = workflow(name).change("Sampler", steps=1)
    prompt = prompt.add("pictures", "MaskToImage", mask=[prompt.id("Sampler"), 1])
    prompt = prompt.add("saved", "SaveImage", images=[prompt.id("pictures"), 0], filename_prefix="mask").only("saved")
    run = client.run(prompt)
    assert run.status == "success", run
    masks = [np.asarray(picture(data)) for data in client.files(run, prompt.id("saved"))]
    assert len(masks) == people * FRAMES
    assert {mask.shape[:2] for mask in masks} == {(64, 96)}
    assert np.ptp(np.stack(masks)) > 0


def picture(data: bytes):
    from PIL import Image

    return Image.open(io.BytesIO(data))


def test_one_mask_is_found_by_name_and_all_others_beside_it(workflow, client):
    prompt = workflow("hand_painted_masks").change("Sampler", steps=1)
    router = [prompt.id("Router"), 2]
    prompt = prompt.add("Ben alone", "BYAV_RoutingMasks", routing=router, character="Ben")
    prompt = prompt.add("by number", "BYAV_RoutingMasks", routing=router, character="1")
    wanted = [("mask", "Ben alone", 0), ("others", "Ben alone", 1), ("anna", "by number", 0)]
    for name, node, slot in wanted:
        prompt = prompt.add(f"{name} picture", "MaskToImage", mask=[prompt.id(node), slot])
        prompt = prompt.add(name, "SaveImage", images=[prompt.id(f"{name} picture"), 0], filename_prefix=name)
    prompt = prompt.only("mask", "others", "anna")
    run = client.run(prompt)
    assert run.status == "success", run
    ben, others, anna = (
        np.asarray(picture(client.files(run, prompt.id(n))[0])) / 255.0 for n in ("mask", "others", "anna")
    )
    columns = np.arange(96)
    centre = [(m[..., 0] * columns).sum() / m[..., 0].sum() for m in (anna, ben)]
    assert centre[0] < centre[1]  # Anna is painted on the left
    np.testing.assert_allclose(others, anna, atol=2 / 255)
