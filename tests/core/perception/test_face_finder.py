import numpy as np
import pytest
import torch

from byav_core.perception.face_finder import CenterFaceFinder, InsightFaceFinder
from byav_core.protocols import FaceFinder

ASTRONAUT = [181.0, 58.0, 270.0, 178.0]  # left, top, right, bottom of the face, by eye
TABLE = [(62, 266), (272, 151), (464, 268), (745, 345), (902, 59), (1132, 268)]  # left, top of the six faces, by eye


@pytest.fixture(scope="module")
def find():
    return CenterFaceFinder()


def test_it_is_a_face_finder_and_prints_nothing(capsys):
    assert isinstance(CenterFaceFinder(), FaceFinder)
    assert capsys.readouterr().out == ""


def test_the_one_face_of_a_portrait(find, pictures):
    boxes, landmarks, scores = find(pictures["carla"])
    assert boxes.shape == (1, 4) and landmarks.shape == (1, 5, 2) and scores[0] > 0.8
    assert (boxes[0] - torch.tensor(ASTRONAUT)).abs().max() < 12
    left_eye, right_eye, nose, left_mouth, right_mouth = landmarks[0]
    assert left_eye[0] < nose[0] < right_eye[0] and left_eye[1] < nose[1] < left_mouth[1]
    assert left_mouth[0] < right_mouth[0]


def test_all_six_people_at_a_table_best_first(find, group):
    boxes, _, scores = find(group)
    assert len(boxes) == 6
    assert (scores.diff() <= 0).all()
    corners = boxes[boxes[:, 0].argsort(), :2]
    assert (corners - torch.tensor(TABLE)).abs().max() < 25


@pytest.mark.parametrize("height, width", [(64, 96), (200, 300), (1020, 1530)])
def test_the_size_of_the_picture_hardly_matters(find, pictures, height, width):
    picture = torch.nn.functional.interpolate(pictures["together"][None], (height, width), mode="bilinear")[0]
    boxes, _, _ = find(picture)
    shares = boxes[boxes[:, 0].argsort()] / torch.tensor([width, height, width, height])
    expected = torch.tensor([[0.15, 0.18, 0.36, 0.53], [0.53, 0.53, 0.74, 0.94]])
    torch.testing.assert_close(shares, expected, atol=0.05, rtol=0)


def test_a_face_that_fills_the_picture_is_found_with_a_border(find, pictures):
    left, top, right, bottom = (round(x) for x in ASTRONAUT)
    close = pictures["carla"][:, top:bottom, left:right]
    large = torch.nn.functional.interpolate(close[None], scale_factor=8, mode="bilinear")[0]
    boxes, _, _ = find(large)
    assert len(boxes) == 1
    assert (boxes[0, 2:] - boxes[0, :2]).prod() > 0.6 * large.shape[1] * large.shape[2]


def test_boxes_stay_inside_the_picture_but_landmarks_say_where_they_would_be(find, pictures):
    cut = pictures["carla"][:, 90:]
    boxes, landmarks, _ = find(cut)
    _, whole, _ = find(pictures["carla"])
    assert boxes.min() >= 0
    assert (landmarks[0] + torch.tensor([0.0, 90.0]) - whole[0]).abs().max() < 8


@pytest.mark.parametrize("picture", [torch.zeros(3, 40, 60), torch.rand(3, 90, 70), torch.ones(3, 1, 1)])
def test_no_face_gives_empty_tensors(find, picture):
    boxes, landmarks, scores = find(picture)
    assert boxes.shape == (0, 4) and landmarks.shape == (0, 5, 2) and scores.shape == (0,)


def test_the_same_picture_gives_the_same_faces(find, pictures):
    first, second = find(pictures["anna"]), find(pictures["anna"])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def detector_file(path, hit: tuple[int, int], score: float = 0.9):
    """An ONNX file with the outputs of SCRFD with landmarks (scores, boxes, landmarks at strides 8, 16, 32) that sees
    one face, always at the same place: its anchor is at column, row `hit` of the coarsest raster."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    names, constants, nodes = [], [], []
    for kind, channels in (("score", 1), ("bbox", 4), ("kps", 10)):
        for stride in (8, 16, 32):
            cells = (640 // stride) ** 2 * 2
            values = np.zeros((cells, channels), np.float32)
            if stride == 32:
                index = (hit[1] * 20 + hit[0]) * 2
                values[index] = {"score": score, "bbox": 1.5, "kps": 0.25}[kind]
            name = f"{kind}_{stride}"
            names.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [cells, channels]))
            constants.append(numpy_helper.from_array(values, f"{name}_value"))
            nodes.append(helper.make_node("Identity", [f"{name}_value"], [name]))
    image = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, "H", "W"])
    graph = helper.make_graph(nodes, "detector", [image], names, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


def test_an_insightface_detector_speaks_the_same_language(tmp_path):
    find = InsightFaceFinder(detector_file(tmp_path / "scrfd_10g_bnkps.onnx", hit=(5, 7)))
    assert isinstance(find, FaceFinder)
    boxes, landmarks, scores = find(torch.zeros(3, 320, 640))
    middle, reach = torch.tensor([5 * 32.0, 7 * 32.0]), 1.5 * 32
    torch.testing.assert_close(boxes[0], torch.cat([middle - reach, middle + reach]))
    torch.testing.assert_close(landmarks[0], (middle + 8).expand(5, 2))
    assert scores.tolist() == pytest.approx([0.9])


def test_a_file_that_is_no_detector_is_named(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 112, 112])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 112, 112])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [image], [out])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "arc.onnx"
    )
    with pytest.raises(ValueError, match="arc.onnx is not a face detector of InsightFace; use scrfd"):
        InsightFaceFinder(tmp_path / "arc.onnx")
    (tmp_path / "cut.onnx").write_bytes(b"\x08\x07 half a file")
    with pytest.raises(ValueError, match="cut.onnx cannot be read"):
        InsightFaceFinder(tmp_path / "cut.onnx")
