"""What a training says of itself: losses in a file of lines, in TensorBoard if it is installed, and contact sheets."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange

if TYPE_CHECKING:
    from PIL import Image

logger = logging.getLogger(__name__)


class Journal:
    """One stage's log, `<stage>.jsonl`, a JSON object per line, and its pictures in `sheets/`.

    step: where the training goes on from; lines of later steps, written before it was stopped, are taken back.
    """

    def __init__(self, folder: Path, stage: str, step: int = 0):
        self.file, self.sheets, self.stage = folder / f"{stage}.jsonl", folder / "sheets", stage
        folder.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_journal(self.file) if line["step"] <= step] if step else []
        self.file.write_text("".join(f"{json.dumps(line)}\n" for line in kept), encoding="utf-8")
        self._board = _board(folder / "tensorboard" / stage, step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps({'step': step, **values})}\n")
        if self._board:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def show(self, step: int, sheet: "Image.Image") -> Path:
        import numpy as np

        self.sheets.mkdir(exist_ok=True)
        path = self.sheets / f"{self.stage}-{step:06}.png"
        sheet.save(path)
        if self._board:
            self._board.add_image("clips", rearrange(torch.from_numpy(np.array(sheet)), "h w c -> c h w"), step)
        return path

    def close(self) -> None:
        if self._board:
            self._board.close()


def _board(folder: Path, step: int) -> Any:
    """TensorBoard's writer, None if it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.warning("warning: no TensorBoard is written; for it, install it with pip install tensorboard")
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)


def read_journal(file: str | Path) -> list[dict[str, float | int]]:
    """The lines of a log, none if there is no such file. A line cut short by the end of its process is left out."""
    path, lines = Path(file), []
    if not path.is_file():
        return lines
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines
