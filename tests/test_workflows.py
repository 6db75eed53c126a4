"""The example workflows, read as files: whole, in step with the schemas and with their twins for /prompt.

`tests/node_schemas.json` holds what the workflows depend on of each node; `tests/server/test_schemas.py` holds it to
a running ComfyUI. `python tests/host/draw_workflows.py` draws the files anew.
"""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCHEMAS = json.loads((ROOT / "tests" / "node_schemas.json").read_text(encoding="utf-8"))
NOTES = {"Note", "MarkdownNote"}
NAMES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))


def page(name: str) -> dict:
    return json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))


def twin(name: str) -> dict:
    return json.loads((ROOT / "tests" / "workflows_api" / f"{name}.json").read_text(encoding="utf-8"))


def nodes(graph: dict) -> list[dict]:
    return [node for node in graph["nodes"] if node["type"] not in NOTES]


def widgets(type_: str) -> list[dict]:
    return [one for one in SCHEMAS[type_]["inputs"] if one["widget"]]


def widget_values(node: dict) -> dict:
    """Values by name; the widgets that the page adds of itself are skipped."""
    values, left = {}, list(node["widgets_values"])
    for one in widgets(node["type"]):
        values[one["name"]] = left.pop(0)
        del left[: len(one["beside"])]
    return values


def as_prompt(graph: dict) -> dict:
    """What the page sends when Run is pressed."""
    links = {number: [str(origin), slot] for number, origin, slot, *_ in graph["links"]}
    prompt = {}
    for node in nodes(graph):
        linked = {i["name"]: links[i["link"]] for i in node["inputs"] if i["link"] is not None}
        inputs = widget_values(node) | linked
        prompt[str(node["id"])] = {
            "class_type": node["type"],
            "inputs": inputs,
            "_meta": {"title": node["title"]},
        }
    return prompt


def test_the_promised_workflows_are_there():
    promised = {"two_speakers_first_frame", "two_speakers", "compare_routers", "swapped_matrix", "hand_painted_masks"}
    assert promised | {"three_speakers"} <= set(NAMES)
    assert {path.stem for path in (ROOT / "tests" / "workflows_api").glob("*.json")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
class TestWorkflow:
    def test_is_saved_in_the_form_that_every_comfyui_reads(self, name):
        graph = page(name)
        assert graph["version"] == 0.4
        assert "definitions" not in graph  # subgraphs lose links in some frontends

    def test_names_no_node_or_link_twice(self, name):
        graph = page(name)
        ids = [node["id"] for node in graph["nodes"]]
        links = [link[0] for link in graph["links"]]
        assert len(set(ids)) == len(ids) and max(ids) == graph["last_node_id"]
        assert len(set(links)) == len(links) and max(links) == graph["last_link_id"]

    def test_uses_only_our_nodes_and_pinned_core_nodes(self, name):
        for node in nodes(page(name)):
            assert node["type"] in SCHEMAS
            assert node["properties"]["Node name for S&R"] == node["type"]
            assert re.fullmatch(r"\d+\.\d+\.\d+", node["properties"]["ver"])
            ours = node["type"].startswith("BYAV_")
            assert node["properties"]["cnr_id"] == ("bind-your-avatar" if ours else "comfy-core")

    def test_links_are_written_the_same_at_both_ends(self, name):
        graph = page(name)
        by_id = {node["id"]: node for node in graph["nodes"]}
        for number, origin, out, target, into, kind in graph["links"]:
            assert number in by_id[origin]["outputs"][out]["links"]
            assert by_id[target]["inputs"][into]["link"] == number
            accepted = by_id[target]["inputs"][into]["type"]
            assert by_id[origin]["outputs"][out]["type"] == kind and accepted in (kind, "*")
        outgoing = [n for node in graph["nodes"] for output in node["outputs"] for n in output["links"] or []]
        incoming = [i["link"] for node in graph["nodes"] for i in node["inputs"] if i["link"] is not None]
        assert sorted(outgoing) == sorted(incoming) == sorted(link[0] for link in graph["links"])

    def test_sockets_and_widgets_are_those_of_the_schema(self, name):
        for node in nodes(page(name)):
            schema = SCHEMAS[node["type"]]
            assert {(i["name"], i["type"]) for i in node["inputs"]} == {
                (i["name"], i["type"]) for i in schema["inputs"]
            }
            assert [(o["name"], o["type"]) for o in node["outputs"]] == [
                (o["name"], o["type"]) for o in schema["outputs"]
            ]
            assert len(node["widgets_values"]) == sum(1 + len(one["beside"]) for one in widgets(node["type"]))

    def test_everything_required_is_given(self, name):
        for node in twin(name).values():
            needed = {one["name"] for one in SCHEMAS[node["class_type"]]["inputs"] if not one["optional"]}
            assert needed <= set(node["inputs"])

    def test_page_and_twin_are_the_same_graph(self, name):
        assert as_prompt(page(name)) == twin(name)

    def test_nodes_do_not_overlap_and_lie_inside_their_groups(self, name):
        graph = page(name)
        frames = [(*node["pos"], *node["size"]) for node in graph["nodes"]]
        for number, (x, y, w, h) in enumerate(frames):
            for x2, y2, w2, h2 in frames[:number]:
                assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 - 30 or y2 + h2 <= y - 30  # 30: height of the title
            groups = [group["bounding"] for group in graph["groups"]]
            assert any(gx <= x and gy <= y and x + w <= gx + gw and y + h <= gy + gh for gx, gy, gw, gh in groups)

    def test_has_a_note_and_a_small_thumbnail(self, name):
        assert any(
            node["type"] in NOTES and "released weights" in node["widgets_values"][0] for node in page(name)["nodes"]
        )
        assert (ROOT / "workflows" / f"{name}.jpg").stat().st_size < 60_000
