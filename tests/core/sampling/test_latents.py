import json
import logging

import pytest
import torch
from safetensors.torch import load_file

from byav_core.config import VideoAutoencoderConfig
from byav_core.encoders.video_vae import VideoVae
from byav_core.sampling.latents import (
    LatentInput,
    fit_frame,
    noise_faces,
    reference_canvas,
    resized,
    start_latents,
)

WHITE = 1.0


def flat(value, height=40, width=40):
    return torch.full((3, height, width), value)


@pytest.fixture(scope="module")
def autoencoder(vectors):
    """The autoencoder of the recorded loop."""
    from diffusers import AutoencoderKLCogVideoX

    made_of = json.loads((vectors / "tiny_pipeline.config.json").read_text())["vae"]
    module = AutoencoderKLCogVideoX(**made_of)
    module.load_state_dict(load_file(vectors / "tiny_pipeline.vae_state_dict.safetensors"))
    known = VideoAutoencoderConfig.__dataclass_fields__
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in made_of.items() if key in known}
    return VideoVae(VideoAutoencoderConfig(**fields), module)


@pytest.fixture(scope="module")
def pictures(vectors):
    read = load_file(vectors / "tiny_pipeline.inputs.safetensors")
    canvas, frame = (read[name].permute(2, 0, 1) / 255 for name in ("ref_image_u8", "bg_image_u8"))
    return canvas, squeezed(frame)


def squeezed(frame):
    """The released loop pressed the first frame to the video's size, by Pillow's Lanczos."""
    from diffusers.video_processor import VideoProcessor
    from torchvision.transforms.functional import to_pil_image

    return VideoProcessor(do_normalize=False).preprocess(to_pil_image(frame), height=64, width=112)[0]


EXTENT = (3, 4, 8, 14)


