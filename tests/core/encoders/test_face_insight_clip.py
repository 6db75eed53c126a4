import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from byav_core.config import FaceEncoderConfig, tiny
from byav_core.encoders.aligned_face import align, whole_picture
from byav_core.encoders.eva_clip import EvaTower
from byav_core.encoders.face_insight_clip import clip_input, load_face_encoder
from byav_core.encoders.matte import EllipseMatte
from byav_core.perception.face_finder import CenterFaceFinder, InsightFaceFinder
from byav_core.protocols import FaceEncoder, FaceRecogniser

CONFIG = tiny().face
# left, top, right, bottom of the faces of the people at the table, by eye
LEFTMOST, STANDING_MAN = (62.0, 266.0, 165.0, 394.0), (902.0, 59.0, 1013.0, 205.0)


@pytest.fixture(scope="module")
def encoder():
    """The small networks, handed faces as the release's are."""
    return replace(load_face_encoder("tiny", CONFIG), find=CenterFaceFinder(), matte=EllipseMatte())


def alike(one, other) -> float:
    dim = CONFIG.recognition_dim
    return float(cosine_similarity(one.identity[:dim], other.identity[:dim], dim=0))


def test_it_is_a_face_encoder_and_says_what_it_was_trained_on(encoder):
    assert isinstance(encoder, FaceEncoder) and isinstance(encoder.recognise, FaceRecogniser)
    assert encoder.trained == "drawn world"
    other = replace(CONFIG, depth=7)
    assert load_face_encoder("tiny", other).trained == "untrained"
    assert len(encoder.modules) == 2
    assert not any(weight.requires_grad for module in encoder.modules for weight in module.parameters())


