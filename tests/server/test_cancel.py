"""Cancelling while it samples ends the run at once, and the next run works."""

import threading
import time
from collections.abc import Callable

SECONDS = 1.0
JITTER = 1.0  # a busy machine answers late


class Cancel:
    """Listens to a run and presses cancel once, some seconds after the first event that is `due`."""

    def __init__(self, client, due: Callable, after: float = 0.0):
        self.client, self.due, self.after = client, due, after
        self.timer: threading.Timer | None = None
        self.pressed = float("nan")

    def __call__(self, event):
        if self.timer is None and self.due(event):
            self.timer = threading.Timer(self.after, self._press)
            self.timer.start()

    def _press(self):
        self.pressed = time.monotonic()
        self.client.cancel()


def interrupted_in_time(run, cancel: Cancel) -> bool:
    waited = time.monotonic() - cancel.pressed
    return run.status == "interrupted" and waited < SECONDS + JITTER


def sampled(prompt, event, steps: int) -> bool:
    return event.kind == "progress" and event.data["node"] == prompt.id("Sampler") and event.data["value"] >= steps


def test_cancel_during_sampling_ends_the_run_within_a_second(workflow, client):
    prompt = workflow("two_speakers").change("Sampler", steps=400, seed=5)
    cancel = Cancel(client, lambda event: sampled(prompt, event, 2))
    run = client.run(prompt, cancel)
    assert interrupted_in_time(run, cancel), run
    [stopped] = run.of("execution_interrupted")
    assert stopped.data["node_id"] == prompt.id("Sampler")


def test_cancel_inside_a_step_does_not_wait_for_its_end(workflow, client):
    """A step of three thousand tokens takes seconds on a CPU; cancel is pressed soon after the second one began."""
    prompt = workflow("two_speakers").change("Scene", width=192, height=128, frames=33)
    prompt = prompt.change("Sampler", steps=3, seed=5)
    cancel = Cancel(client, lambda event: sampled(prompt, event, 1), after=0.2)
    run = client.run(prompt, cancel)
    assert interrupted_in_time(run, cancel), run
    assert [e.data["value"] for e in run.of("progress") if e.data["node"] == prompt.id("Sampler")] == [1]


def test_cancel_before_the_first_step_does_not_wait_for_the_encoding_of_pictures(workflow, client):
    prompt = workflow("two_speakers").change("Scene", width=192, height=128, frames=49)
    prompt = prompt.change("Sampler", steps=2, seed=7)
    sampler = prompt.id("Sampler")
    cancel = Cancel(client, lambda e: e.kind == "executing" and e.data["node"] == sampler, after=0.3)
    run = client.run(prompt, cancel)
    assert interrupted_in_time(run, cancel), run


def test_a_run_after_a_cancelled_one_succeeds(workflow, client):
    prompt = workflow("two_speakers").change("Sampler", steps=400, seed=6)
    client.run(prompt, Cancel(client, lambda event: event.kind == "progress"))
    assert client.run(prompt.change("Sampler", steps=1).only("Report")).status == "success"
