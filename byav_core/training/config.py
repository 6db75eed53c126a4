"""A training as plain values, read from a JSON file: `configs/` has one for the tiny model and the paper's."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..config import PRESETS, build
from ..synthetic import WorldSpec
from .ranges import ABOVE_0, AT_LEAST_0, AT_LEAST_1, BELOW_1, check_ranges
from .stages import STAGES, Stage

CONFIGS = Path(__file__).parent / "configs"
OF_DATA = {
    "drawn": AT_LEAST_0,
    "people": AT_LEAST_1,
    "first_seed": AT_LEAST_0,
    "frames": AT_LEAST_1,
    "lips": AT_LEAST_0,
}
OF_EVERY = {
    "log": AT_LEAST_1,
    "sheet": AT_LEAST_0,
    "save": AT_LEAST_1,
    "keep": AT_LEAST_1,
    "clips": AT_LEAST_0,
    "sampling_steps": AT_LEAST_1,
}
OF_TRAINING = {
    "rows": AT_LEAST_1,
    "betas": BELOW_1,
    "weight_decay": AT_LEAST_0,
    "gradient_clip": ABOVE_0,
    "ema": BELOW_1,
    "seed": AT_LEAST_0,
    "workers": AT_LEAST_0,
}


@dataclass(frozen=True)
class Data:
    """Either `folder`, with a manifest, or `drawn`: how many scenes of the drawn world to make on the fly, shared by
    the numbers of `people`, each as often as it is named; their seeds begin at `first_seed`, their voices are in the
    folder `voices`.

    frames: of each drawn clip, as many as the model's if None; a training may begin on stills, and another one go on
    from its weights. motions, backgrounds, modes, sounds, bindings: of the drawn world, everything it has if empty.
    lips: how much more lips count than the rest of a face where the dynamic mask loss looks at faces. keep: whether
    what the frozen encoders see is kept on disk, so that scenes are drawn once; at the paper's size a clip takes some
    50 MB. encode_on: the device of the encoders; on "cpu" the workers share the work.
    """

    folder: str | None = None
    drawn: int = 0
    people: tuple[int, ...] = (1, 2)
    first_seed: int = 0
    voices: str | None = None
    frames: int | None = None
    motions: tuple[str, ...] = ()
    backgrounds: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    sounds: tuple[str, ...] = ()
    bindings: tuple[str, ...] = ()
    lips: float = 3.0
    keep: bool = True
    encode_on: str = "cpu"

    def __post_init__(self):
        """Raises ValueError for numbers out of their ranges, and for samples from nowhere or from two places."""
        check_ranges(self, OF_DATA, "data:")
        if not self.people:
            raise ValueError("data: people names no number; name how many people a drawn scene has, such as [1, 2]")
        if (self.folder is None) == (self.drawn == 0):
            raise ValueError("data needs either a folder of samples or a number of scenes to be drawn, one of the two")

    def world(self, **extent: int | float) -> WorldSpec:
        """The drawn world, in the extent that the model wants where the data does not say otherwise.

        Raises ValueError naming what cannot be drawn.
        """
        names = ("people", "voices", "frames", "motions", "backgrounds", "modes", "sounds", "bindings")
        chosen = {name: value for name in names if (value := getattr(self, name))}
        return WorldSpec(**extent | chosen)


@dataclass(frozen=True)
class Every:
    """Steps from one line of the log, contact sheet and checkpoint to the next; 0 for no sheets. keep: how many states
    to go on from stay on disk. clips, sampling_steps: of a sheet."""

    log: int = 1
    sheet: int = 500
    save: int = 500
    keep: int = 2
    clips: int = 4
    sampling_steps: int = 20

    def __post_init__(self):
        check_ranges(self, OF_EVERY, "every:")


@dataclass(frozen=True)
class TrainingConfig:
    """A training of the three stages.

    model: the preset to start untrained, if `start` names no weights: a file of ours, or the folder of ConsisID or
    CogVideoX-5B-I2V. first_stage: the one that starts so; those before it are no part of this training.
    companions: folder or file of text encoder and video autoencoder, where they lie elsewhere.
    face_model, speech_model: folders of the frozen encoders, or "tiny".
    rows: clips that go through the network at once on one device; a step has the stage's `batch` of them, in as many
    passes as it takes. precision: "no" is float32; with "bf16" trained weights stay in float32.
    optimizer: of the paper, AdamW; with "muon" that one for the matrices inside the network, which learn more per clip.
    ema: how much of the averaged weights stays in a step; they are what is saved. 0 for none.
    """

    data: Data
    output: str
    model: str = "tiny"
    start: str | None = None
    first_stage: int = 1
    companions: str | None = None
    face_model: str = "tiny"
    speech_model: str = "tiny"
    stages: tuple[Stage, ...] = STAGES
    rows: int = 1
    precision: Literal["no", "bf16"] = "no"
    gradient_checkpointing: bool = False
    optimizer: Literal["adamw", "muon"] = "adamw"
    betas: tuple[float, ...] = (0.9, 0.95)
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    ema: float = 0.999
    seed: int = 42
    workers: int = 2
    every: Every = field(default_factory=Every)

    def __post_init__(self):
        """Raises ValueError for numbers out of their ranges, for a model that is none, and for batches that do not
        divide into passes."""
        check_ranges(self, OF_TRAINING, "training:")
        if len(self.betas) != 2:
            raise ValueError(f"training: betas is {self.betas}; it should be two numbers, such as [0.9, 0.95]")
        if self.model not in PRESETS:
            raise ValueError(f"there is no model {self.model!r}; choose one of {', '.join(PRESETS)}")
        if not self.numbers or self.first_stage < 1:
            raise ValueError(f"first_stage is {self.first_stage}; give one of 1 to {len(self.stages)}")
        if wrong := [stage.name for stage in self.stages if stage.batch % self.rows]:
            raise ValueError(f"the batch of {', '.join(wrong)} is no multiple of rows, {self.rows}; change one of them")

    @property
    def numbers(self) -> range:
        """Of the stages of this training."""
        return range(self.first_stage, len(self.stages) + 1)

    def stage(self, number: int) -> Stage:
        """Stage 1, 2 or 3. Raises ValueError for one that is no part of this training."""
        if number not in self.numbers:
            raise ValueError(f"there is no stage {number}; there are {self.first_stage} to {len(self.stages)}")
        return self.stages[number - 1]

    def weights(self, number: int) -> Path:
        """What a stage leaves behind."""
        return Path(self.output) / f"stage-{number}.safetensors"

    @property
    def companions_folder(self) -> str | None:
        """Where text encoder and video autoencoder stay; None if they travel inside the weights."""
        if self.companions or not self.start:
            return self.companions
        return self.start if Path(self.start).is_dir() else None


def read_training(path: str | Path) -> TrainingConfig:
    """A JSON file. Its "stages" say only what is unlike the paper, by the stage's name: {"stage 1": {"steps": 100}}.

    Raises FileNotFoundError, and ValueError naming the field that is unknown, missing or of another kind.
    """
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path} is a folder; name the training configuration in it")
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no training configuration {path}")
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON or of UTF-8
        raise ValueError(f"{path} is not JSON in UTF-8: {error}") from error
    if isinstance(values, dict):
        if missing := [name for name in ("data", "output") if name not in values]:
            raise ValueError(f"{path} says no {' and no '.join(missing)}; the files in {CONFIGS} show how")
        try:
            values["stages"] = _stages(values.get("stages", {}))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    return build(TrainingConfig, values, str(path))


def _stages(changes: Any) -> list[dict[str, Any]]:
    if not isinstance(changes, dict) or not all(isinstance(one, dict) for one in changes.values()):
        raise ValueError(
            f'stages is {json.dumps(changes)}; say what is unlike the paper, such as {{"stage 1": {{"steps": 100}}}}'
        )
    if unknown := sorted(set(changes) - {stage.name for stage in STAGES}):
        raise ValueError(f"there are no stages {unknown}; there are {', '.join(stage.name for stage in STAGES)}")
    return [changed(asdict(stage), changes.get(stage.name, {})) for stage in STAGES]


def changed(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Groups of values (drops, losses) are changed value by value."""
    inner = {k: changed(values[k], v) for k, v in changes.items() if isinstance(v, dict) and k in values}
    return values | changes | inner
