"""How a small encoder learns: AdamW, a warm-up and a cosine."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..optimizers import course

REPORTED = 50  # steps from one report to the next
Report = Callable[[str], None]


@dataclass(frozen=True)
class Learning:
    """steps of `rows` examples out of `examples` drawn ones; test: how many are drawn to measure with."""

    steps: int
    rows: int
    examples: int
    test: int
    learning_rate: float = 2e-3
    seed: int = 0


def learn(
    modules: Iterable[nn.Module], loss: Callable[[Tensor], Tensor], learning: Learning, report: Report
) -> list[float]:
    """Minimises `loss`, which is given the numbers of the examples to look at. Returns it for every step."""
    weights = [weight for module in modules for weight in module.parameters()]
    optimizer = torch.optim.AdamW(weights, learning.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: course(step, learning.steps, learning.steps // 20)
    )
    generator, losses = torch.Generator().manual_seed(learning.seed), []
    for step in range(learning.steps):
        value = loss(torch.randint(learning.examples, (learning.rows,), generator=generator))
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(value.item())
        if step % REPORTED == 0 or step == learning.steps - 1:
            report(f"step {step + 1} of {learning.steps}: loss {losses[-1]:.3f}")
    return losses