def test_the_first_model_input_is_the_released_one(autoencoder, pictures, vectors):
    canvas, frame = pictures
    recorded = load_file(vectors / "tiny_pipeline.outputs.safetensors")
    start = start_latents(autoencoder, EXTENT, canvas, frame, torch.Generator().manual_seed(42))
    theirs = recorded["P1_inpaint_router.model_input_step0"][1:]
    assert (start.at(start.noise) - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_without_a_first_frame_its_channels_are_zero_and_the_noises_the_same(autoencoder, pictures, vectors):
    recorded = load_file(vectors / "tiny_pipeline.outputs.safetensors")
    generator = torch.Generator().manual_seed(42)
    start = start_latents(autoencoder, EXTENT, pictures[0], None, generator)
    theirs = recorded["P2_no_inpaint.model_input_step0"][1:]
    assert (start.at(start.noise) - theirs).abs().max() <= 1e-5 * theirs.abs().max()
    assert torch.equal(torch.randn(1, *EXTENT, generator=generator), recorded["P2_no_inpaint.sde_noise0"])


def test_pictures_live_in_the_first_latent_frame_only(autoencoder, pictures):
    start = start_latents(autoencoder, EXTENT, *pictures, torch.Generator().manual_seed(0))
    for still in (start.reference, start.inpainting):
        assert still[:, 0].abs().max() > 0
        assert not still[:, 1:].any()


def test_channels_are_noise_then_references_then_first_frame():
    ones = torch.ones(1, 3, 2, 4, 5)
    shown = LatentInput(1 * ones, 2 * ones, 3 * ones).at(7 * ones)
    assert shown[0, 0, :, 0, 0].tolist() == [7, 7, 2, 2, 3, 3]


def test_two_faces_stand_where_the_released_canvas_has_them():
    canvas = reference_canvas((flat(0.1), flat(0.2)), 480, 720)
    assert canvas.shape == (3, 480, 720)
    torch.testing.assert_close(canvas[:, 60:420, :360], flat(0.1, 360, 360))
    torch.testing.assert_close(canvas[:, 60:420, 360:], flat(0.2, 360, 360))
    assert (canvas[:, :60] == WHITE).all() and (canvas[:, 420:] == WHITE).all()


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize(("height", "width"), [(48, 112), (96, 32), (32, 50)])
def test_any_number_of_faces_fits_any_size_in_order_and_without_overlap(n, height, width):
    canvas = reference_canvas(tuple(flat(0.1 * (i + 1)) for i in range(n)), height, width)
    side = min(width // n, height)
    for i in range(n):
        shown = torch.isclose(canvas[0], torch.tensor(0.1 * (i + 1)))
        assert shown.sum() == side * side
        columns = shown.any(0).nonzero().flatten()
        assert i * width // n <= columns.min() and columns.max() <= -(-(i + 1) * width // n)


def test_without_characters_the_canvas_is_white():
    assert (reference_canvas((), 32, 48) == WHITE).all()


def test_more_faces_than_pixels_are_refused():
    with pytest.raises(ValueError, match="do not fit side by side in 16 pixels"):
        reference_canvas((flat(0.5),) * 17, 16, 16)


def framed(height, width):
    """Grey with a white square in the centre that is a quarter of the shorter side wide."""
    frame, side = flat(0.5, height, width), min(height, width) // 4
    top, left = (height - side) // 2, (width - side) // 2
    frame[:, top : top + side, left : left + side] = WHITE
    return frame


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize(("height", "width"), [(200, 100), (100, 200), (37, 211), (64, 96)])
def test_a_first_frame_keeps_its_aspect_ratio(fit, height, width):
    fitted = fit_frame(framed(height, width), 64, 96, fit)
    assert fitted.shape == (3, 64, 96)
    square = fitted[0] > 0.75
    rows, columns = square.any(1).sum(), square.any(0).sum()
    assert abs(rows - columns) <= 1


def test_cropping_fills_the_picture_and_padding_keeps_all_of_it():
    frame = flat(0.5, 200, 100)
    frame[:, :20] = WHITE
    cropped, padded = fit_frame(frame, 64, 96, "crop"), fit_frame(frame, 64, 96, "pad")
    torch.testing.assert_close(cropped, flat(0.5, 64, 96))
    assert (padded[:, :, :32] == 0).all() and (padded[:, :, 64:] == 0).all()
    assert (padded[0, :6, 33:63] > 0.9).all()


def test_what_was_done_to_the_first_frame_is_said(caplog):
    with caplog.at_level(logging.INFO):
        fit_frame(flat(0.5, 100, 200), 64, 96, "crop")
    assert "200x100" in caplog.text and "96x64" in caplog.text


def test_a_first_frame_of_the_right_size_is_left_alone():
    frame = torch.rand(3, 64, 96)
    assert torch.equal(fit_frame(frame, 64, 96), frame)


def test_an_unknown_way_of_fitting_is_refused():
    with pytest.raises(ValueError, match="'stretch'"):
        fit_frame(flat(0.5), 64, 96, "stretch")


def test_face_noise_touches_the_face_only_and_follows_its_generator():
    frame, region = flat(0.5, 48, 80), torch.zeros(48, 80)
    region[10:30, 20:60] = 1
    noisy = noise_faces(frame, region, torch.Generator().manual_seed(3))
    changed = (noisy != frame).any(0)
    assert not changed[region == 0].any() and changed[region == 1].float().mean() > 0.99
    assert torch.equal(noisy, noise_faces(frame, region, torch.Generator().manual_seed(3)))


def test_face_noise_has_the_strength_of_the_released_training():
    drawn = [
        noise_faces(torch.zeros(3, 32, 40), torch.ones(32, 40), torch.Generator().manual_seed(seed)).std()
        for seed in range(200)
    ]
    strength = torch.stack(drawn).log()
    assert strength.mean().item() == pytest.approx(-1 - torch.log(torch.tensor(2.0)).item(), abs=0.1)
    assert strength.std().item() == pytest.approx(0.5, abs=0.1)


def test_resizing_stays_inside_the_range_of_a_picture():
    edges = (torch.arange(20 * 30).reshape(20, 30) % 2).float().expand(3, 20, 30)
    larger = resized(edges, 64, 96)
    assert larger.min() >= 0 and larger.max() <= 1
