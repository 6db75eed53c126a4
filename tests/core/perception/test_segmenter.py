import pytest
import torch

from byav_core.perception.segmenter import FaceTracks, Sam2Segmenter, columns
from byav_core.protocols import VideoSegmenter
from byav_core.types import Character


@pytest.fixture
def crossing(drawn):
    """Anna walks to the right, Ben to the left, over ten frames; at frames 4 and 5 Ben is hidden."""
    frames = []
    for f in range(10):
        people = {"Anna": (5 + 8 * f, 10, 15 + 8 * f, 22), "Ben": (80 - 8 * f, 30, 90 - 8 * f, 42)}
        frames.append(drawn(60, 100, **{k: v for k, v in people.items() if k == "Anna" or f not in (4, 5)}))
    return torch.stack(frames)


def middles(masks: torch.Tensor) -> torch.Tensor:
    """Mean column of every mask (n f)."""
    weight = masks.sum(-2)
    return (weight * (torch.arange(masks.shape[-1]) + 0.5)).sum(-1) / weight.sum(-1)


def test_people_keep_their_masks_when_they_cross(squares, crossing, cast_of):
    tracks = FaceTracks(squares)
    assert isinstance(tracks, VideoSegmenter)
    masks = tracks(crossing, cast_of("Ben", "Anna"))
    assert masks.shape == (2, 10, 60, 100)
    ben, anna = middles(masks)
    assert (anna[:8].diff() > 5).all() and (ben[2:].diff() < -5).all()


def test_frames_in_which_someone_is_hidden_are_filled_in_between(squares, crossing, cast_of):
    ben = middles(FaceTracks(squares)(crossing, cast_of("Ben")))[0]
    torch.testing.assert_close(ben[3:7].diff(), torch.full((3,), -8.0), atol=0.5, rtol=0)


def test_before_and_after_someone_is_seen_the_place_is_held(squares, drawn, cast_of):
    empty, there = torch.zeros(3, 40, 60), drawn(40, 60, Anna=(10, 10, 20, 22))
    masks = FaceTracks(squares)(torch.stack([empty, there, empty]), cast_of("Anna"))
    assert torch.equal(masks[:, 0], masks[:, 1]) and torch.equal(masks[:, 2], masks[:, 1])
    assert masks.max() == 1


def test_when_two_look_alike_the_place_decides(squares, drawn, cast_of):
    """Recognition tells nobody apart after the first frame: who was where goes on."""
    frames = [drawn(40, 90, Anna=(10 + f, 10, 24 + f, 26), Ben=(60 - f, 10, 74 - f, 26)) for f in range(5)]
    see = squares.recognise
    squares.recognise = lambda picture, marks: see(picture, marks) + 3.0 * (not torch.equal(picture, frames[0]))
    anna, ben = middles(FaceTracks(squares)(torch.stack(frames), cast_of("Anna", "Ben")))
    assert (anna < 30).all() and (ben > 55).all()


def test_someone_who_comes_back_elsewhere_is_known_again(squares, drawn, cast_of):
    places = [(10, 10, 20, 22), (10, 10, 20, 22), None, (60, 30, 70, 42)]
    frames = [drawn(60, 90, **({"Anna": box} if box else {}), Ben=(35, 5, 45, 17)) for box in places]
    anna, ben = middles(FaceTracks(squares)(torch.stack(frames), cast_of("Anna", "Ben")))
    torch.testing.assert_close(anna, torch.tensor([15.0, 15, 40, 65]), atol=3, rtol=0)
    assert (ben - 40).abs().max() < 3


def test_a_passer_by_takes_nobody_s_place(squares, drawn, cast_of):
    """Cleo is not in the cast and stands where Anna was while Anna is hidden."""
    frames = [drawn(60, 90, **{("Cleo" if f == 2 else "Anna"): (10 + f, 10, 20 + f, 22)}) for f in range(5)]
    frames[2] = drawn(60, 90, Cleo=(40, 30, 50, 42))
    anna = middles(FaceTracks(squares)(torch.stack(frames), cast_of("Anna")))[0]
    torch.testing.assert_close(anna, torch.arange(5) + 15.0, atol=0.5, rtol=0)


def test_too_few_people_divide_the_picture_with_a_warning(squares, crossing, cast_of):
    with pytest.warns(UserWarning, match="no face like Cleo in any of the 10 frames, so the picture is divided"):
        masks = FaceTracks(squares)(crossing, cast_of("Anna", "Ben", "Cleo"))
    torch.testing.assert_close(masks, columns(crossing, cast_of("Anna", "Ben", "Cleo")))


def test_without_a_fallback_that_is_an_error(squares, cast_of):
    with pytest.raises(ValueError, match="no face like Anna, Ben in any of the 2 frames; use other routing"):
        FaceTracks(squares, fallback=None)(torch.zeros(2, 3, 30, 40), cast_of("Anna", "Ben"))


