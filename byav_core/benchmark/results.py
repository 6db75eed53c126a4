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
    """Raises FileNotFoundError naming the file that is missing."""
    if missing := [path for path in (source, run_file(source)) if not path.is_file()]:
        raise FileNotFoundError(
            f"there is no {missing[0]}; measure first: python -m byav_core experiments --out {source}"
        )
    about = json.loads(run_file(source).read_text(encoding="utf-8"))
    return about | {"conditions": json.loads(source.read_text(encoding="utf-8"))}


def _write(values: Mapping[str, Any], out: Path) -> None:
    unfinished = unfinished_name(out)
    unfinished.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    unfinished.replace(out)
