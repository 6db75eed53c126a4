"""What a stopped training goes on from, on disk: as many as wanted, each whole or not there."""

import re
import shutil
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import Tensor


class States:
    """Weights, optimiser and averages after some steps, in `step-000100/` and so on below a folder.

    Everything else that a step depends on follows from its number.
    """

    def __init__(self, folder: Path, accelerator: Accelerator, average: EMAModel | None, keep: int):
        self.folder, self.accelerator, self.average, self.keep = folder, accelerator, average, keep

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
            shutil.rmtree(path, ignore_errors=True)
            unfinished.rename(path)
            for old in self.found()[: -max(1, self.keep)]:
                shutil.rmtree(old)
        self.accelerator.wait_for_everyone()

    def load_last(self) -> int:
        """Steps done; 0 where there is no state."""
        if not (found := self.found()):
            return 0
        self.accelerator.load_state(str(found[-1]))
        if self.average:
            kept = load_file(self._average_file(found[-1]))
            self.average.optimization_step = int(kept.pop("optimization_step"))
            for i, shadow in enumerate(self.average.shadow_params):
                _local(shadow).copy_(kept[f"{i:06}"])
        return _steps(found[-1])

    def forget(self) -> int:
        """A training from the beginning leaves no states of another one behind. Gives 0, the steps done."""
        if self.accelerator.is_main_process:
            for path in self.found():
                shutil.rmtree(path)
        self.accelerator.wait_for_everyone()
        return 0

    def found(self) -> list[Path]:
        """The states on disk, the latest last."""
        return sorted((path for path in self.folder.glob("step-*") if _steps(path)), key=_steps)

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


def _local(x: Tensor) -> Tensor:
    return x.to_local() if hasattr(x, "to_local") else x


def _steps(path: Path) -> int:
    found = re.fullmatch(r"step-(\d+)", path.name)
    return int(found[1]) if found else 0
