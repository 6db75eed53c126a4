"""ComfyUI with this pack, its workflows and example inputs, for trying by hand. Called by run.py ui."""

import argparse
import os
import socket
import sys
import time
import webbrowser
from pathlib import Path

from comfy_server import ROOT, ComfyServer, end_well_when_told, free_port

sys.path.append(str(ROOT / "tests"))

USUAL_PORT = 8188


def device_arguments() -> tuple[str, ...]:
    """ComfyUI chooses a GPU by itself but does not start without one unless told."""
    import torch

    return () if torch.accelerator.is_available() else ("--cpu",)


def usual_port() -> int:
    """ComfyUI's usual port, or another one where that is taken."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", USUAL_PORT))
        except OSError:
            return free_port()
    return USUAL_PORT


def open_browser(address: str) -> None:
    has_display = sys.platform in ("win32", "darwin") or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    if has_display:
        webbrowser.open(address)


def wait_for_end(server: ComfyServer) -> None:
    while server.process.poll() is None:
        time.sleep(0.5)
    print(f"ComfyUI ended:\n{server.log_tail()}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="run.py ui", description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=None)
    chosen, for_comfyui = parser.parse_known_args()
    end_well_when_told()
    from real_inputs import write_examples

    write_examples(chosen.base / "input")
    print("Starting ComfyUI ...", flush=True)
    arguments = (*device_arguments(), *for_comfyui)
    with ComfyServer(
        Path(os.environ["COMFYUI_PATH"]), chosen.base, port=chosen.port or usual_port(), arguments=arguments
    ) as server:
        print(f"Open {server.address} and choose a workflow under Workflow > Browse Templates.")
        print(f"Models go into {server.base / 'models'}, results into {server.base / 'output'}. Ctrl-C ends it.")
        open_browser(server.address)
        try:
            wait_for_end(server)
        except KeyboardInterrupt:
            print("\nStopped.")


if __name__ == "__main__":
    main()
