from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from byav_core.config import VideoAutoencoderConfig, tiny
from byav_core.encoders import untrained
from byav_core.encoders.untrained import as_words
from byav_core.encoders.video_vae import VideoVae, load_video_vae, small_video_vae, video_in_the_box
from byav_core.protocols import VideoAutoencoder

CONFIG = VideoAutoencoderConfig(
    block_out_channels=(8, 16, 16, 16), latent_channels=8, layers_per_block=1, norm_num_groups=4,
    sample_height=64, sample_width=96,
)  # fmt: skip
PATCHES = tiny().video


@pytest.fixture(scope="module")
def vae():
    """CogVideoX's, in small."""
    return small_video_vae(CONFIG)


@pytest.fixture(scope="module", params=[CONFIG, PATCHES], ids=["CogVideoX", "patches"])
def either(request):
    return small_video_vae(request.param)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def video(frames: int, height: int, width: int, rows: int = 1) -> torch.Tensor:
    return torch.rand(rows, frames, 3, height, width, generator=seeded(7))


def test_it_is_a_video_autoencoder(either):
    assert isinstance(either, VideoAutoencoder)


@pytest.mark.parametrize("frames, height, width", [(1, 32, 48), (9, 16, 40), (5, 64, 96), (13, 16, 24), (21, 24, 16)])
def test_time_shrinks_four_times_after_the_first_frame_and_space_eight_times(either, frames, height, width):
    latents = either.encode(video(frames, height, width), seeded())
    assert latents.shape == (1, 1 + (frames - 1) // 4, either.config.latent_channels, height // 8, width // 8)
    back = either.decode(latents)
    assert back.shape == (1, frames, 3, height, width)
    assert back.min() >= 0 and back.max() <= 1


def test_decoding_noise_is_not_a_constant_picture(either):
    frames = either.decode(torch.randn(1, 3, either.config.latent_channels, 4, 6, generator=seeded()))
    assert frames.std((-2, -1)).min() > 0.03
    assert (frames[:, 1:] - frames[:, :-1]).abs().mean() > 0.01


def test_encoding_to_patches_leaves_nothing_to_chance():
    vae, x = small_video_vae(PATCHES), video(5, 16, 24)
    assert torch.equal(vae.encode(x, seeded(1)), vae.encode(x, seeded(2)))


def test_pixels_and_latents_are_scaled_as_diffusers_does_it(vae):
    x, z = video(5, 16, 24), torch.randn(1, 3, CONFIG.latent_channels, 2, 3, generator=seeded())
    with torch.no_grad():
        posterior = vae.module.encode(x.transpose(1, 2) * 2 - 1).latent_dist
        expected = posterior.sample(seeded(3)).transpose(1, 2) * CONFIG.scaling_factor
        pixels = vae.module.decode(z.transpose(1, 2) / CONFIG.scaling_factor).sample.transpose(1, 2)
    torch.testing.assert_close(vae.encode(x, seeded(3)), expected)
    torch.testing.assert_close(vae.decode(z), ((pixels + 1) / 2).clamp(0, 1))


def test_encoding_draws_from_the_generator_and_nothing_else(vae):
    before = torch.random.get_rng_state()
    first, again, other = (vae.encode(video(1, 16, 24), seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_rows_of_a_batch_do_not_touch_each_other(either):
    x = video(5, 16, 24, rows=2)
    z = torch.randn(2, 2, either.config.latent_channels, 2, 3, generator=seeded())
    torch.testing.assert_close(either.decode(z)[1:], either.decode(z[1:]))
    assert either.encode(x, seeded()).shape[0] == 2


def test_frames_up_to_the_trained_size_are_not_cut(vae):
    latents = torch.randn(1, 1, CONFIG.latent_channels, CONFIG.sample_height // 8, CONFIG.sample_width // 8)
    with torch.no_grad():
        vae.module.use_tiling, whole = False, None
        whole = vae.decode(latents)
        vae.module.use_tiling = True
    assert torch.equal(vae.decode(latents), whole)


@pytest.mark.parametrize("height, width", [(128, 192), (72, 104), (64, 200)])
def test_larger_frames_go_through_in_tiles_and_keep_their_size(height, width):
    vae = small_video_vae(CONFIG)
    z = torch.randn(1, 2, CONFIG.latent_channels, height // 8, width // 8, generator=seeded())
    tiled = vae.decode(z)
    assert tiled.shape == (1, 5, 3, height, width)
    assert vae.encode(tiled, seeded()).shape == z.shape
    vae.module.use_tiling = False
    inner = (..., slice(0, 40), slice(0, 64))  # away from where tiles meet and the norms see another extent
    assert (tiled - vae.decode(z))[inner].abs().mean() < 0.1


def test_a_model_folder_loads(tmp_path, vae):
    small_video_vae(CONFIG, seed=5).module.save_pretrained(tmp_path / "vae")
    loaded = load_video_vae(tmp_path, CONFIG, torch.bfloat16)
    assert loaded.module.dtype == torch.bfloat16
    assert loaded.decode(torch.zeros(1, 1, CONFIG.latent_channels, 2, 3)).dtype == torch.float32
    again = load_video_vae(tmp_path, CONFIG)
    x = video(1, 16, 24)
    assert torch.equal(again.encode(x, seeded()), small_video_vae(CONFIG, seed=5).encode(x, seeded()))
    assert not torch.equal(again.encode(x, seeded()), vae.encode(x, seeded()))


@pytest.mark.parametrize("config", [CONFIG, PATCHES], ids=["CogVideoX", "patches"])
def test_building_leaves_the_random_state_alone(config):
    before = torch.random.get_rng_state()
    small_video_vae(config)
    assert torch.equal(before, torch.random.get_rng_state())


def test_missing_cut_and_foreign_weights_are_refused(tmp_path, vae):
    with pytest.raises(FileNotFoundError, match=f"no vae/config.json in {tmp_path}; copy vae/ of the CogVideoX model"):
        load_video_vae(tmp_path, CONFIG)
    vae.module.save_pretrained(tmp_path / "vae")
    weights = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:9000])
    with pytest.raises(ValueError, match="vae cannot be read as weights"):
        load_video_vae(tmp_path, CONFIG)
    weights.unlink()
    with pytest.raises(ValueError, match="vae cannot be read as weights"):
        load_video_vae(tmp_path, CONFIG)


def test_the_autoencoder_of_another_model_is_refused(vae):
    with pytest.raises(ValueError, match="has 8 latent channels but the model expects 16"):
        VideoVae(replace(CONFIG, latent_channels=16), vae.module)


def write_box(folder, config, seed):
    half = {name: x.half() for name, x in small_video_vae(config, seed).module.state_dict().items()}
    save_file(half, folder / "tiny_video.safetensors", {"config": as_words(config), "trained": "drawn world"})


def test_weights_in_a_box_are_found_by_their_configuration(tmp_path, monkeypatch):
    z = torch.randn(1, 2, PATCHES.latent_channels, 2, 3, generator=seeded())
    write_box(tmp_path, PATCHES, seed=5)
    loaded = load_video_vae(tmp_path, PATCHES)
    assert loaded.module.dtype == torch.float32
    assert (loaded.decode(z) - small_video_vae(PATCHES, seed=5).decode(z)).abs().max() < 0.01
    monkeypatch.setattr(untrained, "IN_THE_BOX", tmp_path)
    assert torch.equal(video_in_the_box(PATCHES).decode(z), loaded.decode(z))
    other = replace(PATCHES, depth=1)
    assert torch.equal(video_in_the_box(other).decode(z), small_video_vae(other).decode(z))


def test_a_named_box_without_weights_that_fit_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no .*tiny_video.safetensors; make it with"):
        load_video_vae(tmp_path, PATCHES)
    write_box(tmp_path, replace(PATCHES, depth=1), seed=5)
    with pytest.raises(ValueError, match="was made for a model of other extents"):
        load_video_vae(tmp_path, PATCHES)
