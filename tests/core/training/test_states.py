"""States on disk: which are whole, and whether they are of the training that wants to go on."""

import json

import pytest

from byav_core.training.states import COURSE, check_course, check_nothing_is_lost, whole_states

BEFORE = {"seed": 1, "stage": {"steps": 5, "drops": {"text": 0.0}}, "betas": [0.9, 0.95]}


@pytest.fixture
def folder(tmp_path):
    """States of three steps, with a file each."""
    for step in (1, 2, 10):
        state = tmp_path / f"step-{step:06}"
        state.mkdir()
        (state / "model.safetensors").write_bytes(b"weights")
        (state / COURSE).write_text(json.dumps({"course": BEFORE, "bytes": {"model.safetensors": 7}}))
    return tmp_path


def cut(state):
    (state / "model.safetensors").write_bytes(b"we")


def test_states_that_would_be_lost_are_named(folder, tmp_path):
    with pytest.raises(FileExistsError, match=f"up to step 10 in {folder}; go on with --resume"):
        check_nothing_is_lost(folder)
    check_nothing_is_lost(tmp_path / "another")


def test_the_same_course_goes_on(folder, tmp_path):
    check_course(folder, {**BEFORE, "betas": (0.9, 0.95)})
    check_course(tmp_path / "another", BEFORE)


def test_every_difference_is_named_with_both_values(folder):
    now = {"seed": 2, "stage": {"steps": 5, "drops": {"text": 0.1}}, "betas": [0.9, 0.95], "ema": 0.5}
    with pytest.raises(ValueError) as refused:
        check_course(folder, now)
    for change in ("seed was 1 and is now 2", "stage.drops.text was 0.0 and is now 0.1", "ema was null and is now 0.5"):
        assert change in str(refused.value)
    assert "steps" not in str(refused.value) and "betas" not in str(refused.value)


@pytest.mark.parametrize("spoil", [cut, lambda state: (state / COURSE).unlink()], ids=["cut short", "without a course"])
def test_what_is_not_whole_is_left_out(folder, spoil, caplog):
    spoil(folder / "step-000010")
    check_course(folder, BEFORE)
    assert "step-000010" in caplog.text and "is not whole and is left out" in caplog.text
    assert [path.name for path in whole_states(folder)] == ["step-000001", "step-000002"]


def test_where_nothing_is_whole_a_file_is_named(folder):
    for state in folder.iterdir():
        cut(state)
    with pytest.raises(ValueError, match="step-000010/model.safetensors is not whole, and there is no other state"):
        check_course(folder, BEFORE)
