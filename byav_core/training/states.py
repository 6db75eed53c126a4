"""What a stopped training goes on from, on disk: as many as wanted, each with what decided its course."""

import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import Tensor

COURSE = "course.json"  # what decided it, and the sizes of the files beside it
logger = logging.getLogger(__name__)


class States:
    """Weights, optimiser and averages after some steps, in `step-000100/` and so on below a folder.

    course: as JSON has it, what decides the steps beside their number.
    """

    def __init__(
        self, folder: Path, accelerator: Accelerator, average: EMAModel | None, keep: int, course: Mapping[str, Any]
    ):
        self.folder, self.accelerator, self.average, self.keep = folder, accelerator, average, keep
        self.course = course

    def save(self, done: int) -> None:
        """Written beside its place and renamed; then the oldest go."""
        path, unfinished = self.folder / f"step-{done:06}", self.folder / "unfinished"
        if self.accelerator.is_main_process:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(unfinished))
        self._save_average(unfinished)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            said = {"course": self.course, "bytes": _sizes(unfinished)}
            (unfinished / COURSE).write_text(json.dumps(said, indent=1), encoding="utf-8")
            shutil.rmtree(path, ignore_errors=True)
            unfinished.rename(path)
            for old in whole_states(self.folder)[: -self.keep]:
                shutil.rmtree(old)
        self.accelerator.wait_for_everyone()

    def load_last(self) -> int:
        """Steps done; 0 where there is no state."""
        if not (found := whole_states(self.folder)):
            return 0
        self.accelerator.load_state(str(found[-1]))
        if self.average:
            kept = load_file(self._average_file(found[-1]))
            self.average.optimization_step = int(kept.pop("optimization_step"))
            for i, shadow in enumerate(self.average.shadow_params):
                _local(shadow).copy_(kept[f"{i:06}"])
        return _steps(found[-1])

    def _save_average(self, folder: Path) -> None:
        if not self.average or not (self._sharded or self.accelerator.is_main_process):
            return
        state = {f"{i:06}": _local(x).contiguous() for i, x in enumerate(self.average.shadow_params)}
        state["optimization_step"] = torch.tensor(self.average.optimization_step)
        save_file(state, self._average_file(folder))

    @property
    def _sharded(self) -> bool:
        return any(hasattr(x, "to_local") for x in self.average.shadow_params)

    def _average_file(self, folder: Path) -> Path:
        """Where the weights are shared out, every process has a part of the averages, too."""
        part = self.accelerator.process_index if self._sharded else 0
        return folder / f"average-{part}.safetensors"


def states(folder: Path) -> list[Path]:
    """On disk, the latest last."""
    return sorted((path for path in folder.glob("step-*") if _steps(path)), key=_steps)


def whole_states(folder: Path) -> list[Path]:
    return [path for path in states(folder) if not _broken(path)]


def check_nothing_is_lost(folder: Path) -> None:
    """Before a stage begins anew. Raises FileExistsError when states of it are there."""
    if found := states(folder):
        raise FileExistsError(
            f"there are states up to step {_steps(found[-1])} in {folder}; go on with --resume, or remove or rename "
            "that folder to begin anew"
        )


def check_course(folder: Path, course: Mapping[str, Any]) -> None:
    """Before a stage goes on. States that are not whole are left out with a warning.

    Raises ValueError when none is whole, and when the last whole one was on another course.
    """
    if not (found := states(folder)):
        return
    broken = {path: file for path in found if (file := _broken(path))}
    for path, file in broken.items():
        logger.warning("warning: %s is not whole and is left out", path / file)
    if len(broken) == len(found):
        path, file = list(broken.items())[-1]
        raise ValueError(f"{path / file} is not whole, and there is no other state; remove {folder} to begin anew")
    last = [path for path in found if path not in broken][-1]
    before = json.loads((last / COURSE).read_text(encoding="utf-8"))["course"]
    if changes := list(_changes(before, json.loads(json.dumps(course)))):
        raise ValueError(
            f"{last} is of another training: {'; '.join(changes)}. Change the configuration back to go on; or begin "
            f'anew in another output folder, with these weights as "start" if they are wanted'
        )


def _changes(before: Any, now: Any, where: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() | now.keys()):
            yield from _changes(before.get(name), now.get(name), f"{where}.{name}" if where else name)
    elif before != now:
        yield f"{where} was {json.dumps(before)} and is now {json.dumps(now)}"


def _broken(state: Path) -> str | None:
    """The name of a file that is missing or cut short, if there is one."""
    try:
        sizes = json.loads((state / COURSE).read_text(encoding="utf-8"))["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return COURSE
    found = _sizes(state)
    return next((name for name, size in sizes.items() if found.get(name) != size), None)


def _sizes(folder: Path) -> dict[str, int]:
    """Of all files, in bytes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def _local(x: Tensor) -> Tensor:
    return x.to_local() if hasattr(x, "to_local") else x


def _steps(path: Path) -> int:
    found = re.fullmatch(r"step-(\d+)", path.name)
    return int(found[1]) if found else 0
