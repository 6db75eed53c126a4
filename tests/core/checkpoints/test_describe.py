from pathlib import Path

import pytest
import torch

from byav_core.checkpoints import CheckpointError, inspect, load_models, save_models, save_network
from byav_core.checkpoints import tensors as files


def facts(text: str) -> dict[str, list[str]]:
    """The lines of a description by the word that they stand under."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines()[1:]:
        word, value = line[:9].strip(), line[10:]
        found.setdefault(word or list(found)[-1], []).append(value)
    return found


def test_one_of_our_files_is_described(network, tmp_path):
    save_network(network, tmp_path / "one.safetensors")
    said = facts(inspect(tmp_path / "one.safetensors"))
    numbers = sum(tensor.numel() for tensor in network.state_dict().values())
    assert said["format"] == ["byav: one file with the whole network"]
    assert said["model"][0].startswith(network.config.name)
    assert said["training"] == [network.config.trained]
    assert said["size"][0].startswith(f"{numbers:,} numbers in {len(network.state_dict())} tensors, float32")
    assert said["complete"] == ["yes, every tensor has its place"]


def test_the_dialect_is_said(network, tmp_path):
    save_network(network, tmp_path / "one.safetensors")
    expected = {"softmax": "paper's dialect (softmax", "sigmoid": "released dialect (sigmoid"}
    assert expected[network.config.router.head] in inspect(tmp_path / "one.safetensors")


def test_the_numbers_of_each_part_are_the_same_in_both_formats(network, authors_folder, tmp_path):
    save_network(network, tmp_path / "one.safetensors")
    ours, theirs = (facts(inspect(path)) for path in (tmp_path / "one.safetensors", authors_folder(network)))
    assert ours["parts"] == theirs["parts"]
    assert theirs["format"] == ["released: the authors' published folder"]
    assert [Path(line.rsplit(" ", 2)[0]).name for line in theirs["on disk"]] == [
        "audio_modules.pt",
        "face_modules.pt",
        "router_modules.pt",
        "diffusion_pytorch_model.safetensors",
    ]
    for part in ("face_extractor", "speech_projector", "router"):
        numbers = sum(tensor.numel() for tensor in getattr(network, part).state_dict().values())
        assert any(line.startswith(f"{part.replace('_', ' ')}: {numbers:,} ") for line in ours["parts"])


def test_text_encoder_and_autoencoder_inside_are_counted(tmp_path):
    save_models(load_models("tiny"), tmp_path / "all.safetensors")
    assert {"text encoder", "video autoencoder"} <= {
        line.split(":")[0] for line in facts(inspect(tmp_path / "all.safetensors"))["parts"]
    }


def test_an_incomplete_model_is_said_to_be_and_why(released_network, authors_folder):
    folder = authors_folder(released_network, edit=lambda tensors: tensors.pop("router.norm.bias"))
    assert "router_modules.pt: missing (1): router.norm.bias" in "\n".join(facts(inspect(folder))["complete"])


@pytest.mark.parametrize(
    "path, what",
    [
        ("audio_module/audio_modules.pt", "speech projector and audio cross-attention of the release"),
        ("face_module/face_modules.pt", "face extractor and face cross-attention"),
        ("router/router_modules.pt", "router of the release"),
        ("transformer/diffusion_pytorch_model.safetensors", "video transformer in diffusers' layout"),
        ("lora_weight/pytorch_lora_weights.safetensors", "adapters (LoRA)"),
    ],
)
def test_each_released_file_by_itself_is_recognised(released_network, authors_folder, path, what):
    lora = {"transformer.transformer_blocks.0.attn1.to_q.lora_A.weight": torch.zeros(3, 5)}
    said = facts(inspect(authors_folder(released_network, lora=lora) / path))
    assert said["format"] == [what]


def test_an_unknown_file_is_described_by_what_it_holds(tmp_path):
    torch.save(
        {"mouth": {"weight": torch.zeros(3, 5), "bias": torch.zeros(5)}, "nose": torch.zeros(7)}, tmp_path / "u.pt"
    )
    said = facts(inspect(tmp_path / "u.pt"))
    assert said["format"] == ["unknown"]
    assert said["parts"] == [
        "mouth: 20 numbers in 2 tensors, float32, 80 bytes",
        "nose: 7 numbers in 1 tensor, float32, 28 bytes",
    ]
    assert said["size"] == ["27 numbers in 3 tensors, float32, 108 bytes"]


def test_a_file_without_tensors_is_described(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "e.pt")
    assert facts(inspect(tmp_path / "e.pt"))["size"] == ["no tensors"]


def test_numbers_are_not_read(network, authors_folder, tmp_path, monkeypatch):
    folder = authors_folder(network)
    save_network(network, tmp_path / "one.safetensors")
    monkeypatch.setattr(files, "_safetensors", None)
    inspect(folder), inspect(tmp_path / "one.safetensors")


def test_what_cannot_be_read_says_so(network, tmp_path):
    path = tmp_path / "one.safetensors"
    save_network(network, path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="is not a whole safetensors file"):
        inspect(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        inspect(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="none of the models"):
        inspect(tmp_path)
