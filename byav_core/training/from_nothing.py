"""The tiny model again from nothing, in one folder: voices, what stays frozen, stills, clips in three stages, and the
last two of them twice more: with an eye on faces, and with three people too.

What is finished is not done again, and a stage that was stopped goes on from its last state.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..checkpoints import load_network, save_network
from ..config import tiny
from ..synthetic.voices import write_voices
from .autoencoder import AutoencoderTraining
from .companions import LEARNINGS, Course, train_companions
from .companions.learning import Learning, Report
from .config import CONFIGS, changed, read_training
from .start import trained_as

ROOT = Path(__file__).parents[2]
STAGES = {"stills": (1,), "clips": (1, 2, 3), "faces": (2, 3), "three": (2, 3)}  # of each training, in this order
FILES = {"stills": "tiny-stills.json", "clips": "tiny.json", "faces": "tiny-faces.json", "three": "tiny-three.json"}
VOICES, COMPANIONS, WEIGHTS = "voices", "companions", "weights"  # folders; the first two are named by the files above

BRIEF = Learning(steps=24, rows=12, examples=60, test=20)
BRIEF_VIDEO = AutoencoderTraining(fitted=8, scenes=8, test=2, frames=5, batch=2, steps=24, workers=0)
STAGE = {"steps": 30, "batch": 8, "warm_up": 3, "lora_rank": 4}
SHORTER = {
    "data": {"drawn": 8, "voices": None},
    "rows": 4,
    "workers": 0,
    "every": {"log": 1, "sheet": 0, "save": 30},
    "stages": {f"stage {number}": STAGE for number in (1, 2, 3)},
}


@dataclass(frozen=True)
class Recipe:
    """learnings: of what stays frozen. trainings: as a file says each of them; paths in them begin at the folder."""

    learnings: Mapping[str, Course]
    trainings: Mapping[str, dict[str, Any]]

    @property
    def speaks(self) -> bool:
        """Whether somebody hears real voices."""
        return any(training["data"].get("voices") for training in self.trainings.values())

    def as_words(self) -> str:
        learnings = {name: asdict(learning) for name, learning in self.learnings.items()}
        return json.dumps({"learnings": learnings, "trainings": dict(self.trainings)}, indent=1)


def whole_recipe() -> Recipe:
    """That of the weights in the box."""
    return Recipe(LEARNINGS, {name: json.loads((CONFIGS / file).read_text("utf-8")) for name, file in FILES.items()})


def quick_recipe() -> Recipe:
    """A few steps of everything, on a few short clips with babble: shows that all of it works, not people."""
    learnings = {name: BRIEF_VIDEO if name == "video" else BRIEF for name in LEARNINGS}
    trainings = {name: changed(training, SHORTER) for name, training in whole_recipe().trainings.items()}
    fewer = dict.fromkeys(SHORTER["stages"], {"steps": 12})
    for name in ("clips", "faces", "three"):
        trainings[name] = changed(trainings[name], {"data": {"frames": 9}, "stages": fewer})
    return Recipe(learnings, trainings)


def train_tiny(
    folder: Path, recipe: Recipe, processes: int | None = None, report: Report = lambda line: None
) -> list[Path]:
    """Everything into `folder`; gives the files of weights that belong beside the code.

    processes: that share a batch; by default two where there are as many GPUs or cores. Raises ValueError when the
    folder is another recipe's, FileNotFoundError where there is no eSpeak NG, ChildProcessError when a stage fails.
    """
    claim(folder, recipe)
    if recipe.speaks:
        report("voices")
        speak(folder / VOICES)
    learn_what_stays_frozen(folder, recipe, report)
    for name, numbers in STAGES.items():
        for number in numbers:
            report(f"{name}, stage {number}")
            train_stage(folder, name, number, processes or processes_here())
    return fill_box(folder)


def claim(folder: Path, recipe: Recipe) -> None:
    """Writes the recipe down, or finds it there already."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / "recipe.json"
    if mark.is_file() and mark.read_text(encoding="utf-8") != recipe.as_words():
        raise ValueError(f"{folder} holds what another recipe made; choose another folder, or remove that one")
    for name, training in recipe.trainings.items():
        (folder / f"{name}.json").write_text(json.dumps(training, indent=1), encoding="utf-8")
    mark.write_text(recipe.as_words(), encoding="utf-8")


def speak(voices: Path) -> None:
    """The folder of voices is whole or not there."""
    if voices.is_dir():
        return
    unfinished = voices.with_name(f"{voices.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for _ in tqdm(write_voices(unfinished), desc="speaking", unit="file"):
        pass
    unfinished.rename(voices)


def learn_what_stays_frozen(folder: Path, recipe: Recipe, report: Report) -> None:
    missing = {name: learning for name, learning in recipe.learnings.items() if not frozen(folder, name).is_file()}
    voices = str(folder / VOICES) if recipe.speaks else None
    train_companions(tiny(), folder / COMPANIONS, voices=voices, learnings=missing, report=report)


def frozen(folder: Path, name: str) -> Path:
    return folder / COMPANIONS / f"tiny_{name}.safetensors"


def train_stage(folder: Path, name: str, number: int, processes: int) -> None:
    """In processes of their own, which begin where the last ones stopped."""
    if finished(folder, name, number):
        return
    alone = [sys.executable, "-m"]
    together = [*alone, "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    command = ["byav_core", "train", "--config", f"{name}.json", "--stage", str(number), "--resume"]
    process = subprocess.Popen(
        [*(together if processes > 1 else alone), *command], cwd=folder, env=_environment(processes)
    )
    try:
        code = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if code:
        raise ChildProcessError(
            f"{name}, stage {number}, ended with code {code}; what it said is above. The same command goes on from its "
            "last state"
        )


def finished(folder: Path, name: str, number: int) -> bool:
    """Whether the weights of a stage are its last ones."""
    path = weights(folder, name, number)
    stage = read_training(folder / f"{name}.json").stage(number)
    return path.is_file() and trained_as(path) == stage.name


def weights(folder: Path, name: str, number: int) -> Path:
    return folder / read_training(folder / f"{name}.json").weights(number)


def journals(folder: Path) -> dict[str, Path]:
    """Of all stages in their order, by what to call them."""
    return {
        f"{name}, stage {number}": weights(folder, name, number).with_suffix(".jsonl")
        for name, numbers in STAGES.items()
        for number in numbers
    }


def fill_box(folder: Path) -> list[Path]:
    """What belongs beside the code, in half precision."""
    box = folder / WEIGHTS
    box.mkdir(exist_ok=True)
    *_, (last, numbers) = STAGES.items()
    network = load_network(weights(folder, last, numbers[-1]), dtype=torch.float16)
    network.config = replace(network.config, trained=f"drawn world, {network.config.trained}")
    save_network(network, box / "tiny.safetensors")
    for name in LEARNINGS:
        shutil.copyfile(frozen(folder, name), box / frozen(folder, name).name)
    return sorted(box.glob("*.safetensors"))


def processes_here() -> int:
    """One for each GPU, or else for each core, but no more than the batches of the recipe are made for."""
    return min(2, torch.cuda.device_count() or os.cpu_count() or 1)


def _environment(processes: int) -> dict[str, str]:
    """In which this package is found from another folder, and processes share the cores."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    threads = max(1, (os.cpu_count() or 1) // processes)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
