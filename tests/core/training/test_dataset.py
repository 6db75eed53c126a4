"""Samples from a folder or a rule, and what the encoders made of them, kept and read back as it was."""

import shutil
from collections import Counter
from dataclasses import replace

import pytest
import torch

from byav_core.clip import Truth, entry_of, save_sample, write_manifest
from byav_core.synthetic.to_disk import MANIFEST
from byav_core.training.dataset import Drawn, Examples, Folder
from byav_core.training.example import read_example, write_example


@pytest.fixture
def folder(squares, tmp_path):
    """Five clips with one character, three with two, and one of another split."""
    samples = [squares.draw(seed, 1) for seed in range(5)] + [squares.draw(seed, 2) for seed in range(4)]
    splits = ["train"] * 8 + ["test"]
    for sample in samples:
        save_sample(sample, tmp_path)
    write_manifest([entry_of(*one) for one in zip(samples, splits, strict=True)], tmp_path / MANIFEST)
    return tmp_path


def same(one, other):
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            same(a, b)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same(one[key], other[key])
    elif hasattr(one, "__dataclass_fields__"):
        same(vars(one), vars(other))
    else:
        assert one == other


def test_an_example_is_read_back_as_it_was(encoders, squares, tmp_path):
    example = encoders.example(squares.sample(2, 1))
    write_example(example, tmp_path / "example.safetensors")
    same(read_example(tmp_path / "example.safetensors"), example)


def test_a_folder_gives_its_split_by_number_of_characters(folder):
    source = Folder(folder)
    assert source.counts == {1: 5, 2: 3} and Folder(folder, "test").counts == {2: 1}
    assert {source.sample(1, index).name for index in range(5)} == {f"squares-1-{seed}" for seed in range(5)}


def test_every_clip_comes_once_before_any_comes_again_and_in_another_order(folder):
    source = Folder(folder)
    rounds = [[source.index(1, 5 * time + turn) for turn in range(5)] for time in range(4)]
    assert all(sorted(one) == [0, 1, 2, 3, 4] for one in rounds) and len({tuple(one) for one in rounds}) > 1


def test_a_split_that_is_not_there_is_named(folder):
    with pytest.raises(ValueError, match="no samples of the split 'validation'"):
        Folder(folder, "validation")


def test_a_sample_that_is_not_what_the_manifest_says_is_named(folder):
    path = folder / MANIFEST
    path.write_text(path.read_text("utf-8").replace('"characters": 1', '"characters": 3'), "utf-8")
    with pytest.raises(ValueError, match="squares-1-0.safetensors has 1 characters, but squares-1-0 in .* has 3"):
        [Folder(folder).sample(3, index) for index in range(5)]


def test_what_is_drawn_for_training_begins_where_it_is_told(squares):
    assert Drawn(squares.draw, {2: 9}, first=1000).sample(2, 3).name == "squares-2-1003"


def test_a_sample_is_encoded_once(encoders, squares, tmp_path):
    drawn = Counter()

    def draw(seed, characters):
        drawn[seed, characters] += 1
        return squares.draw(seed, characters)

    examples = Examples(Drawn(draw, {1: 1, 2: 2}), encoders, tmp_path / "encoded")
    assert examples.missing() == [(1, 0), (2, 0), (2, 1)]
    first, again = examples.example(2, 1), examples.example(2, 1)
    same(first, again)
    assert drawn == {(1, 2): 1} and examples.missing() == [(1, 0), (2, 0)]


def test_a_clip_cut_short_on_disk_is_encoded_again(encoders, squares, tmp_path, caplog):
    examples = Examples(squares, encoders, tmp_path)
    whole = examples.example(2, 1)
    (file,) = tmp_path.glob("2-*.safetensors")
    (tmp_path / "cut").write_bytes(file.read_bytes()[:5000])
    (tmp_path / "cut").rename(file)  # what was read before is still mapped
    same(examples.example(2, 1), whole)
    assert f"{file} is not whole" in caplog.text and examples.missing() == [(1, 0), (1, 1), (2, 0), (3, 0)]


def test_clips_that_the_disk_has_no_room_for_are_refused(encoders, squares, tmp_path, monkeypatch):
    """Four more like the one that is there are not encoded."""
    examples = Examples(replace(squares, counts={2: 5}), encoders, tmp_path)
    examples.example(2, 0)
    size, usage = next(tmp_path.glob("2-*")).stat().st_size, shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4 * size))
    examples.check_room()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4 * size - 1))
    with pytest.raises(ValueError, match='see of 5 clips takes .* GB more .*; set "keep" of the data to false'):
        examples.check_room()
    Examples(squares, encoders).check_room()


def test_kept_examples_are_those_made_each_time(encoders, squares, tmp_path):
    same(Examples(squares, encoders, tmp_path).example(1, 1), Examples(squares, encoders).example(1, 1))


def test_a_folder_encoded_for_another_model_is_refused(encoders, squares, tmp_path):
    Examples(squares, encoders, tmp_path, sign="one model")
    Examples(squares, encoders, tmp_path, sign="one model")
    with pytest.raises(ValueError, match="encoded for another model"):
        Examples(squares, encoders, tmp_path, sign="another model")


def test_a_sample_of_another_rate_is_named(encoders, squares):
    from dataclasses import replace

    with pytest.raises(ValueError, match="squares-2-0 has 30 frames a second but the model makes 12.5"):
        encoders.stage(replace(squares.sample(2, 0), fps=30.0))


def test_the_first_frame_hides_the_characters_and_nothing_else(squares):
    from byav_core.training.example import hidden_faces

    sample = squares.sample(2, 0)
    changed = (hidden_faces(sample) != sample.frames[0]).all(dim=0)
    assert torch.equal(changed, sample.masks[:, 0].amax(dim=0) > 0)
    assert torch.equal(hidden_faces(sample), hidden_faces(sample))


def test_faces_and_lips_most_are_looked_at_where_they_are_known_and_characters_elsewhere(encoders, squares):
    sample = squares.sample(2, 0)
    faces, lips = torch.zeros(2, *sample.masks.shape)
    faces[1, 0, :4, 8:16] = 1  # the upper half of a token
    lips[1, 0, :2, 8:16] = 1
    nothing = torch.zeros(2, len(sample.frames))
    known = replace(sample, truth=Truth(nothing, nothing, faces, lips, ("red", "blue")))
    everybody, only_faces = (replace(encoders, lips=5.0).example(one).focus for one in (sample, known))
    torch.testing.assert_close(everybody, encoders.example(sample).masks.sum(dim=0))
    assert only_faces[0, 0, 1] == only_faces.sum() == 0.5 + 5.0 * 0.25
