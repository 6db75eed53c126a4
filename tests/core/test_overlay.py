import pytest
import torch

from byav_core.overlay import PALETTE, colours, lettering, overlay


def halves(n=2, f=3, height=48, width=96):
    masks = torch.zeros(n, f, height, width)
    for i in range(n):
        masks[i, :, :, i * width // n : (i + 1) * width // n] = 1
    return masks


@pytest.mark.parametrize("n", [1, 2, 3, 9, 16])
def test_every_character_has_a_colour_of_its_own(n):
    assert len({tuple(colour) for colour in colours(n).tolist()}) == n


def test_each_region_is_tinted_in_its_colour():
    grey = torch.full((3, 3, 48, 96), 0.5)
    tinted = overlay(grey, halves(), ("", ""))
    for i, x in enumerate((4, 92)):
        towards = torch.tensor(PALETTE[i]) / 255
        assert torch.equal((tinted[0, :, 4, x] > 0.5), (towards > 0.5))


def test_without_masks_frames_stay_as_they_are():
    frames = torch.rand(3, 3, 48, 96)
    same = overlay(frames, torch.zeros(2, 3, 48, 96), ("Anna", "Ben"))
    assert (same - frames).abs().max() <= 0.5 / 255 + 1e-6


def test_names_are_written_in_their_regions_only():
    grey, masks = torch.full((1, 3, 48, 96), 0.5), halves(f=1)
    written = overlay(grey, masks, ("Anna", "")) - overlay(grey, masks, ("", ""))
    assert written[..., :48].abs().max() > 0.1
    assert written[..., 56:].abs().max() < 0.01


def test_masks_and_names_must_be_as_many():
    with pytest.raises(ValueError, match="2 masks but 1 names"):
        overlay(torch.zeros(3, 3, 48, 96), halves(), ("Anna",))


def test_masks_of_another_size_are_refused_with_both_sizes():
    with pytest.raises(ValueError, match=r"\(3, 24, 96\).*\(3, 48, 96\)"):
        overlay(torch.zeros(3, 3, 48, 96), halves(height=24), ("Anna", "Ben"))


def test_letters_have_the_height_asked_for_whatever_fonts_there_are(monkeypatch):
    assert lettering(20).size == 20
    monkeypatch.setattr("byav_core.overlay.FONTS", ("no-such-font.ttf",))
    lettering.cache_clear()
    assert lettering(20).size == 20
    lettering.cache_clear()
