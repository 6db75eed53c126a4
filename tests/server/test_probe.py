"""The router `intra` shows masks by a short probe, and only to whom is connected."""

import pytest


def test_intra_runs_no_probe_when_its_masks_are_not_connected(workflow, client):
    prompt = workflow("two_speakers").change("Sampler", steps=1, seed=11).only("Report")
    run = client.run(prompt)
    assert run.status == "success", run
    assert not steps_of(run, prompt.id("Router"))


def steps_of(run, node: str) -> list[int]:
    return [e.data["value"] for e in run.of("progress") if e.data["node"] == node]


def masks_seen(prompt: dict) -> dict:
    return prompt.add("look", "MaskPreview", mask=[prompt.id("Router"), 1])


def routing_seen(prompt: dict) -> dict:
    prompt = prompt.add("of Anna", "BYAV_RoutingMasks", routing=[prompt.id("Router"), 2], character="Anna")
    return prompt.add("look", "MaskPreview", mask=[prompt.id("of Anna"), 0])


@pytest.mark.parametrize(("connect", "seed"), [(masks_seen, 12), (routing_seen, 13)])
def test_intra_runs_a_probe_of_a_few_steps_when_its_masks_are_connected(connect, seed, workflow, client):
    prompt = connect(workflow("two_speakers").change("Router", probe_steps=2, seed=seed)).only("look")
    run = client.run(prompt)
    assert run.status == "success", run
    assert steps_of(run, prompt.id("Router"))[-1] == 2


def test_connecting_the_masks_after_a_run_without_them_runs_the_probe(workflow, client):
    prompt = workflow("two_speakers").change("Router", probe_steps=2, seed=14).change("Sampler", steps=1).only("Report")
    assert not steps_of(client.run(prompt), prompt.id("Router"))
    run = client.run(masks_seen(prompt))
    assert run.status == "success", run
    assert steps_of(run, prompt.id("Router"))[-1] == 2


def test_pre_shows_its_masks_without_sampling(workflow, client):
    prompt = workflow("two_speakers_first_frame").change("Router", router="pre")
    prompt = prompt.add("look", "MaskPreview", mask=[prompt.id("Router"), 1]).only("look")
    run = client.run(prompt)
    assert run.status == "success", run
    assert len(run.outputs[prompt.id("look")]["images"]) == 2 * 25


def test_stop_at_step_gives_masks_after_that_many_steps(workflow, client):
    prompt = workflow("two_speakers").change("Sampler", steps=20, stop_at_step=2, seed=13)
    run = client.run(prompt.only("Report"))
    assert run.status == "success", run
    assert steps_of(run, prompt.id("Sampler"))[-1] == 2
