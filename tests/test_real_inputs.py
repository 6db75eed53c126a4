import json
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from byav_core.config import WORDS, tiny
from byav_core.synthetic.chance import split_of

PEOPLE = ("anna", "ben", "carla")
DRAWN = (*PEOPLE, "david")
SCRIPT = Path(__file__).with_name("real_inputs.py")
WORKFLOWS = sorted(Path(__file__).with_name("workflows_api").glob("*.json"))


@pytest.fixture
def voices(real_inputs):
    if not real_inputs.can_speak():
        pytest.skip("there is no eSpeak NG")
    return {name: real_inputs.speech(name) for name in DRAWN}


@pytest.fixture(scope="module")
def drawings(real_inputs):
    return real_inputs.drawings()


def pitch(samples: np.ndarray, rate: int) -> float:
    """Median fundamental frequency of the loud parts, Hz."""
    import librosa

    frequencies = librosa.yin(samples, fmin=60, fmax=400, sr=rate, frame_length=2048)
    loud = librosa.feature.rms(y=samples, frame_length=2048)[0] > 0.05
    return float(np.median(frequencies[loud]))


def test_photographed_portraits_are_cut_from_the_people_who_stand_together(real_inputs):
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


@pytest.mark.parametrize("people", [2, 3, 4])
def test_drawn_examples_are_of_the_split_that_is_never_trained_on(people, real_inputs):
    plan = real_inputs.play(people)
    keys = [who.key for who in plan.people] + [plan.motion, plan.background]
    assert [split_of(key) for key in keys] == ["test"] * len(keys)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_say_in_the_words_of_the_world_what_is_drawn(path, real_inputs):
    nodes = json.loads(path.read_text(encoding="utf-8")).values()
    (prompt,) = {node["inputs"]["prompt"] for node in nodes if node["class_type"] == "BYAV_Prompt"}
    people = sum(node["class_type"] == "BYAV_Character" for node in nodes)
    assert prompt == real_inputs.play(people).prompt
    words = prompt.replace(",", "").split()
    assert set(words) <= set(WORDS) and len(words) < tiny().transformer.max_text_seq_length


def test_drawn_people_stand_where_their_masks_are(drawings):
    assert set(drawings) == {*DRAWN, "together", "anna_mask", "ben_mask"}
    anna, ben = drawings["anna_mask"], drawings["ben_mask"]
    assert anna.shape == ben.shape == drawings["together"].shape[:2]
    assert set(np.unique(anna)) == set(np.unique(ben)) == {0, 255}
    assert not np.logical_and(anna, ben).any()
    middles = [np.nonzero(mask)[1].mean() / mask.shape[1] for mask in (anna, ben)]
    assert middles[0] < 0.4 and middles[1] > 0.6


def test_drawn_portraits_are_of_different_people_and_square(drawings):
    portraits = [drawings[name] for name in DRAWN]
    assert len({portrait.tobytes() for portrait in portraits}) == len(DRAWN)
    assert all(x.dtype == np.uint8 and x.shape[0] == x.shape[1] and x.shape[2] == 3 for x in portraits)


def test_voices_speak_and_differ(voices):
    for samples, rate in voices.values():
        assert rate >= 16000 and 2 < len(samples) / rate < 7
        assert 0.03 < np.sqrt((samples**2).mean()) < 0.3 and np.abs(samples).max() <= 1
    assert pitch(*voices["anna"]) > 1.15 * pitch(*voices["ben"])


def test_the_files_are_written_by_the_command(tmp_path, voices):
    subprocess.run([sys.executable, str(SCRIPT), str(tmp_path / "new" / "input")], check=True)
    names = {path.name for path in (tmp_path / "new" / "input").iterdir()}
    images = {*(f"{name}.png" for name in DRAWN), "together.png", "anna_mask.png", "ben_mask.png"}
    assert names == images | {f"{name}.wav" for name in DRAWN}
    sizes = {Image.open(tmp_path / "new" / "input" / f"{name}.png").size for name in ("together", "anna_mask")}
    assert len(sizes) == 1
    for name in DRAWN:  # a line is heard to its end in the two seconds of the built-in model
        with wave.open(str(tmp_path / "new" / "input" / f"{name}.wav")) as file:
            assert file.getnchannels() == 1 and 0.4 < file.getnframes() / file.getframerate() < 2


def test_without_a_folder_the_command_explains_itself():
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 1 and "real_inputs.py FOLDER" in done.stderr
