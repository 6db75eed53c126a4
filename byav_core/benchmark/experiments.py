"""Conditions measured over held-out scenes and seeds, by several processes, written down one by one."""

import platform
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..checkpoints.load import TINY, load_models
from ..encoders.face_insight_clip import load_face_encoder
from ..encoders.speech_wav2vec import load_speech_encoder
from ..pipeline import Separate
from ..synthetic.sheet import contact_sheet
from ..training.example import Staged, seed_of
from ..types import TokenGrid
from .conditions import CONDITIONS
from .film import Film, Studio
from .results import read_results, run_file, write_results
from .scenes import HeldOut, held_out
from .scores import Scores, added, response, score
from .statistics import measured

if TYPE_CHECKING:
    from PIL import Image

OnFilm = Callable[[str], None]  # told the condition whenever a film of it is finished

MAIN = "main"
KEPT_SCENES = 256  # encoded, by each process


@dataclass(frozen=True)
class Setup:
    """How films are made. models: names and weights; "main", and others that ablations need. voices: folder of real
    speech; without it there is babble. text, audio: guidance."""

    models: tuple[tuple[str, str], ...]
    voices: str | None = None
    steps: int = 10
    text: float = 1.0
    audio: float = 2.5
    scheduler: str = "dpm"
    face_model: str = "tiny"
    speech_model: str = "tiny"

    @property
    def weights(self) -> dict[str, str]:
        return dict(self.models)


@dataclass(frozen=True)
class Run:
    """A condition, and over how many scenes and seeds."""

    condition: str
    scenes: int
    seeds: int


def chosen(patterns: Sequence[str], scenes: int, seeds: int, models: Collection[str]) -> tuple[Run, ...]:
    """The runs that patterns such as "intra*" or "close*:24x1" (24 scenes, 1 seed) name; the last that fits counts.

    Conditions whose weights are not given are left out. Raises ValueError for a pattern that fits none, or when none is
    left.
    """
    runs: dict[str, Run] = {}
    for pattern in patterns:
        names, _, extent = pattern.partition(":")
        fitting = [name for name in CONDITIONS if fnmatchcase(name, names)]
        if not fitting:
            raise ValueError(f"no condition is named {names!r}; choose among {_quoted(CONDITIONS)}")
        runs |= {name: Run(name, *_extent(extent, scenes, seeds)) for name in fitting}
    possible = tuple(runs[name] for name in CONDITIONS if name in runs and CONDITIONS[name].model in models)
    if not possible:
        raise ValueError(f"{_quoted(runs)} need other weights; name them with --weights NAME=FILE")
    return possible


def run(
    setup: Setup,
    runs: Sequence[Run],
    out: Path,
    *,
    workers: int = 1,
    resume: bool = False,
    on_film: OnFilm = lambda condition: None,
) -> dict:
    """Measures and writes after every condition. Other conditions that `out` holds stay there; with `resume`, what was
    measured over as many scenes and seeds is not measured again.

    Raises ValueError when it holds results of another setup.
    """
    report = _earlier(out, setup)
    with processes(workers) as pools:
        for one in runs:
            if resume and report["runs"].get(one.condition) == _extent_of(one):
                continue
            found = measure(setup, one, pools, on_film)
            report["conditions"][one.condition] = found
            report["runs"][one.condition] = _extent_of(one)
            write_results(report, out)
    return report


def measure(
    setup: Setup,
    one: Run,
    pools: Sequence[ProcessPoolExecutor],
    on_film: OnFilm = lambda condition: None,
) -> dict[str, dict[str, float]]:
    """Each metric's mean, low, high and n. A scene always goes to the same process, which keeps what it encoded."""
    films: list[list[Future]] = []
    for number in range(one.scenes):
        pool = pools[number % len(pools)]
        films.append([pool.submit(film_and_score, setup, one.condition, number, seed) for seed in range(one.seeds)])
        for film in films[-1]:
            film.add_done_callback(lambda _: on_film(one.condition))
    return summary([added(film.result() for film in of_scene) for of_scene in films])


def measure_here(setup: Setup, one: Run) -> dict[str, dict[str, float]]:
    """The same in this process: for a handful of scenes."""
    seeds = range(one.seeds)
    return summary(
        [added(film_and_score(setup, one.condition, number, seed) for seed in seeds) for number in range(one.scenes)]
    )


def film_sheet(setup: Setup, condition: str, scenes: int) -> "Image.Image":
    """Films to look at: a row for each scene as it is drawn, and below it what the condition makes of it, with the
    masks that were used. Raises ValueError for a condition that makes no films."""
    rows = []
    for number in range(scenes):
        scene, film, _ = make_film(setup, condition, number, seed=0)
        if film.frames is None:
            raise ValueError(f"{condition} makes no films to look at; choose another condition")
        rows += [scene.sample, replace(scene.sample, name=condition, frames=film.frames, masks=film.masks)]
    return contact_sheet(rows)


