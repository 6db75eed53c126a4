"""The noise schedule and the two solvers, both diffusers'. Here they get one way of being called."""

from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ..config import ScheduleConfig


@dataclass(frozen=True)
class Stepped:
    """Latents one step less noisy, and the clean latents that the step believes in (x0)."""

    latents: Float[Tensor, "b t c H W"]
    clean: Float[Tensor, "b t c H W"]


@runtime_checkable
class Solver(Protocol):
    """What the denoising loop asks: which timesteps, and where a velocity leads. `step` counts from 0."""

    timesteps: tuple[int, ...]

    def step(
        self,
        step: int,
        velocity: Float[Tensor, "b t c H W"],
        latents: Float[Tensor, "b t c H W"],
        generator: torch.Generator | None,
    ) -> Stepped: ...


class DpmSolver:
    """SDE-DPM++ 2M as CogVideoX uses it: the clean latents of the step before steady this one."""

    def __init__(self, config: ScheduleConfig, steps: int):
        from diffusers import CogVideoXDPMScheduler

        self.scheduler, self.timesteps = _scheduler(CogVideoXDPMScheduler, config, steps)
        self._clean_before: Tensor | None = None

    def step(
        self,
        step: int,
        velocity: Float[Tensor, "b t c H W"],
        latents: Float[Tensor, "b t c H W"],
        generator: torch.Generator | None,
    ) -> Stepped:
        """`step` counts from 0 and must rise by one at a time: the second order needs the step before."""
        before = self.timesteps[step - 1] if step else None
        latents, clean = self.scheduler.step(
            velocity, self._clean_before, self.timesteps[step], before, latents, generator=generator, return_dict=False
        )
        self._clean_before = clean
        return Stepped(latents, clean)


class DdimSolver:
    """DDIM without noise of its own: the same noise at the start always ends in the same video."""

    def __init__(self, config: ScheduleConfig, steps: int):
        from diffusers import CogVideoXDDIMScheduler

        self.scheduler, self.timesteps = _scheduler(CogVideoXDDIMScheduler, config, steps)

    def step(
        self,
        step: int,
        velocity: Float[Tensor, "b t c H W"],
        latents: Float[Tensor, "b t c H W"],
        generator: torch.Generator | None,
    ) -> Stepped:
        latents, clean = self.scheduler.step(velocity, self.timesteps[step], latents, return_dict=False)
        return Stepped(latents, clean)


SOLVERS = {"dpm": DpmSolver, "ddim": DdimSolver}


def make_solver(name: str, config: ScheduleConfig, steps: int) -> DpmSolver | DdimSolver:
    """A solver is good for one run: it remembers the step before."""
    if name not in SOLVERS:
        raise ValueError(f"there is no scheduler {name!r}; choose one of {list(SOLVERS)}")
    if not 1 <= steps <= config.num_train_timesteps:
        raise ValueError(f"{steps} steps cannot be taken; choose 1 to {config.num_train_timesteps}")
    return SOLVERS[name](config, steps)


def signal_shares(config: ScheduleConfig) -> Float[Tensor, " steps"]:
    """The cumulative product of alphas: how much of the variance is still the video at each training timestep."""
    from diffusers import CogVideoXDDIMScheduler

    return CogVideoXDDIMScheduler(**asdict(config)).alphas_cumprod


def _scheduler(kind: type, config: ScheduleConfig, steps: int) -> tuple[Any, tuple[int, ...]]:
    scheduler = kind(**asdict(config))
    scheduler.set_timesteps(steps)
    return scheduler, tuple(scheduler.timesteps.tolist())
