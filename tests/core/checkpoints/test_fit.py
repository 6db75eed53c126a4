from pathlib import Path

import pytest
from torch import Size

from byav_core.checkpoints.fit import CheckpointError, gather, require_fit


def test_names_that_differ_in_numbers_become_one_pattern_that_says_exactly_them():
    keys = [f"blocks.{i}.ff.{j}.weight" for i in (0, 1, 2, 5) for j in (0, 2)] + ["norm.weight", "7.bias"]
    assert gather(keys) == ["blocks.{0-2,5}.ff.{0,2}.weight", "norm.weight", "7.bias"]


def test_a_pattern_that_would_say_more_than_the_names_is_not_used():
    assert gather(["a.0.b.1", "a.1.b.0"]) == ["a.0.b.1", "a.1.b.0"]


def test_everything_that_does_not_fit_is_in_one_error_counted_and_under_its_file():
    expected = {f"blocks.{i}.weight": Size([3, 5]) for i in range(12)} | {"norm.bias": Size([7])}
    found = {f"blocks.{i}.weight": Size([3, 5]) for i in range(2)} | {"norm.bias": Size([8]), "extra": Size([])}
    with pytest.raises(CheckpointError) as error:
        require_fit(expected, found, lambda key: Path("b" if key.startswith("blocks") else "n"), "some model")
    for sentence in (
        "'some model'",
        "b: missing (10): blocks.{2-11}.weight",
        "n: unknown (1): extra",
        "n: has shape (8,) instead of (7,) (1): norm.bias",
    ):
        assert sentence in str(error.value)


def test_what_fits_raises_nothing():
    require_fit({"a": Size([2])}, {"a": Size([2])}, lambda key: Path(key), "any")
