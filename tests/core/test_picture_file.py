import numpy
import pytest
import torch
from PIL import Image

from byav_core.picture_file import read_picture


def saved(path, picture, **how):
    picture.save(path, **how)
    return path


def test_colours_and_size_are_kept(tmp_path):
    picture = read_picture(saved(tmp_path / "a.png", Image.new("RGB", (7, 5), (255, 0, 51))))
    assert picture.shape == (3, 5, 7)
    torch.testing.assert_close(picture[:, 0, 0], torch.tensor([1.0, 0.0, 0.2]))


def test_a_picture_taken_sideways_stands_upright(tmp_path):
    sideways = Image.new("RGB", (7, 5))
    exif = sideways.getexif()
    exif[0x0112] = 6
    assert read_picture(saved(tmp_path / "a.jpg", sideways, exif=exif)).shape == (3, 7, 5)


def test_what_is_transparent_is_white(tmp_path):
    assert (read_picture(saved(tmp_path / "a.png", Image.new("RGBA", (4, 4), (0, 0, 0, 0)))) == 1).all()


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK"])
def test_every_kind_of_picture_becomes_three_colours(tmp_path, mode):
    ending = "tif" if mode == "CMYK" else "png"
    assert read_picture(saved(tmp_path / f"a.{ending}", Image.new(mode, (6, 4)))).shape == (3, 4, 6)


@pytest.mark.parametrize(
    ("name", "kind", "white"), [("16.png", "uint16", 65535), ("32.tif", "int32", 65535), ("f.tif", "float32", 1)]
)
def test_deep_greys_are_scaled_and_not_cut_off(tmp_path, name, kind, white):
    grey = numpy.linspace(0, white, 5).astype(kind)
    Image.fromarray(numpy.tile(grey, (3, 1))).save(tmp_path / name)
    for colour in read_picture(tmp_path / name):
        assert torch.allclose(colour, torch.linspace(0, 1, 5).expand(3, 5), atol=1 / 255)


def test_files_that_are_no_pictures_are_named(tmp_path):
    whole = saved(tmp_path / "a.png", Image.effect_noise((64, 64), 50)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no picture")
    for name in ("cut.png", "text.png"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as a picture"):
            read_picture(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="there is no picture .*none.png"):
        read_picture(tmp_path / "none.png")
