"""The denoising loop. Everything that does not change from step to step is computed before it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor, nn

from ..model.transformer import Binding, BindYourAvatarTransformer
from ..protocols import MaskSource
from ..types import Routed, TokenGrid
from .guidance import Conditions, Pass
from .latents import LatentInput
from .schedule import Solver


@dataclass(frozen=True)
class StepReport:
    """What is known after a step. `step` counts from 1; `clean` are the latents it would end in (for a preview)."""

    step: int
    steps: int
    latents: Float[Tensor, "1 t c H W"]
    clean: Float[Tensor, "1 t c H W"]
    masks: Float[Tensor, "n t h w"] | None


@dataclass(frozen=True)
class Denoised:
    """Clean latents, or their estimate when the run was stopped early, and the masks of the last step."""

    latents: Float[Tensor, "1 t c H W"]
    masks: Float[Tensor, "n t h w"] | None
    steps_done: int


@torch.no_grad()
def denoise(
    transformer: BindYourAvatarTransformer,
    start: LatentInput,
    conditions: Conditions,
    passes: tuple[tuple[Pass, ...], ...],
    masks: MaskSource,
    solver: Solver,
    generator: torch.Generator | None = None,
    *,
    on_step: Callable[[StepReport], None] | None = None,
    check_cancelled: Callable[[], None] | None = None,
    stop_at_step: int | None = None,
) -> Denoised:
    """Noise to clean latents. The passes of a step run one after another, which halves the memory of a joint batch.

    The latents are float32 whatever the network's precision. `generator` feeds the solver's noise. `check_cancelled`
    raises to stop; it is asked before every layer, as one block of a large video takes seconds on a CPU.
    `stop_at_step` ends early with the clean latents foreseen then.
    Raises FloatingPointError when the latents are no longer numbers.
    """
    text = {True: conditions.prompt, False: conditions.negative}
    binding = _bindings(transformer, conditions)
    latents, clean, routed = start.noise.float(), start.noise.float(), None
    passes = passes[:stop_at_step]
    with cancellable(transformer.modules(), check_cancelled), _fresh_caches(transformer):
        for step, passes_now in enumerate(passes):
            timestep = torch.full((1,), solver.timesteps[step], device=latents.device)
            shown = start.at(latents).to(conditions.prompt.dtype)
            velocity = torch.zeros_like(latents)
            for one in passes_now:
                with transformer.cache_context(one.name):
                    prediction, layers = transformer(shown, text[one.prompted], timestep, binding[one.speaking], masks)
                velocity += one.weight * prediction.float()
            stepped = solver.step(step, velocity, latents, generator)
            latents, clean = stepped.latents, stepped.clean
            _check_numbers(clean, step + 1, len(passes))
            routed = mean_mask(layers, transformer.grid(latents)) if layers else routed
            if on_step:
                on_step(StepReport(step + 1, len(passes), latents, clean, routed))
    return Denoised(clean, routed, len(passes))


def mean_mask(layers: tuple[Routed, ...], grid: TokenGrid) -> Float[Tensor, "n t h w"]:
    """A^cv as shown to people: the mean over the face layers of one pass."""
    masks = torch.stack([routed.mask.float() for routed in layers])
    return grid.fold(reduce(masks, "layers b n s -> b n s", "mean"))[0]


@contextmanager
def cancellable(modules: Iterable[nn.Module], check_cancelled: Callable[[], None] | None) -> Iterator[None]:
    """While this lasts, `check_cancelled` is asked before each of the modules runs; it raises to stop."""
    ask = [] if check_cancelled is None else list(modules)
    handles = [module.register_forward_pre_hook(lambda *_: check_cancelled()) for module in ask]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _fresh_caches(transformer: BindYourAvatarTransformer) -> Iterator[None]:
    """A step cache left by another generation, or by one cut short, must not leak into this one."""
    transformer._reset_stateful_cache()
    try:
        yield
    finally:
        transformer._reset_stateful_cache()


def _bindings(transformer: BindYourAvatarTransformer, conditions: Conditions) -> dict[bool, Binding]:
    """With speech and without; both share the faces' keys and values."""
    face = transformer.project_faces(conditions.characters)
    return {
        speaking: Binding(face, transformer.project_speech(speech), conditions.audio_to_character)
        for speaking, speech in ((True, conditions.speech), (False, conditions.no_speech))
    }


def _check_numbers(latents: Float[Tensor, "b t c H W"], step: int, steps: int) -> None:
    if not torch.isfinite(latents).all():
        raise FloatingPointError(
            f"the latents stopped being numbers (NaN or infinite) in step {step} of {steps}; "
            "load the model in bfloat16 or float32, or lower the guidance"
        )
