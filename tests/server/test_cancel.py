"""Cancelling while it samples ends the run at once, and the next run works."""

import threading
import time

SECONDS = 1.0
JITTER = 1.0  # a busy machine answers late


def test_cancel_during_sampling_ends_the_run_within_a_second(workflow, client):
    prompt = workflow("two_speakers").change("Sampler", steps=400, seed=5)
    pressed = []

    def press_after_two_steps(event):
        sampling = event.kind == "progress" and event.data["node"] == prompt.id("Sampler")
        if sampling and event.data["value"] >= 2 and not pressed:
            pressed.append((time.monotonic(), event.seconds))
            client.cancel()

    run = client.run(prompt, press_after_two_steps)
    assert run.status == "interrupted", run
    [stopped] = run.of("execution_interrupted")
    assert stopped.data["node_id"] == prompt.id("Sampler")
    assert stopped.seconds - pressed[0][1] < SECONDS + JITTER


def test_cancel_inside_a_step_does_not_wait_for_its_end(workflow, client):
    """A step of three thousand tokens takes seconds on a CPU; cancel is pressed soon after the second one began."""
    prompt = workflow("two_speakers").change("Scene", width=192, height=128, frames=33)
    prompt = prompt.change("Sampler", steps=3, seed=5)
    pressed = []

    def press():
        pressed.append(time.monotonic())
        client.cancel()

    def press_inside_the_second_step(event):
        if event.kind == "progress" and event.data["node"] == prompt.id("Sampler") and event.data["value"] == 1:
            threading.Timer(0.2, press).start()

    run = client.run(prompt, press_inside_the_second_step)
    stopped = time.monotonic()
    assert run.status == "interrupted", run
    assert [e.data["value"] for e in run.of("progress") if e.data["node"] == prompt.id("Sampler")] == [1]
    assert stopped - pressed[0] < SECONDS + JITTER


def test_cancel_before_the_first_step_does_not_wait_for_the_encoding_of_pictures(workflow, client):
    prompt = workflow("two_speakers").change("Scene", width=192, height=128, frames=49)
    prompt = prompt.change("Sampler", steps=2, seed=7)
    pressed = []

    def press():
        pressed.append(time.monotonic())
        client.cancel()

    def press_as_the_sampler_begins(event):
        if event.kind == "executing" and event.data["node"] == prompt.id("Sampler"):
            threading.Timer(0.3, press).start()

    run = client.run(prompt, press_as_the_sampler_begins)
    stopped = time.monotonic()
    assert run.status == "interrupted", run
    assert stopped - pressed[0] < SECONDS + JITTER


def test_a_run_after_a_cancelled_one_succeeds(workflow, client):
    prompt = workflow("two_speakers").change("Sampler", steps=400, seed=6)
    client.run(prompt, lambda event: client.cancel() if event.kind == "progress" else None)
    assert client.run(prompt.change("Sampler", steps=1).only("Report")).status == "success"
