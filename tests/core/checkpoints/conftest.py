import gzip
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from byav_core.checkpoints.names import to_released
from byav_core.checkpoints.released import CONFIG
from byav_core.config import ModelConfig, TextConfig, VideoAutoencoderConfig, tiny
from byav_core.network import Network


def cogvideox_tiny() -> ModelConfig:
    """tiny() beside small ones of CogVideoX's own text encoder and autoencoder, as the release has them."""
    base = tiny()
    return replace(
        base,
        transformer=replace(
            base.transformer, in_channels=24, out_channels=8, text_embed_dim=48, patch_size=2, rotary_height=4,
            rotary_width=6,
        ),
        text=TextConfig("bytes", d_model=48, d_kv=16, d_ff=96, num_layers=2, num_heads=3, vocab_size=384),
        video=VideoAutoencoderConfig(
            block_out_channels=(8, 16, 16, 16), latent_channels=8, layers_per_block=1, norm_num_groups=4,
            sample_height=64, sample_width=96,
        ),
    )  # fmt: skip


def released_tiny() -> ModelConfig:
    """The released dialect at the size of tiny()."""
    base = cogvideox_tiny()
    router = replace(base.router, head="sigmoid", positions="table", table_extent=(5, 4, 6))
    transformer = replace(base.transformer, use_learned_positional_embeddings=True)
    return replace(base, name="released, tiny", router=router, transformer=transformer, trained="released")


DIALECTS = {"paper": cogvideox_tiny(), "released": released_tiny()}


@pytest.fixture(name="cogvideox_tiny", scope="session")
def _cogvideox_tiny() -> ModelConfig:
    return cogvideox_tiny()


@pytest.fixture(scope="session", params=DIALECTS)
def network(request) -> Network:
    """A tiny network in both dialects; not to be changed."""
    return Network.seeded(DIALECTS[request.param], seed=3).eval()


@pytest.fixture(scope="session")
def released_network() -> Network:
    return Network.seeded(DIALECTS["released"], seed=4).eval()


@pytest.fixture(scope="session")
def full_shapes(vectors) -> dict[str, tuple[int, ...]]:
    """Every name and shape of the full-size released model."""
    shapes = json.loads(gzip.decompress((vectors / "released_shapes.json.gz").read_bytes()))
    return {name: tuple(shape) for name, shape in shapes.items()}


def below(tensors: dict, prefix: str) -> dict:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


@pytest.fixture(name="below", scope="session")
def _below():
    return below


@pytest.fixture
def authors_folder(tmp_path):
    """Writes a network as its authors would, by hand: five files, nested as theirs are. Returns the folder.

    lora: adapters under the names of the file. edit: changes the tensors of the whole model before they are written.
    """

    def write(network: Network, lora: dict | None = None, edit=lambda tensors: None, name: str = "released") -> Path:
        config, folder = network.config, tmp_path / name
        tensors = dict(to_released(network.state_dict(), config.transformer))
        edit(tensors)
        beside = ("audio_model.", "local_facial_extractor.", "perceiver_cross_attention.", "router.")
        for sub in ("transformer", "audio_module", "face_module", "router", "lora_weight"):
            (folder / sub).mkdir(parents=True)
        base = {name: tensor for name, tensor in tensors.items() if not name.startswith(beside)}
        save_file(base, folder / "transformer" / "diffusion_pytorch_model.safetensors")
        (folder / "transformer" / "config.json").write_text(json.dumps({CONFIG: asdict(config)}))
        torch.save(below(tensors, "audio_model."), folder / "audio_module" / "audio_modules.pt")
        torch.save(below(tensors, "router."), folder / "router" / "router_modules.pt")
        attention = "perceiver_cross_attention"
        layers = [below(tensors, f"{attention}.{i}.") for i in range(config.transformer.face_layers)]
        faces = {"local_facial_extractor": below(tensors, "local_facial_extractor."), attention: layers}
        torch.save(faces, folder / "face_module" / "face_modules.pt")
        save_file(lora or {}, folder / "lora_weight" / "pytorch_lora_weights.safetensors")
        return folder

    return write


@pytest.fixture(scope="session")
def equal_states():
    """Asserts that two networks hold the same numbers under the same names."""

    def check(ours: Network, theirs: Network) -> None:
        ours, theirs = ours.state_dict(), theirs.state_dict()
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []

    return check
