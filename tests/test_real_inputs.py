import shutil
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PEOPLE = ("anna", "ben", "carla")
SCRIPT = Path(__file__).with_name("real_inputs.py")


@pytest.fixture
def voices(real_inputs):
    if not real_inputs.can_speak():
        pytest.skip("there is no eSpeak NG")
    return {name: real_inputs.speech(name) for name in PEOPLE}


def pitch(samples: np.ndarray, rate: int) -> float:
    """Median fundamental frequency of the loud parts, Hz."""
    import librosa

    frequencies = librosa.yin(samples, fmin=60, fmax=400, sr=rate, frame_length=2048)
    loud = librosa.feature.rms(y=samples, frame_length=2048)[0] > 0.05
    return float(np.median(frequencies[loud]))


def test_portraits_are_cut_from_the_people_who_stand_together(real_inputs):
    pictures = real_inputs.pictures()
    assert set(pictures) == {*PEOPLE, "together"}
    assert all(x.dtype == np.uint8 and x.shape[2] == 3 and min(x.shape[:2]) >= 200 for x in pictures.values())
    left, top, _, _ = real_inputs.TOGETHER
    for name in ("anna", "ben"):
        x, y, *_ = real_inputs.PORTRAITS[name]
        part = pictures[name][max(0, top - y) :]
        height, width = part.shape[:2]
        start = (max(top, y) - top, x - left)
        same = pictures["together"][start[0] : start[0] + height, start[1] : start[1] + width]
        assert np.array_equal(same, part[: same.shape[0]])


def test_painted_masks_fit_the_picture_and_keep_apart(real_inputs):
    masks, picture = real_inputs.masks(), real_inputs.pictures()["together"]
    assert all(mask.shape == picture.shape[:2] and set(np.unique(mask)) == {0, 255} for mask in masks.values())
    assert not np.logical_and(masks["anna"], masks["ben"]).any()
    assert all(0.1 < (mask > 0).mean() < 0.5 for mask in masks.values())


def test_three_voices_speak_and_differ(voices):
    for samples, rate in voices.values():
        assert rate >= 16000 and 2 < len(samples) / rate < 7
        assert 0.03 < np.sqrt((samples**2).mean()) < 0.3 and np.abs(samples).max() <= 1
    assert pitch(*voices["anna"]) > 1.15 * pitch(*voices["ben"])


def test_program_and_library_of_espeak_say_the_same(real_inputs):
    library = pytest.importorskip("espeakng_loader")
    if not shutil.which("espeak-ng"):
        pytest.skip("the program espeak-ng is not there")
    for voice in real_inputs.VOICES.values():
        one, rate = real_inputs.by_program(voice)
        other, same_rate = real_inputs.by_library(voice, library.get_library_path(), library.get_data_path())
        assert rate == same_rate
        assert abs(len(one) - len(other)) / rate < 0.7  # versions differ in pauses


def test_the_files_are_written_by_the_command(tmp_path, voices):
    subprocess.run([sys.executable, str(SCRIPT), str(tmp_path / "new" / "input")], check=True)
    names = {path.name for path in (tmp_path / "new" / "input").iterdir()}
    images = {"anna.png", "ben.png", "carla.png", "together.png", "anna_mask.png", "ben_mask.png"}
    assert names == images | {f"{name}.wav" for name in PEOPLE}
    sizes = {Image.open(tmp_path / "new" / "input" / f"{name}.png").size for name in ("together", "anna_mask")}
    assert len(sizes) == 1
    with wave.open(str(tmp_path / "new" / "input" / "ben.wav")) as file:
        assert file.getnchannels() == 1 and file.getnframes() == len(voices["ben"][0])


def test_without_a_folder_the_command_explains_itself():
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 1 and "real_inputs.py FOLDER" in done.stderr
