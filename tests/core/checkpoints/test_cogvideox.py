"""The base models as a start: what they have is taken over, what they lack starts untrained and is said."""

import json
import logging

import pytest
import torch
from diffusers import CogVideoXTransformer3DModel, ConsisIDTransformer3DModel

from byav_core.checkpoints import CheckpointError, convert, detect, inspect, load_network
from byav_core.checkpoints.cogvideox import read_base
from byav_core.checkpoints.load import network_from
from byav_core.checkpoints.names import released_name
from byav_core.types import Conditioning, Routed

SHARED = dict(
    num_attention_heads=4,
    attention_head_dim=16,
    in_channels=16,
    out_channels=8,
    time_embed_dim=24,
    text_embed_dim=48,
    num_layers=6,
    sample_width=12,
    sample_height=8,
    sample_frames=17,
    max_text_seq_length=10,
    use_rotary_positional_embeddings=True,
    use_learned_positional_embeddings=True,
)
FACES = dict(
    is_train_face=True,
    cross_attn_interval=3,
    cross_attn_dim_head=24,
    cross_attn_num_heads=2,
    LFE_id_dim=72,
    LFE_vit_dim=64,
    LFE_depth=5,
    LFE_dim_head=8,
    LFE_num_heads=4,
    LFE_num_id_token=3,
    LFE_num_querie=8,
    LFE_output_dim=42,  # ConsisID takes two thirds of the video's width
    LFE_ff_mult=2,
)


@pytest.fixture(scope="module")
def cogvideox() -> CogVideoXTransformer3DModel:
    torch.manual_seed(5)
    return CogVideoXTransformer3DModel(**SHARED).eval()


@pytest.fixture(scope="module")
def consisid() -> ConsisIDTransformer3DModel:
    torch.manual_seed(6)
    return ConsisIDTransformer3DModel(**SHARED, **FACES).eval()


@pytest.fixture
def start(tmp_path, cogvideox_tiny):
    """Saves a base model as diffusers does and starts a tiny network from it."""

    def run(base, kind):
        base.save_pretrained(tmp_path / "transformer")
        return network_from(read_base(tmp_path, kind, into=cogvideox_tiny))

    return run


def test_cogvideox_gives_the_video_blocks(cogvideox, start, tmp_path):
    network = start(cogvideox, "cogvideox")
    assert detect(tmp_path) == "cogvideox"
    ours = network.transformer.state_dict()
    for name, tensor in cogvideox.state_dict().items():
        if name != "patch_embed.proj.weight":
            assert torch.equal(ours[name], tensor.float()), name
    assert network.config.transformer.num_layers == 6 and network.config.transformer.in_channels == 24


def test_consisid_gives_the_faces_too(consisid, start, tmp_path):
    network = start(consisid, "consisid")
    assert detect(tmp_path) == "consisid"
    assert network.config.transformer.face_interval == 3
    assert (network.config.face_extractor.heads, network.config.face_extractor.head_dim) == (4, 8)
    ours = {released_name(key, network.config.transformer): t for key, t in network.state_dict().items()}
    for name, tensor in consisid.state_dict().items():
        if name != "patch_embed.proj.weight":
            assert torch.equal(ours[name], tensor.float()), name


@pytest.mark.parametrize("kind", ["cogvideox", "consisid"])
def test_the_new_input_channels_start_without_effect(kind, start, request):
    base = request.getfixturevalue(kind)
    ours = start(base, kind).transformer.patch_embed.proj.weight
    assert torch.equal(ours[:, :16], base.patch_embed.proj.weight) and not ours[:, 16:].any()


def test_what_was_started_untrained_is_listed(cogvideox, consisid, start, caplog):
    with caplog.at_level(logging.WARNING):
        start(consisid, "consisid")
    assert "transformer.transformer_blocks.{0-5}.audio.attn.to_q.weight" in caplog.text
    assert "router.to_q.{0-1}.weight" in caplog.text and "speech_projector.conv1.weight" in caplog.text
    assert "face" not in caplog.text
    with caplog.at_level(logging.WARNING):
        start(cogvideox, "cogvideox")
    assert "face_extractor.latents" in caplog.text and "transformer_blocks.{0,2,4}.face.to_kv.weight" in caplog.text


def test_untrained_parts_follow_from_a_seed_and_leave_the_random_state_alone(cogvideox, start):
    state = torch.random.get_rng_state()
    one, other = start(cogvideox, "cogvideox"), start(cogvideox, "cogvideox")
    assert torch.equal(torch.random.get_rng_state(), state)
    for mine, its in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, its)
    assert one.router.to_q[0].weight.std() > 0


def test_every_output_will_say_that_a_start_is_untrained(cogvideox, start):
    assert start(cogvideox, "cogvideox").config.trained == "untrained faces, speech and router, started from CogVideoX"


@torch.no_grad()
def test_before_anything_is_bound_a_start_computes_what_cogvideox_computes(cogvideox, start):
    transformer = start(cogvideox, "cogvideox").transformer
    generator = torch.Generator().manual_seed(1)
    noisy, text = (torch.randn(shape, generator=generator) for shape in ((1, 5, 16, 8, 12), (1, 10, 48)))
    third = torch.randn(1, 5, 8, 8, 12, generator=generator)
    timestep = torch.tensor([400])

    def nobody(layer, q, k):
        return Routed(q.new_zeros(1, 1, q.shape[2]))

    binding = transformer.project(
        Conditioning(text, torch.zeros(1, 1, 8, 80), torch.zeros(1, 0, 5, 6, 56), torch.zeros(1, 0, 1))
    )
    ours, _ = transformer(torch.cat([noisy, third], dim=2), text, timestep, binding, nobody)
    rotary = transformer.rotary(transformer.grid(noisy), noisy.device)
    theirs = cogvideox(noisy, text, timestep, image_rotary_emb=rotary).sample
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_base_model_with_a_key_missing_or_too_many_says_which(cogvideox, cogvideox_tiny, tmp_path):
    cogvideox.save_pretrained(tmp_path / "transformer")
    config = tmp_path / "transformer/config.json"
    config.write_text(config.read_text().replace('"num_layers": 6', '"num_layers": 5'))
    with pytest.raises(CheckpointError, match=r"unknown \(24\): transformer_blocks.5"):
        read = read_base(tmp_path, "cogvideox", into=cogvideox_tiny)
        network_from(read)


def test_cogvideox_1_5_is_another_kind_of_model(cogvideox, tmp_path):
    cogvideox.save_pretrained(tmp_path / "transformer")
    config = tmp_path / "transformer/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"patch_size_t": 2, "ofs_embed_dim": 512}))
    with pytest.raises(CheckpointError, match="patch_size_t = 2.*CogVideoX-5B-I2V .not 1.5."):
        load_network(tmp_path)


def test_a_base_model_is_described_as_a_start_but_not_converted(cogvideox, tmp_path):
    cogvideox.save_pretrained(tmp_path / "transformer")
    for part, said in (("text_encoder", {"d_model": 48}), ("vae", {"latent_channels": 8})):
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text(json.dumps(said))
    said = inspect(tmp_path)
    assert "cogvideox: base model CogVideoX" in said and "would start untrained" in said
    with pytest.raises(CheckpointError, match="no whole model to convert"):
        convert(tmp_path, tmp_path / "one.safetensors")
