"""The pack loaded the way ComfyUI loads it.

COMFYUI_PATH names a real ComfyUI to load it with; without it a stub of ComfyUI's classes stands in.
"""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="session")
def hosts() -> ModuleType:
    """The module `hosts.py` beside this file."""
    spec = importlib.util.spec_from_file_location("hosts", Path(__file__).with_name("hosts.py"))
    sys.modules["hosts"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def host(hosts, tmp_path_factory) -> Path:
    """ComfyUI's modules, real or not; gives the folder that holds models/. Gone again when these tests are over."""
    before, path = set(sys.modules), list(sys.path)
    root = tmp_path_factory.mktemp("host")
    for key in ("byav", "diffusion_models", "audio_encoders", "diffusers"):
        (root / "models" / key).mkdir(parents=True)
    (root / "temp").mkdir()
    if comfyui := os.environ.get("COMFYUI_PATH"):
        hosts.real(comfyui, root)
    else:
        sys.modules.update(hosts.install(root))
    yield root
    sys.path[:] = path
    packages = {name.partition(".")[0] for name in hosts.MODULES} | {"nodes", "utils"}
    for name in [name for name in set(sys.modules) - before if name.partition(".")[0] in packages]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def pack(host, hosts) -> ModuleType:
    return hosts.load_pack(str(hosts.ROOT).replace(".", "_x_"))


@pytest.fixture(scope="session")
def nodes(pack, hosts) -> dict[str, type]:
    """Every node of the pack by its id."""
    return {node.GET_SCHEMA().node_id: node for node in hosts.node_list(pack)}


@pytest.fixture(scope="session")
def part(pack):
    """A module of the loaded pack, such as nodes.convert; its classes are not those of `import byav_core`."""
    return lambda name: importlib.import_module(f".{name}", pack.__name__)


@pytest.fixture
def people(part):
    """A cast with made-up features of the tiny model's extents, so that no encoder is needed."""
    types, config = part("byav_core.types"), part("byav_core.config").tiny()
    extractor = config.face_extractor

    def cast(*names: str) -> tuple:
        generator = torch.Generator().manual_seed(4)
        made = []
        for name in names:
            identity = torch.randn(extractor.identity_dim, generator=generator)
            hidden = tuple(torch.randn(6, extractor.feature_dim, generator=generator) for _ in range(extractor.scales))
            crop = torch.rand(3, 40, 40, generator=generator)
            made.append(types.Character(name, crop, types.FaceFeatures(identity, hidden, crop)))
        return tuple(made)

    return cast


@pytest.fixture
def voices(part):
    """Speech with made-up features of the tiny model's extents."""
    types, projector = part("byav_core.types"), part("byav_core.config").tiny().speech_projector

    def streams(*names: str) -> tuple:
        generator = torch.Generator().manual_seed(5)
        made = []
        for name in names:
            hidden = torch.randn(9, projector.layers, projector.channels, generator=generator)
            sound = types.Audio(torch.rand(5760, generator=generator) - 0.5, 16000)
            made.append(types.SpeechStream(name, sound, hidden))
        return tuple(made)

    return streams
