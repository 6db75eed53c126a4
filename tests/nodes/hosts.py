"""Where the pack is loaded: a real ComfyUI, or a stub of as much of it as the pack touches.

The stub's signatures follow ComfyUI 0.3.75: keywords that it would not know are refused here as well.
"""

import asyncio
import enum
import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]

MODULES = (
    "comfy", "comfy.model_management", "comfy.model_patcher", "comfy.ops", "comfy.utils", "comfy_api",
    "comfy_api.latest", "comfy_execution", "comfy_execution.graph_utils", "comfy_execution.utils", "folder_paths",
    "server",
)  # fmt: skip


class Input:
    def __init__(self, id, display_name=None, optional=False, tooltip=None, lazy=None, extra_dict=None):
        self.id, self.display_name, self.optional, self.tooltip = id, display_name, optional, tooltip
        self.lazy, self.extra_dict = lazy, extra_dict or {}


class Output:
    def __init__(self, id=None, display_name=None, tooltip=None, is_output_list=False):
        self.id, self.display_name, self.tooltip, self.is_output_list = id, display_name, tooltip, is_output_list


def io_type(name: str, *widget_fields: str) -> type:
    """A link type with its Input and Output; a widget takes the fields named beside those of every input."""

    class TypedInput(Input):
        def __init__(self, id, **given):
            base = {key: given.pop(key) for key in ("display_name", "optional", "tooltip", "lazy") if key in given}
            if unknown := set(given) - set(widget_fields):
                raise TypeError(f"{name} inputs do not know {sorted(unknown)}")
            super().__init__(id, **base)
            self.io_type = name
            for key in widget_fields:
                setattr(self, key, given.get(key))

    class TypedOutput(Output):
        io_type = name

    return type(name, (), {"Input": TypedInput, "Output": TypedOutput, "io_type": name})


class Hidden(str, enum.Enum):
    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    dynprompt = "DYNPROMPT"


@dataclass
class Schema:
    node_id: str
    display_name: str = None
    category: str = "sd"
    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    hidden: list = field(default_factory=list)
    description: str = ""
    is_input_list: bool = False
    is_output_node: bool = False

    def validate(self):
        ids = [item.id for item in (*self.inputs, *self.outputs)]
        if len(set(ids)) < len(ids):
            raise ValueError(f"Ids must be unique between inputs and outputs: {ids}")


class ComfyNode:
    hidden = SimpleNamespace(unique_id=None, dynprompt=None)

    @classmethod
    def GET_SCHEMA(cls):
        schema = cls.define_schema()
        schema.validate()
        return schema

    @classmethod
    def PREPARE_CLASS_CLONE(cls, hidden):
        known = {key: (hidden or {}).get(Hidden[key]) for key in Hidden.__members__}
        return type(cls.__name__, (cls,), {"hidden": SimpleNamespace(**known)})


class NodeOutput:
    def __init__(self, *args, ui=None, expand=None, block_execution=None):
        self.args, self.ui = args, ui


class Shown:
    def __init__(self, value, cls=None):
        self.value = value

    def as_dict(self):
        return {"shown": (self.value,)}


class VideoFromComponents:
    def __init__(self, components):
        self.components = components

    def get_components(self):
        return self.components

    def save_to(self, path, format=None, codec=None, metadata=None):
        self.saved = (path, metadata)


@dataclass
class VideoComponents:
    images: Any
    frame_rate: Any
    audio: Any = None
    metadata: Any = None


class ComfyExtension:
    pass


class ModelPatcher:
    def __init__(self, model, load_device, offload_device):
        self.model, self.load_device, self.offload_device = model, load_device, offload_device
        model.device = offload_device


@dataclass
class ExecutionBlocker:
    message: str | None


class ProgressBar:
    def __init__(self, total, node_id=None):
        self.total, self.node_id = total, node_id

    def update_absolute(self, value, total=None, preview=None):
        self.value = value


