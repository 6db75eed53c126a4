"""A real ComfyUI server with this pack in it, in a folder of its own: for the tests, the demo and trying by hand.

    with ComfyServer(comfyui, base) as server:
        finished = server.run(workflow)          # workflow in API format
        finished.outputs["9"]["images"][0]       # what the nodes showed
        server.fetch(...)                        # the bytes of such a file

The core tree stays untouched: models, inputs, outputs, settings and the link to this pack live under `base`.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACK = "bind-your-avatar"  # the folder name under custom_nodes
QUIET_SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Notification.ShowVersionUpdates": False,
    "Comfy.InstalledVersion": "1.32.9",
}  # without these a dialog covers the Run button on the first visit
NOT_PART_OF_THE_PACK = (".git", "tests", "demo_output", "artifacts", "__pycache__")

Message = tuple[str, dict]


class PromptRefused(ValueError):
    """The server would not queue a workflow. `reply` is its answer, with the errors of every node."""

    def __init__(self, reply: dict):
        self.reply = reply
        errors = [
            f"node {node} ({about.get('class_type')}): {error.get('message')}: {error.get('details')}"
            for node, about in (reply.get("node_errors") or {}).items()
            for error in about.get("errors", [])
        ]
        super().__init__("; ".join([reply.get("error", {}).get("message", "refused"), *errors]))


class RunFailed(RuntimeError):
    """A node raised while the workflow ran. `details` is what the server said of it."""

    def __init__(self, details: dict):
        self.details = details
        super().__init__(
            f"node {details.get('node_id')} ({details.get('node_type')}): "
            f"{details.get('exception_type', 'interrupted')}: {details.get('exception_message', '').strip()}"
        )


@dataclass(frozen=True)
class Finished:
    """outputs: what each node showed, by node id. messages: everything the server sent on the way, in order."""

    outputs: dict[str, dict]
    messages: tuple[Message, ...]

    @property
    def executed(self) -> tuple[str, ...]:
        """Ids of the nodes that ran; a node whose result was still known is not among them."""
        return tuple(
            dict.fromkeys(data["node"] for kind, data in self.messages if kind == "executing" and data["node"])
        )


class ComfyServer:
    """comfyui: the core's folder. base: a folder for everything the server reads and writes. python: an interpreter
    with the core's requirements. arguments: further ones for the core, `--cpu` unless given."""

    def __init__(
        self,
        comfyui: Path,
        base: Path,
        python: str = sys.executable,
        port: int | None = None,
        arguments: tuple[str, ...] = ("--cpu",),
    ):
        self.comfyui, self.base, self.python = Path(comfyui), Path(base).resolve(), python
        self.port = port or free_port()
        self.arguments = arguments
        self.address = f"http://127.0.0.1:{self.port}"
        self.log = self.base / "server.log"
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> "ComfyServer":
        prepare_base(self.base)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command(), cwd=self.comfyui, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def command(self) -> list[str]:
        database = (self.base / "user" / "comfyui.db").as_posix()
        return [
            self.python, "main.py", "--listen", "127.0.0.1", "--port", str(self.port), "--disable-auto-launch",
            "--disable-api-nodes", "--base-directory", str(self.base), "--database-url", f"sqlite:///{database}",
            *self.arguments,
        ]  # fmt: skip

    def wait_until_ready(self, seconds: float = 240) -> None:
        """Raises RuntimeError with the last lines of the log when the server ends or takes longer than `seconds`."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended with code {self.process.returncode}:\n{self.log_tail()}")
            with contextlib.suppress(OSError):
                self.get("/system_stats")
                return
            time.sleep(0.3)
        raise RuntimeError(f"ComfyUI did not answer within {seconds:.0f} s:\n{self.log_tail()}")

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """Ends the server that this object started, and no other process."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def get(self, path: str) -> dict:
        return self._request(urllib.request.Request(self.address + path))

    def post(self, path: str, value: dict) -> dict:
        body = json.dumps(value).encode()
        return self._request(
            urllib.request.Request(self.address + path, body, {"Content-Type": "application/json"}, method="POST")
        )

    def fetch(self, file: dict) -> bytes:
        """The bytes of a file that a node showed: filename, subfolder and type."""
        query = urllib.parse.urlencode({key: file[key] for key in ("filename", "subfolder", "type")})
        with urllib.request.urlopen(f"{self.address}/view?{query}", timeout=60) as reply:
            return reply.read()

    def run(
        self, workflow: dict, on_message: Callable[[str, dict], None] | None = None, seconds: float = 900
    ) -> Finished:
        """Runs a workflow to its end. Raises PromptRefused, RunFailed, or TimeoutError after `seconds`."""
        waiting = asyncio.wait_for(self._follow(workflow, on_message or (lambda *_: None)), seconds)
        with ThreadPoolExecutor(1) as elsewhere:  # the caller's thread may have an event loop of its own (Playwright)
            return elsewhere.submit(asyncio.run, waiting).result()

    async def _follow(self, workflow: dict, on_message: Callable[[str, dict], None]) -> Finished:
        import aiohttp  # comes with ComfyUI; the rest of this file needs nothing

        client, messages = uuid.uuid4().hex, []
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{self.address}/ws?clientId={client}", max_msg_size=0) as socket_,
        ):
            reply = self.post("/prompt", {"prompt": workflow, "client_id": client})
            async for frame in socket_:
                if frame.type != aiohttp.WSMsgType.TEXT:
                    on_message("preview", {"bytes": frame.data})
                    continue
                message = json.loads(frame.data)
                kind, data = message["type"], message.get("data") or {}
                if data.get("prompt_id", reply["prompt_id"]) != reply["prompt_id"]:
                    continue
                messages.append((kind, data))
                on_message(kind, data)
                if kind in ("execution_error", "execution_interrupted"):
                    raise RunFailed(data)
                if kind == "executing" and data["node"] is None:  # sent once the history holds the outputs
                    break
            else:
                raise RuntimeError(f"ComfyUI went away while a workflow ran:\n{self.log_tail()}")
        return Finished(self.get(f"/history/{reply['prompt_id']}")[reply["prompt_id"]]["outputs"], tuple(messages))

    def _request(self, request: urllib.request.Request) -> dict:
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                body = reply.read()
                return json.loads(body) if body else {}
        except urllib.error.HTTPError as error:
            body = error.read().decode(errors="replace")
            if request.selector == "/prompt" and error.code == 400:
                raise PromptRefused(json.loads(body)) from None
            raise RuntimeError(f"{request.get_method()} {request.selector}: HTTP {error.code}: {body[:500]}") from error


def end_well_when_told() -> None:
    """A program told to end (SIGTERM) leaves its `with` blocks, so that it ends the server it started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def prepare_base(base: Path) -> None:
    """Folders, first-visit settings and the pack under custom_nodes."""
    for name in ("models", "input", "output", "temp", "custom_nodes", "user/default"):
        (base / name).mkdir(parents=True, exist_ok=True)
    settings = base / "user" / "default" / "comfy.settings.json"
    if not settings.exists():
        settings.write_text(json.dumps(QUIET_SETTINGS))
    link_pack(base / "custom_nodes" / PACK)


def link_pack(place: Path) -> None:
    """A link to this checkout; a copy where the system does not let us link (Windows without developer mode)."""
    if place.is_symlink():
        place.unlink()
    elif place.exists():
        shutil.rmtree(place)
    try:
        os.symlink(ROOT, place, target_is_directory=True)
    except OSError:
        shutil.copytree(ROOT, place, ignore=shutil.ignore_patterns(*NOT_PART_OF_THE_PACK))
