"""What a real server did with a prompt, whatever became of it: for tests that look closer than `ComfyServer.run`."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from comfy_server import ComfyServer, PromptRefused, RunFailed

ENDS = {"execution_success": "success", "execution_error": "error", "execution_interrupted": "interrupted"}


@dataclass
class Event:
    """One message of the server's websocket; kind "preview" for pictures. seconds: since the prompt was sent."""

    kind: str
    data: dict
    seconds: float


@dataclass
class Run:
    """Refused by validation, failed, cancelled or finished: `status`, and all that was said on the way."""

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
        return next((ENDS[e.kind] for e in self.events if e.kind in ENDS), "unfinished")

    @property
    def executed(self) -> list[str]:
        """Ids of the nodes that really ran, in order; those answered from the cache are not among them."""
        return list(dict.fromkeys(e.data["node"] for e in self.of("executing") if e.data["node"] is not None))

    @property
    def message(self) -> str:
        """What the user reads: the sentence of the exception, or of the inputs refused before the run."""
        if self.refused is not None:
            errors = [self.refused["error"]]
            errors += [e for node in self.refused["node_errors"].values() for e in node["errors"]]
            return " | ".join(f"{e['message']}: {e['details']}" for e in errors)
        return " | ".join(e.data["exception_message"].strip() for e in self.of("execution_error"))

    @property
    def seconds(self) -> float:
        return self.events[-1].seconds

    def __str__(self) -> str:
        kinds = [f"{e.seconds:.1f} s {e.kind} {e.data.get('node', '')}" for e in self.events if e.kind != "preview"]
        return "\n".join([f"{self.status}: {self.message}", *kinds[-12:], "--- end of the server's log ---", self.log])


class Client:
    """Queues prompts as the page does and waits for their end."""

    def __init__(self, server: ComfyServer):
        self.server = server

    def run(self, prompt: dict, on_event: Callable[[Event], None] | None = None, seconds: float = 240) -> Run:
        run, start = Run(), time.monotonic()

        def note(kind: str, data: dict) -> None:
            event = Event(kind, data, time.monotonic() - start)
            run.events.append(event)
            if on_event:
                on_event(event)

        try:
            run.outputs = self.server.run(prompt, note, seconds).outputs
        except PromptRefused as refused:
            run.refused = refused.reply
        except RunFailed:
            pass  # the events say so: `status` and `message`
        run.log = self.server.log_tail()
        return run

    def cancel(self) -> None:
        """What the page's cancel button sends."""
        self.server.post("/interrupt", {})

    def files(self, run: Run, node: str) -> list[bytes]:
        """The files that an output node of the run saved."""
        listed = [f for files in run.outputs[node].values() for f in files if isinstance(f, dict) and "filename" in f]
        return [self.server.fetch(f) for f in listed]
