"""What every node must keep to, and what saved workflows rely on for ever."""

import inspect
import json
from pathlib import Path

import pytest

FREEZE = Path(__file__).with_name("schema_freeze.json")
IDS = list(json.loads(FREEZE.read_text(encoding="utf-8")))


def schema_of(node) -> dict:
    """What a saved workflow refers to: inputs by name and by order, outputs by index, menu entries by their text."""
    schema = node.GET_SCHEMA()
    return {
        "required": [[i.id, i.io_type] for i in schema.inputs if not i.optional],
        "optional": [[i.id, i.io_type] for i in schema.inputs if i.optional],
        "outputs": [[o.display_name, o.io_type, o.is_output_list] for o in schema.outputs],
        "menus": {i.id: list(i.options) for i in schema.inputs if getattr(i, "options", None)},
    }


@pytest.fixture(params=IDS)
def node(request, nodes):
    return nodes[request.param]


@pytest.fixture
def frozen(node):
    return json.loads(FREEZE.read_text(encoding="utf-8"))[node.GET_SCHEMA().node_id]


def test_no_node_is_lost_and_every_node_is_written_down(nodes):
    assert set(nodes) == set(IDS), "add new nodes to schema_freeze.json; never take one out"


def test_inputs_and_outputs_are_only_ever_appended(node, frozen):
    now = schema_of(node)
    assert now["required"] == frozen["required"], "saved workflows do not have a new required input: make it optional"
    assert now["optional"][: len(frozen["optional"])] == frozen["optional"]
    assert now["outputs"][: len(frozen["outputs"])] == frozen["outputs"]


def test_entries_of_menus_are_taken_for_ever(node, frozen):
    """Also those that the menu no longer lists."""
    now = schema_of(node)["menus"]
    assert set(frozen["menus"]) <= set(now)
    for menu, entries in frozen["menus"].items():
        for entry in entries:
            assert entry in now[menu] or node.validate_inputs(**{menu: entry}) is True


def test_every_node_has_a_name_a_description_and_a_place_in_our_menu(node):
    schema = node.GET_SCHEMA()
    assert schema.node_id.startswith("BYAV_") and schema.display_name and schema.description
    assert schema.category.startswith("Bind-Your-Avatar/")


def test_every_input_and_output_says_what_it_is(node):
    schema = node.GET_SCHEMA()
    for socket in (*schema.inputs, *schema.outputs):
        assert socket.display_name and socket.tooltip, socket.id
        assert socket.tooltip.rstrip().endswith("."), socket.id


def test_execute_takes_exactly_the_inputs(node):
    schema = node.GET_SCHEMA()
    parameters = inspect.signature(node.execute).parameters
    assert sorted(parameters) == sorted(i.id for i in schema.inputs)
    for socket in schema.inputs:
        has_default = parameters[socket.id].default is not inspect.Parameter.empty
        assert has_default == socket.optional, socket.id


@pytest.mark.parametrize("method", ["validate_inputs", "fingerprint_inputs"])
def test_checks_before_the_run_look_at_inputs_only(method, nodes):
    for node in (node for node in nodes.values() if method in vars(node)):
        known = {i.id for i in node.GET_SCHEMA().inputs}
        parameters = inspect.signature(getattr(node, method)).parameters.values()
        assert {p.name for p in parameters if p.kind is not p.VAR_KEYWORD} <= known, node


def test_widgets_start_with_a_value_that_is_allowed(node):
    for widget in node.GET_SCHEMA().inputs:
        default = getattr(widget, "default", None)
        if getattr(widget, "options", None):
            assert default in widget.options, widget.id
        if getattr(widget, "min", None) is not None:
            assert widget.min <= default <= widget.max, widget.id


def test_the_defaults_of_a_node_pass_its_own_checks(nodes):
    for node in (node for node in nodes.values() if "validate_inputs" in vars(node)):
        defaults = {i.id: getattr(i, "default", None) for i in node.GET_SCHEMA().inputs}
        names = inspect.signature(node.validate_inputs).parameters
        assert node.validate_inputs(**{name: defaults[name] for name in names}) is True, node


def test_the_menu_of_routers_is_the_cores(nodes, part):
    router = next(i for i in nodes["BYAV_Router"].GET_SCHEMA().inputs if i.id == "router")
    assert router.options == list(part("byav_core.routing").ROUTERS)


def test_the_menus_of_schedulers_are_the_cores(nodes, part):
    scheduler = next(i for i in nodes["BYAV_Sampler"].GET_SCHEMA().inputs if i.id == "scheduler")
    assert scheduler.options == list(part("byav_core.sampling.schedule").SOLVERS)
