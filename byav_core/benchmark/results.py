"""Results on disk: `experiments.json` holds {condition: {metric: {mean, low, high, n}}} and nothing else; what was
measured, how and over how many scenes, lies beside it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..checkpoints.tensors import unfinished_name


def run_file(results: Path) -> Path:
    """Where it says how the results were measured."""
    return results.with_name(f"{results.stem}_run.json")


def write_results(report: Mapping[str, Any], out: Path) -> None:
    """report: "conditions", and beside them "measured" and "runs". Each file whole or not at all."""
    _write({name: value for name, value in report.items() if name != "conditions"}, run_file(out))
    _write(report["conditions"], out)


def read_results(source: Path) -> dict[str, Any]:
    """Raises FileNotFoundError naming the file that is missing, ValueError for one that holds something else."""
    if missing := [path for path in (source, run_file(source)) if not path.is_file()]:
        raise FileNotFoundError(
            f"there is no {missing[0]}; measure first: python -m byav_core experiments --out {source}"
        )
    about, conditions = _read(run_file(source)), _read(source)
    runs = about.get("runs")
    if not isinstance(about.get("measured"), dict) or not isinstance(runs, dict):
        raise ValueError(f"{run_file(source)} does not say what was measured; remove both files and measure again")
    if wrong := [name for name, metrics in conditions.items() if name not in runs or not _is_measured(metrics)]:
        raise ValueError(f"{source} holds no results of {wrong[0]!r}; remove that entry, or measure it again")
    return about | {"conditions": conditions}


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); restore it, or remove it and measure again") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no results; restore it, or remove it and measure again")
    return values


def _is_measured(metrics: object) -> bool:
    """Whether it is {metric: {mean, low, high, n}}."""
    if not isinstance(metrics, dict) or not all(isinstance(one, dict) for one in metrics.values()):
        return False
    numbers = [one.get(name) for one in metrics.values() for name in ("mean", "low", "high", "n")]
    return all(isinstance(number, int | float) for number in numbers)


def _write(values: Mapping[str, Any], out: Path) -> None:
    unfinished = unfinished_name(out)
    unfinished.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    unfinished.replace(out)
