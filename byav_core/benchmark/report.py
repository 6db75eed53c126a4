"""What was measured as tables for people, and as plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ..figure import new_figure
from .conditions import CONDITIONS
from .goals import GOALS, Found
from .results import read_results

PLACES = {"true": "where people truly are", "own": "at the masks that the film was made with"}
CONTENT = (
    "binding", "own voice", "other voice", "overlap", "leak", "identity", "joint", "layout", "prompt"
)  # fmt: skip
MEANINGS = {
    "binding": "share of mouths that follow their own voice more closely than any other",
    "own voice, other voice": "correlation of a mouth's opening with its own, and with the strongest other voice",
    "overlap": "binding over the frames in which both speak",
    "response": "correlation of what changes in a mouth with what should, when only the matrix is changed (same noise)",
    "leak": "motion of mouths that should be shut, as a share of that of speaking ones",
    "identity": "share of people recognised among everybody of the scene and eight others",
    "joint": "the right person with the right voice in one place",
    "layout": "share of scenes whose faces from left to right are those of the truth",
    "prompt": "share of its words (hair, shirts, place) that are read back from the pixels",
    "iou": "intersection over union of masks with the truth, over all layers, in the last third of the steps",
    "iou seen": "the same of the last masks with the people found in the film itself, wherever they are",
    "flicker": "tokens won or lost by a mask from one latent frame to the next, as a share of its own; people move",
    "passes, CPU seconds": "of the network, and of masks and denoising together; the latter vary with what else the "
    "machine does",
}


@dataclass(frozen=True)
class Table:
    title: str
    conditions: tuple[str, ...]
    metrics: tuple[str, ...]


def tables() -> tuple[Table, ...]:
    content = [
        Table(f"Two people, {words}", ("true video", "autoencoder", "intra*", "true masks*", "pre", "post", "un*"), at)
        for place, words in PLACES.items()
        for at in [tuple(f"{name}/{place}" for name in CONTENT)]
    ]
    response = ("response/own", "response/true", "binding/own", "own voice/own", "leak/own")
    short = ("binding/own", "identity/own", "joint/own", "binding/true", "identity/true", "joint/true")
    cost = ("passes", "CPU seconds", "iou", "iou seen", "flicker")
    masks = ("iou", "iou seen", "flicker", "flicker, true masks")
    routers = ("intra", "intra, refined", "pre", "post", "true masks", "union", "uniform")
    return (
        *content,
        Table("What the matrix does", ("intra, swapped", "intra, one muted", "true masks, swapped"), response),
        Table("Routers: what they find and what they cost", routers, ("joint/own", "joint/true", *cost)),
        Table("People close: fine masks and boxes", ("close,*",), (*short, "iou")),
        Table("People moving: 3D and 2D masks", ("moving,*", "standing,*"), (*short, "iou")),
        Table("Three people, and four", ("three*", "four*"), (*short, "layout/own", "iou")),
        Table(
            "Eq. 3 and 4, and the background's class",
            ("intra", "with eq. 3 and 4", "without eq. 3 and 4", "n classes"),
            (*short, "iou", "flicker", "flicker, true masks"),
        ),
        Table("Masks", ("intra*", "true masks", "post", "pre", "union"), masks),
    )


def write_report(source: Path) -> tuple[Path, ...]:
    """`experiments.json` to a page beside it and its plots. Raises FileNotFoundError, or ValueError saying what to
    install for the plots."""
    report = read_results(source)
    plots = draw_plots(report["conditions"], source)
    page = source.with_suffix(".md")
    page.write_text(as_markdown(report, [plot.name for plot in plots]), encoding="utf-8")
    return page, *plots


def as_markdown(report: Mapping, plots: Sequence[str] = ()) -> str:
    found: Found = report["conditions"]
    parts = [
        "# What was measured",
        "Made by the command at the end and `python -m byav_core experiments --report`; the numbers are in "
        "`experiments.json`. Held-out scenes of the drawn world: people, voices, places and motions never trained "
        "with. In brackets the 95 % confidence interval, by a bootstrap over scenes; the last column says how many "
        "scenes, times seeds: 64x3 unless the command says otherwise. Where intervals overlap, nothing is shown either "
        "way.",
        _facts(report),
        "\n".join(f"- **{name}**: {meaning}" for name, meaning in MEANINGS.items()),
        "## What was aimed at",
        "Not certain: the bound lies within the interval. That of a difference is as wide as if its two sides had been "
        "measured on scenes of their own.",
        _goals(found),
        *(f"![{Path(plot).stem.replace('_', ' ')}]({plot})" for plot in plots),
    ]
    for table in tables():
        rows = _rows(table, found)
        if rows:
            parts += [
                f"## {table.title}",
                _grid(["", *table.metrics, "scenes"], [_row(n, table, report) for n in rows]),
            ]
    parts += ["## Masks by step and layer", *_steps(found), "## The command", f"```\n{as_command(report)}\n```"]
    return "\n\n".join(parts) + "\n"


def as_command(report: Mapping) -> str:
    """What measures all of it again. FOLDER: what `synthetic voices` made. FILE: weights that are not in the box."""
    about = report["measured"]
    voices = ["--voices FOLDER"] if about.get("speech", "").startswith("eSpeak") else []
    weights = [f'--weights "{name}=FILE"' for name in about.get("weights", {}) if name != "main"]
    guidance = " ".join(f"{scale:g}" for scale in about["guidance"].values())
    how = f"--steps {about['steps']} --scheduler {about['scheduler']} --guidance {guidance}"
    runs = [f'"{name}:{one["scenes"]}x{one["seeds"]}"' for name, one in report["runs"].items()]
    return " \\\n    ".join(["python -m byav_core experiments", *voices, *weights, how, "--conditions", *runs])


def draw_plots(found: Found, source: Path) -> tuple[Path, ...]:
    """Beside the source, named after it."""
    paths = []
    for name, draw in (("binding", _plot_binding), ("masks", _plot_masks)):
        figure = new_figure(9.0, 5.0)
        draw(figure.subplots(), found)
        paths.append(source.with_name(f"{source.stem}_{name}.png"))
        figure.savefig(paths[-1], dpi=100, metadata={"Software": None})
    return tuple(paths)


def _plot_binding(axes, found: Found) -> None:
    """Three bars for every condition, at its own masks."""
    metrics = ("binding/own", "identity/own", "joint/own")
    names = [name for name in CONDITIONS if metrics[0] in found.get(name, {})]
    for k, metric in enumerate(metrics):
        told = [found[name].get(metric, {"mean": 0.0, "low": 0.0, "high": 0.0}) for name in names]
        means = [one["mean"] for one in told]
        reach = [[one["mean"] - one["low"] for one in told], [one["high"] - one["mean"] for one in told]]
        at = [i + 0.27 * (k - 1) for i in range(len(names))]
        axes.bar(at, means, 0.25, yerr=reach, label=metric.removesuffix("/own"), error_kw={"elinewidth": 0.8})
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    axes.set(ylim=(0, 1.05), title="at the masks that each film was made with")
    axes.legend(loc="lower left", fontsize=8)


def _plot_masks(axes, found: Found) -> None:
    """Intersection over union by step, layers averaged."""
    for name in found:
        steps = by_step(found[name])
        if steps and name.startswith("intra"):
            axes.plot(range(1, len(steps) + 1), [sum(row) / len(row) for row in steps], marker="o", ms=3, label=name)
    axes.set(ylim=(0, 1), xlabel="denoising step", title="intersection over union of the router's masks with the truth")
    axes.legend(fontsize=8)


def by_step(metrics: Mapping[str, Mapping[str, float]]) -> list[list[float]]:
    """Rows of steps, columns of layers."""
    rows: list[list[float]] = []
    while (first := f"iou, step {len(rows) + 1}, layer 1") in metrics:
        row, layer = [metrics[first]["mean"]], 2
        while (name := f"iou, step {len(rows) + 1}, layer {layer}") in metrics:
            row, layer = [*row, metrics[name]["mean"]], layer + 1
        rows.append(row)
    return rows


def _facts(report: Mapping) -> str:
    facts = {name: value for name, value in report["measured"].items() if value not in ("", {}, None)}
    return "\n".join(f"- {name}: {_words(value)}" for name, value in facts.items())


def _words(value: object) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items() if v != "") if isinstance(value, Mapping) else str(value)


def _goals(found: Found) -> str:
    rows = []
    for goal in GOALS:
        reading = goal.reading(found)
        if reading is not None:
            told = f"{reading.value:.2f} [{reading.low:.2f}, {reading.high:.2f}]"
            rows.append([goal.claim, goal.condition, goal.metric, goal.wanted, told, goal.verdict(reading)])
    return _grid(["claim", "condition", "metric", "wanted", "found", "reached"], rows)


def _rows(table: Table, found: Found) -> list[str]:
    return [name for name in CONDITIONS if name in found and any(fnmatchcase(name, p) for p in table.conditions)]


def _row(name: str, table: Table, report: Mapping) -> list[str]:
    extent = report["runs"][name]
    cells = [_cell(report["conditions"][name].get(metric)) for metric in table.metrics]
    return [f"{name}: {CONDITIONS[name].about}", *cells, f"{extent['scenes']}x{extent['seeds']}"]


def _cell(told: Mapping[str, float] | None) -> str:
    return "" if told is None else f"{told['mean']:.2f} [{told['low']:.2f}, {told['high']:.2f}]"


def _steps(found: Found) -> list[str]:
    parts = []
    for name in found:
        rows = by_step(found[name])
        if rows and name.startswith("intra"):
            head = ["step", *(f"layer {i + 1}" for i in range(len(rows[0])))]
            cells = [[str(step), *(f"{value:.2f}" for value in row)] for step, row in enumerate(rows, 1)]
            parts += [f"{name}:", _grid(head, cells)]
    return parts


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
