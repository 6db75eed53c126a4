"""The main job end to end: example faces and voices, a real ComfyUI, two people talking. Called by run.py demo."""

import argparse
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

from comfy_server import ROOT, ComfyServer, Finished, end_well_when_told

sys.path.append(str(ROOT / "tests"))

WORKFLOW = ROOT / "tests" / "workflows_api" / "two_speakers.json"


class Narrator:
    """Says which node runs and how far it is: on a terminal one line that is written over, elsewhere a line a node."""

    def __init__(self, workflow: dict, out=None):
        self.workflow, self.out = workflow, out or sys.stdout
        self.begun = self.node_begun = time.monotonic()
        self.width = 0

    def __call__(self, kind: str, data: dict) -> None:
        if kind == "executing" and data.get("node"):
            self.node_begun = time.monotonic()
            self.say(self.title(data["node"]), end="\n" if not self.out.isatty() else "")
        elif kind == "progress" and self.out.isatty():
            self.say(f"{self.title(data['node'])}: {self.position(data['value'], data['max'])}", end="")

    def title(self, node: str) -> str:
        about = self.workflow[node]
        return about.get("_meta", {}).get("title") or about["class_type"]

    def position(self, value: int, of: int) -> str:
        left = (time.monotonic() - self.node_begun) / max(value, 1) * (of - value)
        return f"{value} of {of}, about {left:.0f} s to go"

    def say(self, text: str, end: str) -> None:
        line = f"  {time.monotonic() - self.begun:4.0f} s  {text}"
        self.out.write("\r" * self.out.isatty() + line.ljust(self.width) + end)
        self.out.flush()
        self.width = len(line)


def saved_files(finished: Finished) -> list[dict]:
    shown = [file for output in finished.outputs.values() for files in output.values() for file in files]
    return [file for file in shown if isinstance(file, dict) and file.get("type") == "output"]


def texts(finished: Finished) -> list[str]:
    return list(dict.fromkeys(text for output in finished.outputs.values() for text in output.get("text", ())))


def keep(server: ComfyServer, file: dict, folder: Path) -> Path:
    """Copies a saved file under its plain name, without ComfyUI's counter."""
    source = server.base / "output" / file["subfolder"] / file["filename"]
    target = folder / re.sub(r"_\d+_(?=\.)", "", file["filename"])
    shutil.copyfile(source, target)
    return target


def main() -> None:
    from real_inputs import write_examples  # imports the face and speech packages: not before the arguments are right

    parser = argparse.ArgumentParser(prog="run.py demo", description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=ROOT / "demo_output", help="folder for the results")
    chosen = parser.parse_args()
    end_well_when_told()
    workflow = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    print("Making example faces and voices ...", flush=True)
    write_examples(chosen.base / "input")
    print("Starting ComfyUI ...", flush=True)
    with ComfyServer(Path(os.environ["COMFYUI_PATH"]), chosen.base) as server:
        print(f"Running {WORKFLOW.name}:", flush=True)
        finished = server.run(workflow, Narrator(workflow))
        chosen.out.mkdir(parents=True, exist_ok=True)
        results = [keep(server, file, chosen.out) for file in saved_files(finished)]
    print("\n" + "\n".join(texts(finished)))
    print("Done:", *results, sep="\n  ")


if __name__ == "__main__":
    main()
