"""The losses of a training as one picture, from the journals of its stages."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..figure import new_figure
from .journal import read_journal

SHOWN = ("denoising", "routing", "smoothness", "iou")  # a panel each


def draw_curves(journals: Mapping[str, Path], out: Path) -> Path:
    """journals: by the name to show, in the order of the training; they follow each other along the axis of steps.

    Raises FileNotFoundError for a journal that is not there, ValueError saying what to install.
    """
    if missing := [str(path) for path in journals.values() if not path.is_file()]:
        raise FileNotFoundError(f"there is no journal {', '.join(missing)}; train first")
    figure = new_figure(10.0, 2.8)
    panels = figure.subplots(1, len(SHOWN))
    start = 0
    for name, path in journals.items():
        lines = read_journal(path)
        for panel, measure in zip(panels, SHOWN, strict=True):
            _draw(panel, name, measure, lines, start)
        start += max((line["step"] for line in lines), default=0)
    for panel, measure in zip(panels, SHOWN, strict=True):
        panel.set(title=measure, xlabel="step")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(journals), fontsize=7)
    figure.savefig(out, dpi=110)
    return out


def _draw(panel, name: str, measure: str, lines: Sequence[Mapping[str, float | int]], start: int) -> None:
    measured = [line for line in lines if measure in line]
    panel.plot([start + line["step"] for line in measured], [line[measure] for line in measured], label=name, lw=1)
