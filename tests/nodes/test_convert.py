"""ComfyUI's values to ours and back lose nothing, and refuse in a sentence what they cannot mean."""

import pytest
import torch


@pytest.fixture
def convert(part):
    return part("nodes.convert")


def test_frames_come_back_as_they_went(convert):
    frames = torch.rand(4, 3, 5, 7)
    torch.testing.assert_close(convert.pictures(convert.to_image(frames)), frames)
    assert convert.to_image(frames).shape == (4, 5, 7, 3)


def test_gray_is_spread_and_transparency_is_laid_on_white(convert):
    gray = torch.rand(2, 5, 7, 1)
    assert torch.equal(convert.pictures(gray)[:, 0], convert.pictures(gray)[:, 2])
    unseen = torch.cat([torch.zeros(1, 5, 7, 3), torch.zeros(1, 5, 7, 1)], dim=-1)
    assert torch.equal(convert.picture(unseen), torch.ones(3, 5, 7))


def test_of_several_reference_pictures_the_first_is_used_and_that_is_said(convert):
    image = torch.rand(3, 5, 7, 3)
    with pytest.warns(UserWarning, match="image of Anna holds 3 pictures"):
        assert torch.equal(convert.only_picture(image, "image of Anna"), convert.picture(image[:1]))


def test_masks_of_one_picture_and_of_many_are_frames(convert):
    mask = torch.rand(5, 7)
    assert torch.equal(convert.mask_frames(mask), mask[None])
    film = torch.rand(4, 5, 7)
    assert torch.equal(convert.to_mask(convert.mask_frames(film)), film)


def test_channels_of_a_recording_are_averaged_and_a_mono_one_comes_back(convert):
    left, right = torch.rand(6), torch.rand(6)
    stereo = convert.recording({"waveform": torch.stack([left, right])[None], "sample_rate": 8000})
    torch.testing.assert_close(stereo.waveform, (left + right) / 2)
    again = convert.recording(convert.to_audio(stereo))
    assert torch.equal(again.waveform, stereo.waveform) and again.sample_rate == 8000


def test_latents_come_back_and_travel_unscaled(convert):
    latents = torch.randn(1, 4, 6, 5, 7)
    latent = convert.to_latent(latents, 0.7)
    assert latent["samples"].shape == (1, 6, 4, 5, 7)
    torch.testing.assert_close(latent["samples"][0, 2, 3] * 0.7, latents[0, 3, 2])
    torch.testing.assert_close(convert.latents(latent, 6, 0.7), latents)


def test_conditioning_of_the_models_own_width_is_taken(convert):
    tokens = torch.randn(1, 9, 48)
    assert torch.equal(convert.text_tokens([[tokens, {"pooled_output": None}]], 64, 48), tokens)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c: c.picture(torch.zeros(0, 4, 4, 3), "image of Anna"), ("image of Anna", "IMAGE")),
        (lambda c: c.picture(torch.full((1, 4, 4, 3), torch.nan)), ("not numbers",)),
        (lambda c: c.mask_frames(torch.zeros(0, 4, 4), "mask of Ben"), ("mask of Ben", "MASK")),
        (lambda c: c.mask_frames(torch.full((1, 4, 4), torch.inf)), ("not numbers",)),
        (
            lambda c: c.recording({"waveform": torch.zeros(2, 1, 9), "sample_rate": 8000}),
            ("(2, 1, 9)", "one recording"),
        ),
        (lambda c: c.recording(None, "audio of Anna"), ("audio of Anna", "sound track", "connect a recording")),
        (lambda c: c.recording({"waveform": torch.zeros(1, 0, 9), "sample_rate": 8000}), ("no channels",)),
        (lambda c: c.latents({"samples": torch.zeros(1, 4, 8, 8)}, 8, 0.7), ("(1, 4, 8, 8)", "8 channels")),
        (lambda c: c.latents({"samples": torch.zeros(1, 4, 2, 8, 8)}, 8, 0.7), ("8 channels",)),
        (lambda c: c.text_tokens([], 226, 4096), ("empty", "CLIP Text Encode")),
        (lambda c: c.text_tokens([[torch.zeros(1, 77, 768), {}]], 226, 4096), ("77, 768", "4096", "cogvideox")),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_value_and_the_cure(call, words, convert):
    with pytest.raises(ValueError) as refused:
        call(convert)
    assert all(word in str(refused.value) for word in words)
