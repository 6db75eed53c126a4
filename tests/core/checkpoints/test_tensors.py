import json
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from byav_core.checkpoints.fit import CheckpointError
from byav_core.checkpoints.tensors import read_metadata, read_shapes, read_tensors, write_pickle, write_safetensors

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "blocks.1.weight": torch.randn(30, 700, generator=generator),
        "half": torch.randn(5, generator=generator).bfloat16(),
        "table": torch.randn(2, 3, dtype=torch.float64, generator=generator),
        "steps": torch.tensor(7),
    }


@pytest.fixture(params=["safetensors", "pt"])
def file(request, tmp_path, tensors) -> Path:
    path = tmp_path / f"some.{request.param}"
    (write_safetensors if request.param == "safetensors" else write_pickle)(tensors, path)
    return path


def test_what_is_written_is_read(file, tensors):
    read = read_tensors(file)
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


def test_shapes_and_dtypes_are_read_without_the_numbers(file, tensors):
    shapes = read_shapes(file)
    assert {t.device.type for t in shapes.values()} == {"meta"}
    described = {name: (t.shape, t.dtype) for name, t in shapes.items()}
    assert described == {name: (t.shape, t.dtype) for name, t in tensors.items()}


@linux
def test_tensors_lie_in_the_mapped_file_and_not_in_memory_of_their_own(file):
    for tensor in read_tensors(file).values():
        assert _mapped_from(tensor.data_ptr()) == str(file)


def test_writing_to_a_tensor_does_not_reach_the_file(file, tensors):
    read_tensors(file)["blocks.1.weight"].zero_()
    assert torch.equal(read_tensors(file)["blocks.1.weight"], tensors["blocks.1.weight"])


def test_nested_dictionaries_and_lists_give_dotted_names_and_words_are_left_out(tmp_path, tensors):
    write_pickle(
        {"face": {"a": tensors["half"]}, "list": [tensors, {"b": tensors["half"]}], "epoch": 3}, tmp_path / "n.pt"
    )
    names = read_tensors(tmp_path / "n.pt").keys()
    assert names == {"face.a", *(f"list.0.{name}" for name in tensors), "list.1.b"}


def test_pytorchs_oldest_format_is_read_too(tmp_path, tensors):
    torch.save(tensors, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    assert torch.equal(read_tensors(tmp_path / "old.bin")["half"], tensors["half"])


def test_tied_tensors_are_written_under_both_names(tmp_path, tensors):
    write_safetensors({"one": tensors["half"], "two": tensors["half"]}, tmp_path / "tied.safetensors")
    read = read_tensors(tmp_path / "tied.safetensors")
    assert torch.equal(read["one"], read["two"])


def test_metadata_is_kept(tmp_path, tensors):
    write_safetensors(tensors, tmp_path / "m.safetensors", {"said": "so"})
    assert read_metadata(tmp_path / "m.safetensors")["said"] == "so"
    assert read_metadata(tmp_path / "m.pt") == {}


@pytest.mark.parametrize("write", [write_safetensors, write_pickle])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, tensors, write, monkeypatch):
    path = tmp_path / "old.safetensors"
    write_safetensors(tensors, path)

    def full(content, where, **_):
        Path(where).write_bytes(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr("byav_core.checkpoints.tensors.save_file", full)
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="no space"):
        write({"new": tensors["half"]}, path)
    assert os.listdir(tmp_path) == [path.name]
    assert read_tensors(path).keys() == tensors.keys()


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_what_is_written_may_be_read_by_whom_any_new_file_may(tmp_path, tensors):
    (tmp_path / "any").touch()
    write_safetensors(tensors, tmp_path / "w.safetensors")
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "any").stat().st_mode


class Code:
    """What a malicious file could hold: unpickling it would call a function."""

    def __reduce__(self):
        return os.mkdir, ("opened",)


@pytest.mark.parametrize("read", [read_tensors, read_shapes])
def test_a_pickle_with_code_in_it_is_refused_and_nothing_runs(tmp_path, monkeypatch, read):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.zeros(2), "more": Code()}, tmp_path / "code.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Code(), protocol=2))
    for name in ("code.pt", "plain.pt"):
        with pytest.raises(
            CheckpointError, match=r"would run \w+.mkdir. It was not opened; ask for a safetensors file"
        ):
            read(tmp_path / name)
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("kept", [0, 4, 100, 50_000])
@pytest.mark.parametrize("read", [read_tensors, read_shapes])
def test_a_truncated_file_is_said_to_be_cut_short_with_its_size(file, kept, read):
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=rf"{file.name} \({kept} bytes\) is not a whole .* fetch it again"):
        read(file)


@pytest.mark.parametrize("name", ["pointer.pt", "pointer.safetensors"])
def test_a_pointer_in_place_of_a_file_is_no_weights_file(tmp_path, name):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(CheckpointError, match=name):
        read_tensors(tmp_path / name)


def test_a_missing_file_and_one_of_another_kind_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.pt"):
        read_tensors(tmp_path / "absent.pt")
    (tmp_path / "model.onnx").touch()
    with pytest.raises(CheckpointError, match="model.onnx is no weights file"):
        read_tensors(tmp_path / "model.onnx")


def test_a_header_with_numbers_of_a_kind_that_torch_has_not_names_them(tmp_path):
    header = json.dumps({"x": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode()
    (tmp_path / "4.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(1))
    with pytest.raises(CheckpointError, match="x in .*4.safetensors is stored as F4"):
        read_shapes(tmp_path / "4.safetensors")


def test_a_header_with_a_dtype_unknown_to_torch_is_still_read_for_the_known(tmp_path):
    save_file(
        {"small": torch.zeros(3, dtype=torch.float8_e4m3fn), "yes": torch.tensor([True]), "z": torch.zeros(2) + 1j},
        tmp_path / "8.safetensors",
    )
    assert {t.dtype for t in read_shapes(tmp_path / "8.safetensors").values()} == {
        torch.float8_e4m3fn,
        torch.bool,
        torch.complex64,
    }


def _mapped_from(address: int) -> str:
    for line in Path("/proc/self/maps").read_text().splitlines():
        extent, *_, name = line.split(maxsplit=5)
        first, end = (int(number, 16) for number in extent.split("-"))
        if first <= address < end:
            return name
    return ""
