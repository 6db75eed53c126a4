"""The harness itself, with ComfyUI's own nodes: what it reports is what the server did."""

import pytest

pytestmark = pytest.mark.server


def grey(width: int) -> dict:
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": width, "height": 48, "batch_size": 3, "color": 8421504}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "grey"}},
    }


def test_a_prompt_runs_and_its_files_can_be_fetched(client):
    run = client.run(grey(80))
    assert run.status == "success", run
    assert run.executed == ["1", "2", "3"]
    assert [len(f) > 0 for f in client.files(run, "3")] == [True] * 3


def test_nodes_answered_from_the_cache_are_not_called_executed(client):
    client.run(grey(96))
    again = grey(96)
    again["3"]["inputs"]["filename_prefix"] = "other"
    assert client.run(again).executed == ["3"]


def test_a_refused_prompt_says_which_input(client):
    run = client.run(grey(0))
    assert run.status == "refused"
    assert "width" in run.message
