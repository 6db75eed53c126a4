"""Many scenes into a folder, with a manifest, by several processes."""

import os
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from ..clip import Entry, entry_of, save_sample, write_manifest
from .voices import voices_of
from .world import WorldSpec, draw_scene

MANIFEST = "manifest.jsonl"


def draw_folder(
    folder: str | Path,
    count: int,
    seed: int,
    spec: WorldSpec,
    processes: int | None = None,
    on_drawn: Callable[[Entry], None] = lambda entry: None,
) -> Path:
    """Scenes of the seeds from `seed` on, one file each; gives the manifest, which is written last.

    processes: as many as there are cores, unless told. What is drawn does not depend on it. A manifest that was there
    goes first: until all is drawn it would tell of scenes that are no longer what it says.
    """
    if count < 1:
        raise ValueError(f"{count} scenes were asked for; ask for at least 1")
    folder, processes = Path(folder), os.cpu_count() or 1 if processes is None else processes
    if processes < 1:
        raise ValueError(f"{processes} processes cannot draw; choose at least 1")
    voices_of(spec.voices)  # said before any process starts, if there are none
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    draw, seeds, entries = partial(_draw, folder=folder, spec=spec), range(seed, seed + count), []
    with get_context("spawn").Pool(min(processes, count), torch.set_num_threads, (1,)) as pool:
        for entry in pool.imap(draw, seeds, chunksize=4):
            on_drawn(entry)
            entries.append(entry)
    unfinished = folder / f".{MANIFEST}.part"
    write_manifest(entries, unfinished)
    return unfinished.replace(folder / MANIFEST)


def _draw(seed: int, folder: Path, spec: WorldSpec) -> Entry:
    sample = draw_scene(seed, spec)
    save_sample(sample, folder)
    return entry_of(sample, spec.split)
