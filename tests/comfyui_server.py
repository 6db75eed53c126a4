"""A real ComfyUI server for tests and a small client that runs prompts on it and keeps what it said."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parents[1]
SECONDS_TO_START = 120
SETTINGS = {  # otherwise dialogs cover the Run button
    "Comfy.TutorialCompleted": True,
    "Comfy.Notification.ShowVersionUpdates": False,
    "Comfy.InstalledVersion": "1.32.9",
    "Comfy.Workflow.ShowMissingModelsWarning": False,
}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def place_pack(custom_nodes: Path) -> None:
    """The pack as a user would have it; a copy where links are not allowed (Windows)."""
    target = custom_nodes / "bind-your-avatar"
    try:
        target.symlink_to(ROOT, target_is_directory=True)
    except OSError:
        shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(".*", "tests", "__pycache__"))


class ComfyServer:
    """main.py of the ComfyUI at `comfyui`, with all it writes below `base`."""

    def __init__(self, comfyui: Path, base: Path, log: Path):
        self.comfyui, self.base, self.log = comfyui, base, log
        self.url = ""
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Raises RuntimeError with the end of the log when the server dies or does not answer in time."""
        for folder in ("custom_nodes", "input", "output", "temp", "models", "user/default"):
            (self.base / folder).mkdir(parents=True, exist_ok=True)
        (self.base / "user/default/comfy.settings.json").write_text(json.dumps(SETTINGS))
        place_pack(self.base / "custom_nodes")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(port)]
        command += ["--disable-auto-launch", "--disable-api-nodes", "--base-directory", str(self.base)]
        command += ["--database-url", f"sqlite:///{(self.base / 'user/comfyui.db').as_posix()}"]
        environment = {"OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1", **os.environ, "PYTHONUNBUFFERED": "1"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=self.comfyui, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended with {self.process.returncode} while starting\n{self.tail()}")
            try:
                self.get("/system_stats")
                return
            except OSError:
                time.sleep(0.25)
        raise RuntimeError(f"ComfyUI did not answer within {SECONDS_TO_START} s\n{self.tail()}")

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(15)

    def tail(self, characters: int = 4000) -> str:
        return "--- end of the server log ---\n" + self.log.read_text(errors="replace")[-characters:]

    def get(self, path: str, **query) -> bytes:
        with urllib.request.urlopen(self.url + path + ("?" + urlencode(query) if query else ""), timeout=30) as reply:
            return reply.read()

    def post(self, path: str, body: dict) -> tuple[int, dict]:
        """Status and answer; an answer that is not 200 is returned like any other."""
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, json.loads(reply.read() or b"{}")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")

    def object_info(self) -> dict:
        return json.loads(self.get("/object_info"))


@dataclass
class Event:
    """One message of the server's websocket; `kind` is "preview" for the binary ones. seconds: since the prompt."""

    kind: str
    data: dict
    seconds: float


@dataclass
class Run:
    """What the server did with one prompt."""

    prompt_id: str = ""
    refused: dict | None = None
    events: list[Event] = field(default_factory=list)
    outputs: dict = field(default_factory=dict)
    log: str = ""

    def of(self, kind: str) -> list[Event]:
        return [e for e in self.events if e.kind == kind]

    @property
    def status(self) -> str:
        if self.refused is not None:
            return "refused"
        ends = {"execution_success": "success", "execution_error": "error", "execution_interrupted": "interrupted"}
        return next((ends[e.kind] for e in self.events if e.kind in ends), "unfinished")

    @property
    def executed(self) -> list[str]:
        """Ids of the nodes that really ran, in order; those answered from the cache are not among them."""
        return list(dict.fromkeys(e.data["node"] for e in self.of("executing") if e.data["node"] is not None))

    @property
    def message(self) -> str:
        """What the user reads: the sentence of the exception, or of the refused inputs."""
        if self.refused is not None:
            errors = [self.refused.get("error", {})]
            errors += [e for node in self.refused.get("node_errors", {}).values() for e in node["errors"]]
            return " | ".join(f"{e.get('message', '')}: {e.get('details', '')}" for e in errors)
        return " | ".join(e.data["exception_message"] for e in self.of("execution_error"))

    @property
    def seconds(self) -> float:
        return self.events[-1].seconds

    def __str__(self) -> str:
        kinds = [f"{e.seconds:.1f}s {e.kind} {e.data.get('node', '')}" for e in self.events if e.kind != "preview"]
        return f"{self.status}: {self.message}\n" + "\n".join(kinds[-12:]) + "\n" + self.log


class Client:
    """Queues prompts as the page does and waits for their end."""

    def __init__(self, server: ComfyServer):
        self.server = server

    def run(self, prompt: dict, on_event: Callable[[Event], None] | None = None, timeout: float = 240) -> Run:
        return asyncio.run(asyncio.wait_for(self._run(prompt, on_event), timeout))

    def cancel(self) -> None:
        self.server.post("/interrupt", {})

    async def _run(self, prompt: dict, on_event: Callable[[Event], None] | None) -> Run:
        import aiohttp

        client_id, run = uuid.uuid4().hex, Run()
        address = f"{self.server.url.replace('http', 'ws', 1)}/ws?clientId={client_id}"
        async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket_:
            status, answer = self.server.post("/prompt", {"prompt": prompt, "client_id": client_id})
            if status != 200:
                run.refused = answer
                return run
            run.prompt_id, start = answer["prompt_id"], time.monotonic()
            async for message in socket_:
                binary = message.type is aiohttp.WSMsgType.BINARY
                body = {"type": "preview", "data": {"bytes": message.data}} if binary else json.loads(message.data)
                event = Event(body["type"], body["data"], time.monotonic() - start)
                run.events.append(event)
                if on_event:
                    on_event(event)
                if event.kind == "executing" and event.data["node"] is None:
                    break
        history = json.loads(self.server.get(f"/history/{run.prompt_id}"))
        run.outputs = history.get(run.prompt_id, {}).get("outputs", {})
        run.log = self.server.tail()
        return run

    def files(self, run: Run, node: str) -> list[bytes]:
        """The files that an output node of the run saved."""
        listed = [f for files in run.outputs[node].values() for f in files if isinstance(f, dict) and "filename" in f]
        return [self.server.get("/view", **{k: f[k] for k in ("filename", "subfolder", "type")}) for f in listed]
