import pytest
import torch

from byav_core.config import ScheduleConfig
from byav_core.sampling.schedule import SOLVERS, make_solver


def test_three_steps_are_the_released_timesteps():
    assert make_solver("dpm", ScheduleConfig(), 3).timesteps == (999, 666, 332)


@pytest.mark.parametrize("name", SOLVERS)
def test_fifty_steps_start_at_pure_noise(name):
    solver = make_solver(name, ScheduleConfig(), 50)
    assert len(solver.timesteps) == 50
    assert solver.scheduler.alphas_cumprod[solver.timesteps[0]] == 0


@pytest.mark.parametrize("name", SOLVERS)
def test_at_pure_noise_the_clean_latents_are_minus_the_velocity(name):
    velocity, latents = torch.randn(1, 3, 4, 2, 5), torch.randn(1, 3, 4, 2, 5)
    stepped = make_solver(name, ScheduleConfig(), 4).step(0, velocity, latents, None)
    torch.testing.assert_close(stepped.clean, -velocity)


def test_ddim_draws_no_noise_and_dpm_does():
    def drawn(name):
        generator = torch.Generator().manual_seed(0)
        before = generator.get_state()
        make_solver(name, ScheduleConfig(), 4).step(0, torch.ones(1, 3, 4, 2, 5), torch.ones(1, 3, 4, 2, 5), generator)
        return not torch.equal(before, generator.get_state())

    assert (drawn("ddim"), drawn("dpm")) == (False, True)


def test_an_unknown_scheduler_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no scheduler 'euler'.*dpm.*ddim"):
        make_solver("euler", ScheduleConfig(), 50)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_an_impossible_number_of_steps_is_refused(steps):
    with pytest.raises(ValueError, match="1 to 1000"):
        make_solver("dpm", ScheduleConfig(), steps)
