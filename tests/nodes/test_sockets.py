"""What travels on links: the memo, older and newer schemas, plans of routing."""

import dataclasses
import functools
import gc
import weakref

import pytest


class Thing:
    pass


@pytest.fixture
def sockets(part):
    return part("nodes.sockets")


@pytest.fixture
def counted():
    """A computation that counts how often it ran."""
    calls = []

    def compute():
        calls.append(1)
        return len(calls)

    compute.calls = calls
    return compute


def test_the_memo_answers_the_same_question_once(sockets, counted):
    memo, thing = sockets.Memo(), Thing()
    assert [memo.get("a", (thing,), 5, counted) for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("other", [lambda thing: ((Thing(),), 5), lambda thing: ((thing,), 6), lambda thing: ((), 5)])
def test_the_memo_computes_again_for_another_object_or_value(other, sockets, counted):
    memo, thing = sockets.Memo(), Thing()
    memo.get("a", (thing,), 5, counted)
    assert memo.get("a", *other(thing), counted) == 2


def test_the_memo_does_not_take_a_new_object_for_one_that_is_gone(sockets, counted):
    memo, thing = sockets.Memo(), Thing()
    memo.get("a", (thing,), 5, counted)
    del thing
    gc.collect()
    assert memo.get("a", (Thing(),), 5, counted) == 2


def test_the_memo_keeps_no_object_alive(sockets, counted):
    memo, thing = sockets.Memo(), Thing()
    watched = weakref.ref(thing)
    memo.get("a", (thing,), 5, counted)
    del thing
    gc.collect()
    assert watched() is None


def test_slots_do_not_disturb_each_other(sockets, counted):
    memo, thing = sockets.Memo(), Thing()
    memo.get("a", (thing,), 5, counted)
    assert memo.get("b", (thing,), 5, counted) == 2
    assert memo.get("a", (thing,), 5, counted) == 1


def test_schema_fields_that_the_host_does_not_know_yet_are_left_out(sockets, monkeypatch):
    @dataclasses.dataclass
    class Older:
        node_id: str
        category: str
        display_name: str = ""

    @dataclasses.dataclass
    class Newer(Older):
        search_aliases: list = dataclasses.field(default_factory=list)

    monkeypatch.setattr(sockets.io, "Schema", Older)
    assert sockets.schema("BYAV_X", "tools", display_name="X").category == "Bind-Your-Avatar/tools"
    monkeypatch.setattr(sockets.io, "Schema", Newer)
    assert "lip sync" in sockets.schema("BYAV_X", "tools").search_aliases


def test_a_misspelt_schema_field_is_not_left_out_silently(sockets):
    with pytest.raises(TypeError, match="descriptoin"):
        sockets.schema("BYAV_X", "tools", descriptoin="X")


def test_plans_of_a_learned_router_are_alike_and_plans_of_masks_are_not(sockets):
    plan = functools.partial(sockets.PlannedRouting, refinement="off", names=("Anna",), clip=None)
    first, second = Thing(), Thing()
    assert plan("intra", source=first).objects == plan("intra", source=second).objects
    assert plan("fixed", source=first).objects == (first,)