def test_someone_who_looks_like_nobody_in_the_video_is_a_guess_that_is_said(squares, crossing, cast_of):
    """The coarse pass of Post-Denoise knows nothing of faces: its people need not look like the cast."""
    with pytest.warns(UserWarning, match="no face looks like Cleo"):
        cleo, anna = middles(FaceTracks(squares)(crossing, cast_of("Cleo", "Anna")))
    assert (anna[:8].diff() > 5).all() and (cleo[2:].diff() < -5).all()


@pytest.mark.parametrize("people", [1, 2, 3])
def test_columns_fill_the_picture_from_left_to_right(cast_of, people):
    masks = columns(torch.zeros(2, 3, 4, 12), cast_of("Anna", "Ben", "Cleo")[:people])
    assert (masks.sum(0) == 1).all()
    assert (middles(masks)[:, 0].diff() > 0).all()


def test_real_people_are_followed_while_the_camera_moves(face_encoder, pictures, group):
    from byav_core.perception.locator import FaceLocator

    cast = tuple(Character(name, pictures[name], face_encoder(pictures[name])) for name in ("ben", "anna"))
    video = torch.stack([group[:, 60:460, 150 + 12 * f : 700 + 12 * f] for f in range(3)])
    video[1] = 0.5  # nobody is seen
    masks = FaceTracks(FaceLocator(face_encoder.find, face_encoder.recognise))(video, cast)
    ben, anna = middles(masks)
    assert (ben > anna + 150).all()
    torch.testing.assert_close(anna.diff(), torch.full((2,), -12.0), atol=4, rtol=0)


def small_sam2(folder, side: int = 128):
    """SAM 2 of the real architecture in small, weights random but sure that everyone is there."""
    from transformers import Sam2VideoConfig, Sam2VideoModel

    quarter, width = side // 4, 128
    backbone = dict(
        model_type="sam2_hiera_det_model", hidden_size=12, image_size=[side, side], blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[12, 24, 48, 96], num_attention_heads_per_stage=[1, 1, 2, 4],
        window_size_per_stage=[8, 4, 4, 2], global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    )  # fmt: skip
    vision = dict(
        model_type="sam2_vision_model", backbone_config=backbone, backbone_channel_list=[96, 48, 24, 12],
        backbone_feature_sizes=[[quarter // 2**i] * 2 for i in range(3)], fpn_hidden_size=width,
    )  # fmt: skip
    config = Sam2VideoConfig(
        vision_config=vision, image_size=side, memory_attention_hidden_size=width, memory_attention_num_layers=1,
        prompt_encoder_config=dict(hidden_size=width, image_size=side, patch_size=16),
        mask_decoder_config=dict(hidden_size=width, mlp_dim=64, num_attention_heads=2, iou_head_hidden_dim=32),
        memory_attention_feed_forward_hidden_size=64, memory_attention_rope_feat_sizes=[quarter // 4] * 2,
        memory_encoder_hidden_size=width, mask_downsampler_embed_dim=width, memory_fuser_embed_dim=width,
        memory_fuser_intermediate_dim=64,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Sam2VideoModel(config)
    model.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(5)
    model.save_pretrained(folder)
    return folder


def test_sam2_follows_everyone_forwards_and_backwards(tmp_path, squares, crossing, cast_of):
    segment = Sam2Segmenter(small_sam2(tmp_path), squares)
    assert isinstance(segment, VideoSegmenter)
    video = crossing[3:8].clone()  # both are seen first in the first frame of it; Ben is hidden in the next two
    video[0] = 0
    masks = segment(video, cast_of("Ben", "Anna"))
    assert masks.shape == (2, 5, 60, 100)
    assert torch.isfinite(masks).all() and masks.sum(0).max() <= 1 + 1e-5
    assert (masks.std((-2, -1)) > 0).all()
    assert not masks.is_inference()
    assert (masks[0] - masks[1]).abs().max() > 1e-4  # their boxes differ, so do their masks


def test_sam2_needs_someone_to_follow(tmp_path, squares, crossing, cast_of):
    with pytest.raises(ValueError, match="no face like Cleo in any of the 10 frames, so SAM 2 cannot be told whom"):
        Sam2Segmenter(small_sam2(tmp_path), squares)(crossing, cast_of("Anna", "Ben", "Cleo"))


def test_sam2_without_its_weights(tmp_path, squares):
    with pytest.raises(FileNotFoundError, match=f"no SAM 2 weights in {tmp_path}.*facebook/sam2.1-hiera-large"):
        Sam2Segmenter(tmp_path, squares)
    weights = small_sam2(tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ValueError, match="cannot be read as weights"):
        Sam2Segmenter(tmp_path, squares)
