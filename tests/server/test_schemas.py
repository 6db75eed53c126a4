"""The nodes as the page sees them."""

import json
from pathlib import Path

import pytest

PINNED = Path(__file__).resolve().parents[1] / "node_schemas.json"
OURS = {
    "BYAV_LoadModel",
    "BYAV_LoadFaceEncoder",
    "BYAV_LoadAudioEncoder",
    "BYAV_Character",
    "BYAV_Speech",
    "BYAV_AudioCharacterMatrix",
    "BYAV_Prompt",
    "BYAV_Scene",
    "BYAV_CharacterMask",
    "BYAV_Router",
    "BYAV_Sampler",
    "BYAV_Decode",
    "BYAV_MakeVideo",
    "BYAV_RoutingMasks",
    "BYAV_RoutingFilm",
}


@pytest.fixture(scope="module")
def live(server) -> dict:
    return server.get("/object_info")


def test_all_our_nodes_are_registered(live):
    assert {name for name in live if name.startswith("BYAV_")} == OURS


def test_the_pinned_schemas_are_those_of_the_server(live):
    """Saved workflows store widgets by position: append, never insert. `draw_workflows.py --schemas` pins anew."""
    from workflow_page import pin

    pinned = json.loads(PINNED.read_text(encoding="utf-8"))
    assert {name: pin(live[name]) for name in pinned} == pinned


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_input_and_output_is_explained(name, live):
    info = live[name]
    given = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    assert info["description"] and info["category"].startswith("Bind-Your-Avatar/")
    assert all(options[0].get("tooltip") for _, *options in given.values())
    assert all(info["output_tooltips"])


def test_the_pack_was_imported_without_complaint(server):
    log = server.log.read_text(errors="replace")
    assert "IMPORT FAILED" not in log and "are left out" not in log
