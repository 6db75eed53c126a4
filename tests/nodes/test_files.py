"""What the menus of the loaders list, and what is said when a file is not there."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file


@pytest.fixture
def files(part):
    return part("nodes.files")


@pytest.fixture
def models(host, files):
    """The models folder of the host, emptied again afterwards."""
    files.register_folders()
    yield host / "models"
    for folder in (host / "models").iterdir():
        shutil.rmtree(folder)
        folder.mkdir()


def folder_with(folder, **configs: dict):
    for name, config in configs.items():
        place = folder / name if name != "here" else folder
        place.mkdir(parents=True, exist_ok=True)
        (place / "config.json").write_text(json.dumps(config))


def ours(path) -> None:
    save_file({"w": torch.zeros(2)}, path, metadata={"bind_your_avatar": "{}"})


def test_the_built_in_models_come_first(files, models):
    assert files.model_choices()[0] == files.face_encoder_choices()[0] == files.audio_encoder_choices()[0] == files.TINY


def test_only_files_that_say_they_are_ours_are_listed(files, models):
    ours(models / "byav" / "mine.safetensors")
    ours(models / "diffusion_models" / "also_mine.safetensors")
    save_file({"w": torch.zeros(2)}, models / "diffusion_models" / "flux.safetensors")
    (models / "byav" / "notes.txt").write_text("no weights")
    assert files.model_choices() == [files.TINY, "also_mine.safetensors", "mine.safetensors"]


def test_the_mark_of_our_files_is_the_one_the_core_writes(files, part):
    assert part("byav_core.checkpoints.single_file").CONFIG == files.OURS


def test_folders_are_listed_where_they_hold_what_a_node_loads(files, models):
    folder_with(models / "byav" / "released", transformer={})
    folder_with(models / "byav" / "cog", text_encoder={}, vae={})
    folder_with(models / "audio_encoders" / "wav2vec2-base-960h", here={"model_type": "wav2vec2"})
    folder_with(models / "byav" / "sam2.1", here={"model_type": "sam2_video"})
    folder_with(models / "byav" / "llama", here={"model_type": "llama"})
    (models / "byav" / "released" / "face_encoder").mkdir()
    (models / "byav" / "released" / "face_encoder" / "EVA02_CLIP_L_336_psz14_s6B.pt").touch()
    assert files.model_choices()[1:] == ["released/"]
    assert files.face_encoder_choices()[1:] == ["released/"]
    assert files.companion_choices()[1:] == ["cog/"]
    assert files.audio_encoder_choices()[1:] == ["wav2vec2-base-960h/"]
    assert files.segmenter_choices()[1:] == ["sam2.1/"]


def test_folders_of_the_users_own_yaml_are_searched_too(files, models, tmp_path):
    import folder_paths

    folder_paths.add_model_folder_path("byav", str(tmp_path))
    ours(tmp_path / "elsewhere.safetensors")
    assert "elsewhere.safetensors" in files.model_choices()
    assert files.locate("elsewhere.safetensors", *files.MODEL_KEYS) == tmp_path / "elsewhere.safetensors"
    folder_paths.folder_names_and_paths["byav"][0].remove(str(tmp_path))


def test_registering_twice_lists_the_folder_once(files, models):
    import folder_paths

    files.register_folders()
    files.register_folders()
    assert folder_paths.folder_names_and_paths["byav"][0].count(str(models / "byav")) == 1
    assert folder_paths.folder_names_and_paths["byav"][1] == files.WEIGHTS


def test_what_the_built_in_model_was_called_before_is_still_known(files, models):
    before = "tiny (built in, untrained)"
    assert files.is_tiny(before) and files.is_tiny(files.TINY) and before not in files.model_choices()
    assert files.check_choice(before, files.model_choices(), *files.MODEL_KEYS) is True
    assert files.fingerprint(before, *files.MODEL_KEYS)


def test_a_missing_file_is_said_with_every_place_searched(files, models):
    sentence = files.check_choice("gone.safetensors", files.model_choices(), *files.MODEL_KEYS)
    assert "gone.safetensors" in sentence
    assert str(models / "byav") in sentence and str(models / "diffusion_models") in sentence


def test_a_file_that_is_there_but_not_ours_is_said(files, models):
    save_file({"w": torch.zeros(2)}, models / "byav" / "flux.safetensors")
    assert "not what this node loads" in files.check_choice("flux.safetensors", [files.TINY], *files.MODEL_KEYS)


@pytest.mark.parametrize("choice", ["../../secret.safetensors", "/etc/passwd"])
def test_a_choice_does_not_lead_out_of_the_model_folders(choice, files, models):
    (models.parent / "secret.safetensors").touch()
    with pytest.raises(FileNotFoundError):
        files.locate(choice, *files.MODEL_KEYS)


def test_the_fingerprint_follows_the_file(files, models):
    ours(models / "byav" / "mine.safetensors")
    before = files.fingerprint("mine.safetensors", *files.MODEL_KEYS)
    assert files.fingerprint("mine.safetensors", *files.MODEL_KEYS) == before
    save_file({"w": torch.zeros(9)}, models / "byav" / "mine.safetensors", metadata={"bind_your_avatar": "{}"})
    assert files.fingerprint("mine.safetensors", *files.MODEL_KEYS) != before
    assert files.fingerprint(files.TINY, *files.MODEL_KEYS) == (files.TINY,)


def test_a_file_cut_off_in_its_header_is_not_ours_and_stops_no_menu(files, models):
    (models / "byav" / "cut.safetensors").write_bytes(b"\xff\xff\xff\xff\x00\x00\x00\x00{")
    (models / "byav" / "empty.safetensors").write_bytes(b"")
    (models / "byav" / "list.safetensors").write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00[]")
    assert files.model_choices() == [files.TINY]
