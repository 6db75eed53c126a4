"""The loop around the step, on accelerate: one process or many, any precision, stopped and taken up again.

What is trained does not depend on the number of processes: a step's batch is cut into passes, numbered through, and
each process takes its share of them.
"""

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, DistributedType
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..network import Models
from ..pipeline import Compute
from .attention import use_plain_attention
from .config import TrainingConfig
from .dataset import Examples, Source
from .example import seed_of
from .journal import Journal
from .mixture import Batch, Mixture, Passes
from .optimizers import course, make_optimizers
from .show import Shown, sheet, stage_clips
from .stages import Stage, adapt, freeze
from .start import (
    clips_to_show,
    encoders_of,
    examples_of,
    finished,
    source_of,
    starting_models,
    what_decides,
    write_weights,
)
from .states import States, check_course, check_nothing_is_lost
from .step import TERMS, TrainingStep

logger = logging.getLogger(__name__)
LOGGED = ("total", *TERMS, "iou")


def train(config: TrainingConfig, number: int, *, resume: bool = False, source: Source | None = None) -> Path:
    """Trains stage 1, 2 or 3 and gives the file with its weights.

    resume: go on from the last whole state on disk, if there is one; without it, there should be none. source: other
    clips than the configuration names. Raises FileNotFoundError when what the stage starts from is not there,
    FileExistsError when states would be lost, ValueError when they are of another training, FloatingPointError when a
    loss or a gradient is no number: what is on disk stays as it was.
    """
    stage, folder = config.stage(number), states_of(config, number)
    check_device(config.data.encode_on)
    if not resume:
        check_nothing_is_lost(folder)
    models = starting_models(config, number)
    source = source or source_of(config, models.config)
    encoders = encoders_of(config, models, source)
    decided = what_decides(config, number, encoders, source)
    check_course(folder, decided)
    accelerator = make_accelerator(config, stage, models)
    examples = examples_of(config, encoders, source)
    encode_all(examples, accelerator, config)
    run = Run.prepare(config, number, models, examples, accelerator, decided)
    return run.to_the_end()


def states_of(config: TrainingConfig, number: int) -> Path:
    """Where those of a stage are kept."""
    return Path(config.output) / "states" / f"stage-{number}"


def check_device(name: str) -> None:
    """Raises ValueError when the encoders could not be there."""
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0].split(". ")[0]
        raise ValueError(
            f"data: encode_on is {name!r}, and there is no such device here ({reason}); use cpu, cuda or mps"
        ) from error


def make_accelerator(config: TrainingConfig, stage: Stage, models: Models) -> Accelerator:
    """Raises ValueError when the batch does not divide among the processes, or these know nothing of each other."""
    started = int(os.environ.get("WORLD_SIZE", 1))
    unread = models.config.router.mask_layer is not None  # then layers of the router that nobody asks have no gradient
    accelerator = Accelerator(
        cpu=started > 1 and not torch.cuda.is_available(),  # else each would train by itself, all of them the same
        mixed_precision=config.precision,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=unread)],
    )
    if accelerator.num_processes != started:
        raise ValueError(
            f"{started} processes were started but accelerate knows of {accelerator.num_processes}; start them with "
            "`accelerate launch`, or with torchrun"
        )
    at_once = config.rows * accelerator.num_processes
    if stage.batch % at_once:
        raise ValueError(
            f"{stage.name} has a batch of {stage.batch} clips, which {accelerator.num_processes} processes of "
            f"{config.rows} clips cannot share; choose a multiple of {at_once}"
        )
    accelerator.gradient_accumulation_steps = stage.batch // at_once
    if accelerator.distributed_type == DistributedType.DEEPSPEED:  # which looks at loaders, and ours is not prepared
        accelerator.state.deepspeed_plugin.deepspeed_config |= {
            "train_micro_batch_size_per_gpu": config.rows,
            "gradient_accumulation_steps": stage.batch // at_once,
        }
    return accelerator


def encode_all(examples: Examples, accelerator: Accelerator, config: TrainingConfig) -> None:
    """What is to be kept and is not there yet; every process a share of it. Encoders that go on encoding, as nothing is
    kept, stay on their device.

    Raises ValueError when the disk has no room for it, which the first clip of each number of characters tells.
    """
    modules = examples.encoders.modules
    for module in modules:
        module.to(config.data.encode_on)
    if accelerator.is_main_process:
        for one in {characters: (characters, index) for characters, index in reversed(examples.missing())}.values():
            examples.example(*one)
    accelerator.wait_for_everyone()
    examples.check_room()
    accelerator.wait_for_everyone()  # before the first of them fills the disk
    missing = examples.missing()[accelerator.process_index :: accelerator.num_processes]
    workers = config.workers if config.data.encode_on == "cpu" else 0
    loader = DataLoader(Encoded(examples, missing), batch_size=None, num_workers=workers)
    for _ in tqdm(loader, desc="encoding", unit="clip", disable=not (missing and accelerator.is_main_process)):
        pass
    if examples.folder is not None:
        for module in modules:
            module.to("cpu")
    accelerator.wait_for_everyone()