def summary(scenes: Sequence[Scores]) -> dict[str, dict[str, float]]:
    names = dict.fromkeys(name for scores in scenes for name in scores)
    found = {name: measured([scores[name] for scores in scenes if name in scores]) for name in names}
    return {name: asdict(one) for name, one in found.items() if one}


def film_and_score(setup: Setup, condition: str, number: int, seed: int) -> Scores:
    """One film of scene `number`, read; two where it is compared with that of another condition."""
    scene, film, grid = make_film(setup, condition, number, seed)
    found = score(film, scene, grid)
    if against := CONDITIONS[condition].against:
        _, other, _ = make_film(setup, against, number, seed)
        found |= response(film, other, scene)
    return found


def make_film(setup: Setup, condition: str, number: int, seed: int) -> tuple[HeldOut, Film, TokenGrid]:
    told = CONDITIONS[condition]
    models = setup.weights[told.model]
    scene, staged = _staged(setup, models, told.scenes, number)
    film = _studio(setup, models).film(scene, staged, told, seed_of("film", number, seed))
    return scene, film, staged.scene.grid


@contextmanager
def processes(workers: int) -> Iterator[tuple[ProcessPoolExecutor, ...]]:
    """Pools of one process each, with one thread."""
    with ExitStack() as stack:
        yield tuple(
            stack.enter_context(
                ProcessPoolExecutor(1, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,))
            )
            for _ in range(workers)
        )


def about(setup: Setup) -> dict[str, object]:
    """What is measured, with what, when."""
    configs = {name: load_models(path).config for name, path in setup.models}  # all of them, before the first film
    config = configs[MAIN]
    return {
        "model": config.name,
        "trained": config.trained,
        "weights": {name: _sign(path) for name, path in setup.models},
        "companions": _sign_companions(),
        "speech": "eSpeak NG, voices never trained with" if setup.voices else "built-in babble",
        "video": f"{config.video.sample_width}x{config.video.sample_height}, "
        f"{config.transformer.sample_frames} frames at {config.fps:g} a second",
        "steps": setup.steps,
        "scheduler": setup.scheduler,
        "guidance": {"text": setup.text, "audio": setup.audio},
        "processor": _processor(),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }


def _extent(text: str, scenes: int, seeds: int) -> tuple[int, int]:
    if not text:
        return scenes, seeds
    parts = text.split("x")
    if len(parts) > 2 or not all(part.isdigit() and int(part) for part in parts):
        raise ValueError(f"{text!r} is no number of scenes and seeds; write 24x1 for 24 scenes and 1 seed, or 24")
    return int(parts[0]), int(parts[1]) if len(parts) == 2 else seeds


def _extent_of(one: Run) -> dict[str, int]:
    return {"scenes": one.scenes, "seeds": one.seeds}


@cache
def _studio(setup: Setup, models: str) -> Studio:
    loaded = load_models(models, dtype=torch.float32)
    return Studio(
        loaded,
        load_face_encoder(setup.face_model, loaded.config.face),
        load_speech_encoder(setup.speech_model, loaded.config.speech),
        setup.steps,
        Separate(setup.text, setup.audio),
        setup.scheduler,
    )


@lru_cache(maxsize=KEPT_SCENES)
def _staged(setup: Setup, models: str, scenes: str, number: int) -> tuple[HeldOut, Staged]:
    studio = _studio(setup, models)
    scene = held_out(scenes, number, studio.models.config, setup.voices)
    return scene, studio.stage(scene)


def _earlier(out: Path, setup: Setup) -> dict:
    """Raises ValueError naming what is different."""
    here = about(setup)
    if not out.is_file():
        return {"measured": here, "runs": {}, "conditions": {}}
    report = read_results(out)
    there = report["measured"]
    same = set(here) - {"processor", "torch", "date", "weights"}
    odd = [name for name in same if there.get(name) != here[name]]
    odd += [f"weights of {name}" for name, sign in here["weights"].items() if there["weights"].get(name, sign) != sign]
    if odd:
        raise ValueError(
            f"{out} was measured with other settings ({', '.join(sorted(odd))}); write into another file with "
            f"--out, or remove {out} and {run_file(out).name} to begin anew"
        )
    report["measured"]["weights"] |= here["weights"]
    return report


def _sign(models: str) -> str:
    """The beginning of the hash of a weights file; of none where weights follow from a seed or fill a folder."""
    path = TINY if models == "tiny" else Path(models)
    return sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else ""


def _sign_companions() -> str:
    """The same of what the tiny model has beside it in the box."""
    files = sorted(TINY.parent.glob("tiny_*.safetensors"))
    return sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def _quoted(names: Collection[str]) -> str:
    """Apart from each other, though there are commas in them."""
    return ", ".join(f"{name!r}" for name in names)


def _processor() -> str:
    """Its model's name where the system tells."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