@pytest.mark.parametrize("name", ["anna", "ben", "carla"])
def test_a_real_face_gives_identity_feature_maps_and_a_crop_on_white(encoder, pictures, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features = encoder(pictures[name])
    assert features.found
    assert features.identity.shape == (CONFIG.recognition_dim + CONFIG.embed_dim,)
    assert float(features.identity[CONFIG.recognition_dim :].norm()) == pytest.approx(1, abs=1e-5)
    patches = (CONFIG.image_size // CONFIG.patch_size) ** 2 + 1
    assert [tuple(x.shape) for x in features.hidden] == [(patches, CONFIG.width)] * len(CONFIG.taps)
    assert features.crop.shape == (3, 512, 512)
    assert (features.crop[:, :8, :8] == 1).all()  # white corner
    assert features.crop[:, 300, 256].max() < 1  # the nose is there
    assert all(torch.isfinite(x).all() for x in (features.identity, *features.hidden))


def test_the_parts_are_joined_in_the_order_of_the_release(encoder, pictures):
    picture = pictures["carla"]
    _, landmarks, _ = encoder.find(picture)
    face = align(picture, landmarks[0])
    white = face.on_white(EllipseMatte()(face))
    with torch.no_grad():
        embedding, hidden = encoder.tower(clip_input(white, CONFIG)[None])
    features = encoder(picture)
    torch.testing.assert_close(features.identity[: CONFIG.recognition_dim], encoder.recognise(picture, landmarks)[0])
    torch.testing.assert_close(features.identity[CONFIG.recognition_dim :], embedding[0] / embedding[0].norm())
    torch.testing.assert_close(features.hidden[2], hidden[2][0])
    torch.testing.assert_close(features.crop, white)


def test_clip_sees_grey_with_clips_mean_and_deviation():
    crop = torch.tensor([0.2, 0.6, 1.0])[:, None, None].expand(3, 40, 40)
    seen = clip_input(crop, replace(CONFIG, image_size=8, seen_in="grey"))
    grey = 0.299 * 0.2 + 0.587 * 0.6 + 0.114 * 1.0
    assert seen.shape == (3, 8, 8)
    assert seen[0, 0, 0] == pytest.approx((grey - 0.48145466) / 0.26862954, abs=1e-5)
    assert seen[2, 0, 0] == pytest.approx((grey - 0.40821073) / 0.27577711, abs=1e-5)


def test_crops_of_one_photograph_are_known_again(encoder, pictures, group):
    """Untrained, and yet enough to find a reference's face in the picture it was cut from."""
    together = encoder.recognise(group, encoder.find(group)[1])
    for name in ("anna", "ben"):
        own = encoder(pictures[name]).identity[: CONFIG.recognition_dim]
        scores = cosine_similarity(together, own[None])
        best, second = scores.topk(2).values
        assert best > 0.85 and second < best - 0.05


def test_the_largest_face_counts_and_a_box_chooses_another(encoder, group):
    largest = encoder(group)
    first, second = encoder(group, LEFTMOST), encoder(group, STANDING_MAN)
    assert largest.found and first.found and second.found
    assert alike(largest, second) > 0.99  # he stands nearest to the camera
    assert alike(first, second) < 0.9


def test_a_generous_box_still_finds_the_face_in_it(encoder, group):
    left, top, right, bottom = LEFTMOST
    wide = (left - 50, top - 60, right + 50, bottom + 80)
    assert alike(encoder(group, wide), encoder(group, LEFTMOST)) > 0.99


def test_a_face_too_small_to_be_seen_in_the_picture_is_found_in_its_box(encoder, pictures):
    """The box reaches beyond the picture; landmarks found in the part inside come to their place in the whole."""
    picture = torch.zeros(3, 2400, 2400)
    face = torch.nn.functional.interpolate(pictures["carla"][None], (128, 128), mode="bilinear", antialias=True)[0]
    picture[:, 40:168, :128] = face
    assert not len(encoder.find(picture)[0])
    assert alike(encoder(picture, (-30.0, 30.0, 140.0, 180.0)), encoder(face)) > 0.95


def test_a_picture_without_a_face_is_used_whole_and_said_so(encoder):
    wall = torch.rand(3, 120, 200, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match="no face was found in the picture of Zoe, so all of it is used"):
        features = encoder(wall, name="the picture of Zoe")
    assert not features.found
    torch.testing.assert_close(features.crop, whole_picture(wall).crop)
    assert torch.isfinite(features.identity).all()


@pytest.mark.parametrize("box", [None, (10.0, 20.0, 90.0, 110.0)])
def test_the_tiny_encoder_looks_at_portraits_whole_and_says_nothing(encoder, box):
    """As it was trained, also where a finder would see a face, or none."""
    portrait = torch.rand(3, 120, 100, generator=torch.Generator().manual_seed(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features = load_face_encoder("tiny", CONFIG)(portrait, box)
    assert features.found
    with pytest.warns(UserWarning, match="no face was found"):
        searched = encoder(portrait, box)
    torch.testing.assert_close(features.identity, searched.identity)
    assert torch.equal(features.crop, searched.crop)


def test_a_box_without_a_face_is_used_and_nothing_else(encoder, group):
    box = (500.0, 560.0, 820.0, 800.0)  # poker chips
    with pytest.warns(UserWarning, match=r"no face was found in the box \(500, 560, 820, 800\) of the reference"):
        features = encoder(group, box)
    assert not features.found
    torch.testing.assert_close(features.crop, whole_picture(group[:, 560:800, 500:820]).crop)


@pytest.mark.parametrize(
    "picture, box, sentence",
    [
        (torch.zeros(3, 12, 300), None, "the reference picture is 300x12 pixels; use one of at least 16x16"),
        (torch.full((3, 40, 50), math.nan), None, "the reference picture has pixels that are NaN or infinite"),
        (torch.zeros(3, 40, 50), (60.0, 5.0, 80.0, 20.0), r"the box \(60.0, .* lies outside of .*\(50x40\)"),
        (torch.zeros(3, 40, 50), (20.0, 5.0, 10.0, 20.0), "lies outside of the reference picture"),
    ],
)
def test_pictures_and_boxes_that_cannot_be_used(encoder, picture, box, sentence):
    with pytest.raises(ValueError, match=sentence):
        encoder(picture, box)


def test_the_same_picture_gives_the_same_features_and_no_random_numbers_are_used(pictures):
    before = torch.random.get_rng_state()
    first, second = (load_face_encoder("tiny", CONFIG)(pictures["anna"]) for _ in range(2))
    assert torch.equal(first.identity, second.identity) and torch.equal(first.hidden[-1], second.hidden[-1])
    assert torch.equal(before, torch.random.get_rng_state())


FULL = FaceEncoderConfig(  # what the release's folder holds, its tower in narrow
    recognition="insightface", recognition_dim=13, image_size=56, width=32, depth=6, heads=2, embed_dim=24, taps=(1, 3)
)


@pytest.fixture
def folder(tmp_path):
    """The release's layout with a tower of narrow width and a recognition network that only looks at colours."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    (tmp_path / "face_encoder" / "models" / "antelopev2").mkdir(parents=True)
    weight = numpy_helper.from_array(np.tile(np.eye(3, dtype=np.float32), (1, 5))[:, :13], "w")
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 112, 112])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 13])
    graph = helper.make_graph(nodes, "arc", [image], [out], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(tmp_path / "face_encoder" / "models" / "antelopev2" / "glintr100.onnx"))
    tower = {f"visual.{key}": value for key, value in EvaTower(FULL).state_dict().items()}
    torch.save(tower, tmp_path / "face_encoder" / "EVA02_CLIP_L_336_psz14_s6B.pt")
    return tmp_path


def quietly(folder, config=FULL):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_face_encoder(folder, config)


@pytest.mark.parametrize("inner", [".", "face_encoder"])
def test_the_released_folder_loads_from_its_root_or_from_inside(folder, pictures, inner):
    encoder = quietly(folder / inner)
    features = encoder(pictures["anna"])
    assert isinstance(encoder.find, CenterFaceFinder)
    assert features.found and features.identity.shape == (37,) and len(features.hidden) == 2


def test_the_folder_s_own_detector_is_used_when_it_is_there(folder, monkeypatch):
    path = folder / "face_encoder" / "models" / "antelopev2" / "scrfd_10g_bnkps.onnx"
    path.write_bytes(b"half a file")
    with pytest.raises(ValueError, match="scrfd_10g_bnkps.onnx cannot be read"):
        quietly(folder)
    monkeypatch.setattr(InsightFaceFinder, "__init__", lambda self, path: setattr(self, "path", path))
    assert quietly(folder).find.path == path


def test_a_background_removed_by_an_ellipse_is_said(folder):
    with pytest.warns(UserWarning, match="parsing_bisenet.pth is not beside the weights, so the background"):
        load_face_encoder(folder, FULL)


@pytest.mark.parametrize("name", ["models/antelopev2/glintr100.onnx", "EVA02_CLIP_L_336_psz14_s6B.pt"])
def test_a_missing_file_is_named_with_all_places_searched(folder, name):
    (folder / "face_encoder" / name).unlink()
    with pytest.raises(FileNotFoundError) as error:
        load_face_encoder(folder, FULL)
    for part in (name.split("/")[-1], str(folder), str(folder / "face_encoder"), "get it from", 'choose "tiny"'):
        assert part in str(error.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere .there is no such folder"):
        load_face_encoder(tmp_path / "nowhere", FULL)


def test_a_tower_of_another_size_is_refused(folder):
    with pytest.raises(ValueError, match="is not the EVA02-CLIP tower this model needs: .*head.bias"):
        quietly(folder, replace(FULL, embed_dim=23))


def test_encoder_and_model_must_belong_together(folder):
    with pytest.raises(ValueError, match="this model was made with a small one; choose .tiny"):
        load_face_encoder(folder, CONFIG)
    with pytest.raises(ValueError, match="belongs to the tiny model"):
        load_face_encoder("tiny", FULL)