@dataclass(frozen=True)
class Encoded(Dataset):
    """Encodes when asked; for the workers of a loader."""

    examples: Examples
    wanted: Sequence[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.wanted)

    def __getitem__(self, place: int) -> str:
        return self.examples.example(*self.wanted[place]).name


@dataclass
class Run:
    """One stage in one process."""

    config: TrainingConfig
    number: int
    models: Models
    accelerator: Accelerator
    step_module: nn.Module
    trained: list[nn.Parameter]
    optimizers: list[Any]
    average: EMAModel | None
    passes: Passes
    states: States
    shown: tuple[Shown, ...]

    @classmethod
    def prepare(
        cls,
        config: TrainingConfig,
        number: int,
        models: Models,
        examples: Examples,
        accelerator: Accelerator,
        decided: Mapping[str, Any],
    ) -> "Run":
        stage, network = config.stage(number), models.network
        no_text = models.text("")
        shown = stage_clips(_to_show(config, examples, accelerator), examples.encoders)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(config.seed, "adapters", number) % 2**63)
            adapt(network, stage)
        freeze(network, stage)
        to_precision(network, config)
        if config.gradient_checkpointing:
            network.transformer.enable_gradient_checkpointing()
        if config.precision == "bf16" and accelerator.device.type == "cpu":
            use_plain_attention(network)
        module = TrainingStep(network.train(), stage, models.config.schedule)
        module, *optimizers = accelerator.prepare(module, *make_optimizers(module, config))
        trained = [p for p in module.parameters() if p.requires_grad]
        average = EMAModel(trained, decay=config.ema) if config.ema else None
        mixture = Mixture(examples.source, stage.single_character, config.rows, config.seed)
        states = States(states_of(config, number), accelerator, average, config.every.keep, decided)
        passes = Passes(examples, mixture, no_text)
        return cls(config, number, models, accelerator, module, trained, optimizers, average, passes, states, shown)

    @property
    def stage(self) -> Stage:
        return self.config.stage(self.number)

    def to_the_end(self) -> Path:
        done = self.states.load_last()
        journal = self._journal(done)
        accelerator, stage = self.accelerator, self.stage
        batches = iter(self._loader(done))
        bar = tqdm(
            total=stage.steps, initial=done, desc=stage.name, unit="step", disable=not accelerator.is_main_process
        )
        for step in range(done, stage.steps):
            values = self._step(step, batches)
            bar.update()
            bar.set_postfix(loss=f"{values['total']:.4f}")
            self._report(step + 1, values, journal)
        bar.close()
        if journal:
            journal.close()
        return self.config.weights(self.number)

    def _step(self, step: int, batches: Iterator[tuple[int, Batch]]) -> dict[str, float]:
        """All passes of a step, then the optimiser. Gives the means over all passes of all processes.

        Raises FloatingPointError, before anything has learnt from it, when a loss or a gradient is no number.
        """
        accelerator, stage = self.accelerator, self.stage
        rate = stage.learning_rate * course(step, stage.steps, stage.warm_up)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        found, means = [], {}
        for _ in range(accelerator.gradient_accumulation_steps):
            number, batch = next(batches)
            with accelerator.accumulate(self.step_module):
                generator = torch.Generator().manual_seed(seed_of(self.config.seed, "step", number))
                losses = self.step_module(batch, generator)
                found.append(_vector(losses))
                if accelerator.sync_gradients:  # before the last backward, in which DeepSpeed's optimiser steps
                    means = self._means(step, found)
                accelerator.backward(losses["total"])
        norm = _number(accelerator.clip_grad_norm_(self.trained, self.config.gradient_clip))
        self._check_finite(step, "gradient", norm)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if self.average:
            self.average.step(self.trained)
        return means | {"learning_rate": rate, "gradient_norm": norm}

    def _means(self, step: int, found: Sequence[Tensor]) -> dict[str, float]:
        """Over all passes of all processes; of what not every pass measures, over those that did."""
        passes = self.accelerator.gather(torch.stack(found))
        self._check_finite(step, "loss", *passes[:, LOGGED.index("total")].tolist())
        means = zip(LOGGED, passes.nanmean(dim=0).tolist(), strict=True)
        return {name: value for name, value in means if not math.isnan(value)}

    def _check_finite(self, step: int, what: str, *values: float) -> None:
        if not all(map(math.isfinite, values)):
            raise FloatingPointError(
                f"the {what} of step {step + 1} of {self.stage.name} is no number; lower the learning rate, or train "
                'in precision "no", and go on from the last state'
            )

    def _report(self, done: int, values: dict[str, float], journal: Journal | None) -> None:
        every, last = self.config.every, done == self.stage.steps
        if journal and (done % every.log == 0 or last):
            journal.write(done, values)
        if self.shown and every.sheet and (done % every.sheet == 0 or last):
            with self._averaged():
                journal.show(done, self._sheet())
        if done % every.save == 0 or last:
            self.states.save(done)
            self._write_weights(done)

    def _sheet(self):
        network, device = self.models.network.eval(), self.accelerator.device
        before = self.models.video.module.device
        self.models.video.module.to(device)
        with self.accelerator.autocast():
            drawn = sheet(
                self.shown, self.models, self.stage, self.config.every.sampling_steps, Compute(device, torch.float32)
            )
        self.models.video.module.to(before)
        network.train()
        return drawn

    def _write_weights(self, done: int) -> None:
        """The averaged weights; whoever finds the file while training goes on is told how far it is."""
        stage, config = self.stage, self.models.config
        said = stage.name if done == stage.steps else f"{stage.name}, step {done} of {stage.steps}"
        with self._averaged():
            state = self.accelerator.get_state_dict(self.step_module)
            if self.accelerator.is_main_process:
                own = {key.removeprefix("network."): x for key, x in state.items() if key.startswith("network.")}
                write_weights(self.config, self.number, self.models, finished(own, config, said))
        self.accelerator.wait_for_everyone()

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The averaged weights are in the network for as long as this lasts."""
        if self.average is None:
            yield
            return
        self.average.store(self.trained)
        self.average.copy_to(self.trained)
        try:
            yield
        finally:
            self.average.restore(self.trained)

    def _loader(self, done: int) -> DataLoader:
        """This process's passes from step `done` on, numbered."""
        each, here, all_ = (
            self.accelerator.gradient_accumulation_steps,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        elsewhere = self.passes.examples.folder is None and self.config.data.encode_on != "cpu"  # for workers too far
        mine = range(done * each * all_ + here, self.stage.steps * each * all_, all_)
        return DataLoader(
            Numbered(self.passes), sampler=mine, batch_size=None, num_workers=0 if elsewhere else self.config.workers,
            collate_fn=_as_it_is, persistent_workers=False,
        )  # fmt: skip

    def _journal(self, done: int) -> Journal | None:
        if not self.accelerator.is_main_process:
            return None
        return Journal(Path(self.config.output), f"stage-{self.number}", done)


@dataclass(frozen=True)
class Numbered(Dataset):
    """Passes together with their numbers, from which their noise follows."""

    passes: Passes

    def __getitem__(self, number: int) -> tuple[int, Batch]:
        return number, self.passes[number]


def to_precision(network: nn.Module, config: TrainingConfig) -> None:
    """What trains is float32. With bf16, matrices that do not train are kept in it; norms and biases stay."""
    frozen = torch.bfloat16 if config.precision == "bf16" else torch.float32
    for parameter in network.parameters():
        wide = parameter.requires_grad or parameter.ndim < 2
        parameter.data = parameter.data.to(torch.float32 if wide else frozen)


def _to_show(config: TrainingConfig, examples: Examples, accelerator: Accelerator) -> list:
    """Only one process draws sheets, and only where it has the weights by itself."""
    whole = accelerator.distributed_type in (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
    if not (accelerator.is_main_process and whole and config.every.sheet and config.every.clips):
        return []
    return clips_to_show(config, examples.encoders.models.config, examples.source)


def _vector(losses: dict[str, Tensor]) -> Tensor:
    """The losses in the order of LOGGED; what was not measured in this pass is no number."""
    missing = torch.full_like(losses["total"], math.nan)
    return torch.stack([losses.get(name, missing).detach().float() for name in LOGGED])


def _number(norm: Tensor | float | None) -> float:
    """DeepSpeed may know no norm; under FSDP each process may have a part of it."""
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm or 0.0)


def _as_it_is(item):
    return item
