"""The router `intra` shows masks by a short probe, and only to whom is connected."""

import pytest


def test_intra_runs_no_probe_when_its_masks_are_not_connected(workflow, client):
    prompt = workflow("two_speakers").set("Sampler", steps=1, seed=11)
    run = client.run(prompt)
    assert run.status == "success", run
    assert not [e for e in run.of("progress") if e.data["node"] == prompt.id("Router")]


@pytest.mark.parametrize(
    ("output", "type_", "input_"), [(1, "MaskPreview", "mask"), (2, "BYAV_RoutingMasks", "routing")]
)
def test_intra_runs_a_probe_of_a_few_steps_when_its_masks_are_connected(output, type_, input_, workflow, client):
    prompt = workflow("two_speakers").set("Router", probe_steps=2, seed=12)
    prompt = prompt.add("look", type_, **{input_: [prompt.id("Router"), output]})
    if type_ == "BYAV_RoutingMasks":
        prompt = prompt.set("look", character="Anna").add("seen", "MaskPreview", mask=[prompt.id("look"), 0])
    run = client.run(prompt.only("seen" if type_ == "BYAV_RoutingMasks" else "look"))
    assert run.status == "success", run
    steps = [e.data["value"] for e in run.of("progress") if e.data["node"] == prompt.id("Router")]
    assert steps[-1] == 2
    assert prompt.id("Sampler") not in run.executed


def test_pre_shows_its_masks_without_sampling(workflow, client):
    prompt = workflow("two_speakers_first_frame").set("Router", router="pre")
    prompt = prompt.add("look", "MaskPreview", mask=[prompt.id("Router"), 1]).only("look")
    run = client.run(prompt)
    assert run.status == "success", run
    assert len(run.outputs[prompt.id("look")]["images"]) == 2 * 17


def test_stop_at_step_gives_masks_after_that_many_steps(workflow, client):
    prompt = workflow("two_speakers").set("Sampler", steps=20, stop_at_step=2, seed=13)
    run = client.run(prompt.only("Report"))
    assert run.status == "success", run
    assert [e.data["value"] for e in run.of("progress") if e.data["node"] == prompt.id("Sampler")][-1] == 2