def folders(root) -> ModuleType:
    """folder_paths with the keys of a fresh ComfyUI."""
    module = ModuleType("folder_paths")
    module.models_dir = str(root / "models")
    module.folder_names_and_paths = {
        key: ([str(root / "models" / key)], {".safetensors", ".pt"})
        for key in ("diffusion_models", "audio_encoders", "diffusers")
    }

    def add_model_folder_path(key, path, is_default=False):
        paths, _ = module.folder_names_and_paths.setdefault(key, ([], set()))
        if path not in paths:
            paths.append(path)

    def get_filename_list(key):
        roots, endings = module.folder_names_and_paths[key]
        found = [(Path(r), f) for r in roots for f in sorted(Path(r).rglob("*")) if f.is_file()]
        return [str(f.relative_to(r)) for r, f in found if not endings or f.suffix in endings]

    def get_full_path(key, name):
        roots, _ = module.folder_names_and_paths[key]
        return next((str(Path(r) / name) for r in roots if (Path(r) / name).is_file()), None)

    module.add_model_folder_path, module.get_filename_list = add_model_folder_path, get_filename_list
    module.get_full_path = get_full_path
    return module


def install(root) -> dict[str, ModuleType]:
    """The stub modules by name, linked as packages are; the caller puts them into sys.modules."""
    made = {name: ModuleType(name) for name in MODULES} | {"folder_paths": folders(root)}
    widget = ("default", "socketless", "widget_type", "force_input")
    io = SimpleNamespace(
        Schema=Schema, ComfyNode=ComfyNode, NodeOutput=NodeOutput, Hidden=Hidden, Custom=io_type, Input=Input,
        Int=io_type("INT", *widget, "min", "max", "step", "control_after_generate", "display_mode"),
        Float=io_type("FLOAT", *widget, "min", "max", "step", "round", "display_mode"),
        String=io_type("STRING", *widget, "multiline", "placeholder", "dynamic_prompts"),
        Combo=io_type("COMBO", *widget, "options", "control_after_generate", "upload"),
        Image=io_type("IMAGE"), Mask=io_type("MASK"), Audio=io_type("AUDIO"), Video=io_type("VIDEO"),
        Latent=io_type("LATENT"), Vae=io_type("VAE"), Clip=io_type("CLIP"), Conditioning=io_type("CONDITIONING"),
    )  # fmt: skip
    latest, manager = made["comfy_api.latest"], made["comfy.model_management"]
    latest.io, latest.ComfyExtension = io, ComfyExtension
    latest.ui = SimpleNamespace(PreviewImage=Shown, PreviewMask=Shown, PreviewText=Shown)
    latest.InputImpl = SimpleNamespace(VideoFromComponents=VideoFromComponents)
    latest.Types = SimpleNamespace(VideoComponents=VideoComponents)
    for name in ("get_torch_device", "unet_offload_device", "vae_device", "vae_offload_device", "text_encoder_device",
                 "text_encoder_offload_device"):  # fmt: skip
        setattr(manager, name, lambda: torch.device("cpu"))
    manager.is_device_cpu = lambda device: True
    manager.load_models_gpu = lambda models, memory_required=0, force_full_load=False: None
    manager.throw_exception_if_processing_interrupted = lambda: None
    made["comfy.model_patcher"].ModelPatcher = ModelPatcher
    made["comfy.ops"].manual_cast = torch.nn
    made["comfy.utils"].ProgressBar = ProgressBar
    made["comfy_execution.graph_utils"].ExecutionBlocker = ExecutionBlocker
    made["comfy_execution.utils"].get_executing_context = lambda: None
    made["server"].PromptServer = SimpleNamespace(instance=None)
    for name, module in made.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(made[parent], child, module)
    return made


def real(comfyui: str, root) -> None:
    """Makes the installed ComfyUI importable, on the CPU and with model folders under `root`."""
    sys.path.insert(0, comfyui)
    import comfy.cli_args

    comfy.cli_args.args.cpu = True
    import folder_paths
    import utils.extra_config  # noqa: F401  as main.py does first: others have a `utils` too

    folder_paths.models_dir = str(root / "models")
    for key in ("diffusion_models", "audio_encoders", "diffusers"):
        folder_paths.folder_names_and_paths[key] = ([str(root / "models" / key)], {".safetensors", ".pt"})
    folder_paths.set_temp_directory(str(root / "temp"))


def load_pack(name: str) -> ModuleType:
    """By file path and under a name that looks like one, as ComfyUI's load_custom_node does."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "__init__.py")
    pack = importlib.util.module_from_spec(spec)
    sys.modules[name] = pack
    spec.loader.exec_module(pack)
    return pack


def node_list(pack: ModuleType) -> list[type]:
    return asyncio.run(asyncio.run(pack.comfy_entrypoint()).get_node_list())
