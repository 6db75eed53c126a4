import pytest

from byav_core.weights_folder import part_of, reading, refuse_gaps


def test_a_part_is_found_or_named(tmp_path):
    (tmp_path / "vae").mkdir()
    with pytest.raises(FileNotFoundError, match=f"no vae/config.json in {tmp_path}; copy vae/ of CogVideoX there"):
        part_of(tmp_path, "vae", "CogVideoX")
    (tmp_path / "vae" / "config.json").write_text("{}")
    assert part_of(str(tmp_path), "vae", "CogVideoX") == tmp_path / "vae"
    with pytest.raises(FileNotFoundError, match="there is no folder .*nowhere; name the folder that holds vae/"):
        part_of(tmp_path / "nowhere", "vae", "CogVideoX")


@pytest.mark.parametrize("error", [OSError("no disk"), RuntimeError("mismatch"), KeyError("layer"), Exception("x")])
def test_damage_is_said_with_the_place_and_its_cause_is_kept(tmp_path, error):
    with pytest.raises(ValueError, match=f"{tmp_path} cannot be read as weights .*; copy it again") as caught:
        with reading(tmp_path):
            raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [ImportError("transformers"), MemoryError()])
def test_what_is_not_the_files_fault_is_left_alone(tmp_path, error):
    with pytest.raises(type(error)), reading(tmp_path):
        raise error


def test_missing_weights_are_counted_and_named(tmp_path):
    refuse_gaps(tmp_path, {"missing_keys": ["mask"]}, harmless=frozenset({"mask"}))
    with pytest.raises(ValueError, match="lacks 7 weights that the model needs: a, b, c, d, e ...;"):
        refuse_gaps(tmp_path, {"missing_keys": list("gfedcba")})
    with pytest.raises(ValueError, match="lacks 1 weights that the model needs: a;"):
        refuse_gaps(tmp_path, {"missing_keys": {"a"}})
