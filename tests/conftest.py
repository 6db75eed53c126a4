import importlib.util
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # appended: ComfyUI's own `nodes` module keeps priority


def _module(name: str) -> ModuleType:
    """A module that lies beside this file; `tests` is not a package, so that ComfyUI's `tests` stays reachable."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / f"{name}.py")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Folder of the numbers that the released code produced."""
    return ROOT / "tests" / "vectors"


@pytest.fixture(scope="session")
def recipe():
    """The module that rebuilds the weights and inputs behind the vectors from seeds and key names."""
    return _module("recipe")


@pytest.fixture(scope="session")
def real_inputs():
    """The module that makes real faces and real speech out of installed packages."""
    return _module("real_inputs")


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory) -> Path:
    """Where logs, screenshots and videos are kept: BYAV_ARTIFACTS, or a temporary folder."""
    named = os.environ.get("BYAV_ARTIFACTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("artifacts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory, artifacts):
    """A real ComfyUI with this pack and the example inputs, one for the whole session."""
    from comfy_server import ComfyServer

    comfyui = os.environ.get("COMFYUI_PATH")
    if not comfyui:
        reason = "COMFYUI_PATH does not name the folder of ComfyUI's main.py; `python3 run.py test` sets it"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    base = tmp_path_factory.mktemp("comfyui")
    _module("real_inputs").write_examples(base / "input")
    server = ComfyServer(Path(comfyui), base)
    try:
        with server:
            yield server
    finally:
        shutil.copy(server.log, artifacts / "comfyui.log")


@pytest.fixture(scope="session")
def client(server):
    """Runs prompts on the server and waits for their end."""
    from runs import Client

    return Client(server)
