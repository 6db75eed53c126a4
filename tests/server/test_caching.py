"""Only what changed runs again: faces and voices are not encoded anew for another router, matrix or seed."""

import pytest

ENCODING = {
    "Load Bind-Your-Avatar Model",
    "Load Face Encoder",
    "Load Audio Encoder",
    "Face of Anna",
    "Face of Ben",
    "Character Anna",
    "Character Ben",
    "Recording of Anna",
    "Recording of Ben",
    "Speech of Anna",
    "Speech of Ben",
    "Prompt",
    "Scene",
}
AFTER_SAMPLING = {"Sampler", "Report", "Decode", "Make Video", "Routing Film", "Video with sound", "Who was where"}


@pytest.fixture
def rerun(workflow, client):
    """Titles of the nodes that the server executes when one input changes after a first run."""

    def change(title: str, **inputs) -> set[str]:
        prompt = workflow("two_speakers_first_frame").change("Sampler", steps=1)
        first = client.run(prompt)
        assert first.status == "success", first
        again = prompt.change(title, **inputs)
        run = client.run(again)
        assert run.status == "success", run
        return again.titles(run.executed)

    return change


def test_nothing_runs_again_when_nothing_changed(rerun):
    assert rerun("Sampler", steps=1) == set()


def test_another_router_runs_the_router_and_what_follows(rerun):
    assert rerun("Router", router="pre") == {"Router"} | AFTER_SAMPLING


def test_another_matrix_runs_neither_faces_nor_voices(rerun):
    ran = rerun("Who says what", mode="swapped")
    assert ran == {"Who says what", "Router"} | AFTER_SAMPLING
    assert not ran & ENCODING


def test_another_seed_runs_the_sampler_and_what_follows(rerun):
    assert rerun("Sampler", seed=77) == AFTER_SAMPLING


def test_another_face_leaves_voices_and_prompt_alone(rerun):
    ran = rerun("Face of Ben", image="carla.png")
    assert {"Face of Ben", "Character Ben", "Sampler"} <= ran
    assert not ran & {"Character Anna", "Speech of Anna", "Speech of Ben", "Prompt", "Scene"}
