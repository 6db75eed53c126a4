import pytest
import torch

from byav_core.perception.locator import BoxLocator, FaceLocator
from byav_core.protocols import CharacterLocator
from byav_core.types import Character


def centre(mask: torch.Tensor) -> tuple[float, float]:
    height, width = mask.shape
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    return float((mask.sum(0) * x).sum() / mask.sum()), float((mask.sum(1) * y).sum() / mask.sum())


def test_masks_come_in_the_order_of_the_cast_wherever_people_stand(squares, drawn, cast_of):
    assert isinstance(squares, CharacterLocator)
    picture = drawn(60, 90, Anna=(60, 20, 70, 32), Ben=(10, 20, 20, 32))
    anna, ben = squares(picture, cast_of("Anna", "Ben"))
    assert centre(anna)[0] > 55 and centre(ben)[0] < 25
    torch.testing.assert_close(torch.stack([ben, anna]), squares(picture, cast_of("Ben", "Anna")))


def test_people_who_are_not_in_the_cast_get_no_mask(squares, drawn, cast_of):
    picture = drawn(60, 90, Anna=(60, 20, 70, 32), Ben=(10, 20, 20, 32), Cleo=(35, 20, 45, 32))
    masks = squares(picture, cast_of("Cleo", "Anna"))
    assert masks.shape == (2, 60, 90)
    assert masks[:, 26, 15].max() == 0


def test_no_face_is_given_twice(drawn, cast_of, squares):
    """Both look most like the same face; together they get two."""
    faces = FaceLocator(squares.find, lambda picture, landmarks: torch.tensor([[1.0, 0.5, 0.0], [0.9, 0.4, 0.1]]))
    boxes = faces.boxes(drawn(60, 90, Anna=(60, 20, 70, 32), Ben=(10, 20, 20, 32)), cast_of("Anna", "Ben"))
    assert boxes[0].tolist() != boxes[1].tolist()


def test_who_is_missing_is_said_by_name(squares, drawn, cast_of):
    picture = drawn(60, 90, Anna=(60, 20, 70, 32))
    with pytest.raises(ValueError, match="faces in the picture: 1, characters in the cast: 3; not found: Ben, Cleo"):
        squares(picture, cast_of("Anna", "Ben", "Cleo"))
    with pytest.raises(ValueError, match="faces in the picture: 0, .* not found: Ben"):
        squares(torch.zeros(3, 30, 40), cast_of("Ben"))


def test_a_doubtful_likeness_is_said(squares, drawn, cast_of):
    with pytest.warns(UserWarning, match="no face looks like Ben; .*similarity 0.00 of 1"):
        squares(drawn(60, 90, Anna=(60, 20, 70, 32)), cast_of("Ben"))


def test_a_character_without_a_face_gets_what_is_left_from_left_to_right(squares, drawn, cast_of):
    picture = drawn(60, 120, Anna=(80, 20, 90, 32), Ben=(45, 20, 55, 32), Cleo=(10, 20, 20, 32))
    with pytest.warns(UserWarning, match="Ben has no face to compare"):
        boxes = squares.boxes(picture, cast_of("Ben", "Cleo", "Anna", unknown=("Ben",)))
    assert boxes[:, 0].tolist() == [45, 10, 80]
    with pytest.warns(UserWarning):
        boxes = squares.boxes(picture, cast_of("Anna", "Ben", "Cleo", unknown=("Anna", "Ben", "Cleo")))
    assert boxes[:, 0].tolist() == [10, 45, 80]


@pytest.mark.parametrize("height, width", [(340, 510), (64, 96)])
def test_real_people_are_told_apart_by_their_faces(face_encoder, pictures, height, width):
    picture = torch.nn.functional.interpolate(pictures["together"][None], (height, width), mode="bilinear")[0]
    cast = tuple(Character(name, pictures[name], face_encoder(pictures[name])) for name in ("ben", "anna"))
    ben, anna = FaceLocator(face_encoder.find, face_encoder.recognise)(picture, cast)
    x, y = centre(anna)
    assert 0.2 < x / width < 0.3 and 0.25 < y / height < 0.5  # Anna stands on the left
    x, y = centre(ben)
    assert 0.58 < x / width < 0.7 and 0.6 < y / height < 0.85


def test_a_real_picture_with_too_few_people(face_encoder, pictures):
    cast = tuple(Character(name, pictures[name], face_encoder(pictures[name])) for name in ("anna", "ben"))
    with pytest.raises(ValueError, match="faces in the picture: 1, characters in the cast: 2; not found: "):
        FaceLocator(face_encoder.find, face_encoder.recognise)(pictures["anna"], cast)


def test_boxes_by_hand(cast_of):
    locate = BoxLocator({"Ben": (10.0, 20.0, 20.0, 32.0), "Anna": (60.0, 20.0, 70.0, 32.0)})
    assert isinstance(locate, CharacterLocator)
    anna, ben = locate(torch.zeros(3, 60, 90), cast_of("Anna", "Ben"))
    assert centre(anna)[0] > 55 and centre(ben)[0] < 25


@pytest.mark.parametrize(
    "boxes, sentence",
    [
        ({"Anna": (1.0, 1.0, 9.0, 9.0)}, "no box is given for Ben; give one for each of Anna, Ben"),
        (
            {"Anna": (1.0, 1.0, 9.0, 9.0), "Ben": (1.0, 1.0, 9.0, 9.0), "Zoe": (1.0, 1.0, 9.0, 9.0)},
            "boxes are given for Zoe, but the cast is Anna, Ben",
        ),
        ({"Anna": (1.0, 1.0, 9.0, 9.0), "Ben": (95.0, 1.0, 99.0, 9.0)}, "box of Ben is .* but the picture is 90x60"),
        ({"Anna": (9.0, 1.0, 1.0, 9.0), "Ben": (1.0, 1.0, 9.0, 9.0)}, "box of Anna"),
    ],
)
def test_boxes_that_do_not_meet_cast_or_picture(cast_of, boxes, sentence):
    with pytest.raises(ValueError, match=sentence):
        BoxLocator(boxes)(torch.zeros(3, 60, 90), cast_of("Anna", "Ben"))
