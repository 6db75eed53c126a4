import pytest
import torch
from torch import nn

from byav_core.encoders.untrained import seeded_weights


def built(seed: int) -> torch.Tensor:
    with seeded_weights(seed):
        return nn.Linear(5, 3).weight


def test_a_seed_always_gives_the_same_weights():
    torch.manual_seed(1)
    first = built(7)
    torch.manual_seed(2)
    assert torch.equal(first, built(7))
    assert not torch.equal(first, built(8))


def test_the_random_state_is_as_before_even_after_an_error():
    before = torch.random.get_rng_state()
    built(7)
    with pytest.raises(RuntimeError), seeded_weights(3):
        raise RuntimeError
    assert torch.equal(before, torch.random.get_rng_state())
