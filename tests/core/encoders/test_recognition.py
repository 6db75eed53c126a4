import numpy as np
import pytest
import torch

from byav_core.encoders.recognition import ArcFace, Recogniser, SmallRecogniser


def network_file(path, dim: int = 13, side: int = 112):
    """An ONNX file with ArcFace's input and output: means of the picture's channels, repeated."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.tile(np.eye(3, dtype=np.float32), (1, dim))[:, :dim], "w")
    nodes = [
        helper.make_node("GlobalAveragePool", ["input.1"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["out"]),
    ]
    image = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, ["n", 3, side, side])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", dim])
    graph = helper.make_graph(nodes, "arc", [image], [out], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def test_insightface_sees_rgb_from_minus_one_to_one(tmp_path):
    see = ArcFace(network_file(tmp_path / "glintr100.onnx"))
    assert isinstance(see, Recogniser)
    crops = torch.zeros(2, 3, 512, 512)
    crops[0, 0], crops[1, 2] = 1.0, 0.5  # red, dark blue
    vectors = see(crops)
    assert vectors.shape == (2, 13)
    torch.testing.assert_close(vectors[:, :3], torch.tensor([[1.0, -1, -1], [-1, -1, 0.0]]), atol=0.01, rtol=0)


def test_a_file_that_recognises_nobody_is_named(tmp_path):
    with pytest.raises(ValueError, match="other.onnx is not a recognition network of InsightFace; use glintr100"):
        ArcFace(network_file(tmp_path / "other.onnx", side=96))
    (tmp_path / "cut.onnx").write_bytes(network_file(tmp_path / "whole.onnx").read_bytes()[:60])
    with pytest.raises(ValueError, match="cut.onnx cannot be read as weights"):
        ArcFace(tmp_path / "cut.onnx")


def test_the_small_network_hardly_minds_light_and_contrast():
    see = SmallRecogniser(11)
    crop = torch.rand(1, 3, 64, 64).repeat_interleave(8, 2).repeat_interleave(8, 3)
    torch.testing.assert_close(see(crop), see(crop * 0.5 + 0.2), atol=0.02, rtol=0)
    assert see(torch.cat([crop, crop])).shape == (2, 11)
    assert torch.isfinite(see(torch.zeros(1, 3, 512, 512))).all()
