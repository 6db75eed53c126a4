"""ComfyUI's devices, memory manager, progress and interrupt, as the plain callbacks that the core takes.

Weights move only through ComfyUI's memory manager. Imports of `comfy` happen inside the functions, so that the pack's
menus can be built before a device is chosen.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from ..byav_core.pipeline import Compute, PreparedScene
    from ..byav_core.sampling.sampler import StepReport
    from .sockets import LoadedModel

log = logging.getLogger(__name__)

PACK = Path(__file__).resolve().parents[1]
OPS = ("Linear", "Conv1d", "Conv2d", "Conv3d", "GroupNorm", "LayerNorm")


def hold(modules: Iterable[nn.Module], place: str = "unet", in_parts: bool = False) -> Any:
    """Puts modules under ComfyUI's memory manager, as one patcher. It forgets models whose patcher nobody keeps.

    place: "unet", "vae" or "text_encoder", which decides on what device ComfyUI wants to run them. in_parts: the
    weights may stay in slow memory and come layer by layer; the modules must then be told where to compute instead of
    looking where their weights are. The list around the modules is there because the patcher writes attributes that
    libraries' modules have as read-only properties.
    """
    import comfy.model_management as manager
    import comfy.model_patcher

    load_device, offload_device = {
        "unet": (manager.get_torch_device, manager.unet_offload_device),
        "vae": (manager.vae_device, manager.vae_offload_device),
        "text_encoder": (manager.text_encoder_device, manager.text_encoder_offload_device),
    }[place]
    held = nn.ModuleList(modules).eval().requires_grad_(False)
    if in_parts:
        give_to_comfy_ops(held)
    patcher = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    return patcher(held, load_device=load_device(), offload_device=offload_device())


def give_to_comfy_ops(module: nn.Module) -> None:
    """Turns plain torch layers into ComfyUI's own, in place: they fetch their weights from slow memory, compute in the
    input's precision whatever that of the weights, and ask for cancel before every operation."""
    import comfy.ops

    ours = {getattr(nn, name): getattr(comfy.ops.manual_cast, name) for name in OPS}
    for layer in module.modules():
        if type(layer) in ours:
            layer.__class__ = ours[type(layer)]


def bring(patchers: Iterable[Any], activations: int = 0, in_parts: bool = False) -> None:
    """Asks ComfyUI's memory manager for these weights and for `activations` bytes to compute in."""
    import comfy.model_management as manager

    wanted = list(patchers)
    if not wanted:
        return
    manager.load_models_gpu(wanted, memory_required=activations, force_full_load=not in_parts)
    for patcher in wanted:
        bring_bare_tensors(patcher.model, patcher.load_device)


def bring_bare_tensors(module: nn.Module, device: torch.device) -> None:
    """Parameters and buffers that lie beside child modules are passed over when ComfyUI loads a model in part."""
    for layer in module.modules():
        if hasattr(layer, "comfy_cast_weights"):
            continue
        for name, weight in [*layer.named_parameters(recurse=False)]:
            if weight.device != device:
                setattr(layer, name, nn.Parameter(weight.to(device), requires_grad=False))
        for name, buffer in [*layer.named_buffers(recurse=False)]:
            if buffer.device != device:
                setattr(layer, name, buffer.to(device))


def bring_network(model: LoadedModel, scene: PreparedScene, characters: int) -> Compute:
    """Transformer, router and video autoencoder in place for a run of this extent; returns where it computes."""
    patcher, config = model.patchers["network"], model.models.config.transformer
    bring([model.patchers["video"]] if "video" in model.patchers else [])
    compute = compute_of(patcher)
    tokens = scene.grid.tokens + config.max_text_seq_length
    bring([patcher], activation_bytes(tokens, config.dim, characters, compute.dtype), in_parts=True)
    return compute


def compute_of(patcher: Any) -> Compute:
    """Where the network behind a patcher computes, and in which precision."""
    from ..byav_core.pipeline import Compute

    weights = next(parameter for parameter in patcher.model.parameters() if parameter.is_floating_point())
    return Compute(torch.device(patcher.load_device), weights.dtype)


def precision(choice: str) -> torch.dtype:
    """The number format behind a menu entry; "auto" asks ComfyUI what the device can do."""
    import comfy.model_management as manager

    if choice != "auto":
        return getattr(torch, choice)
    device = manager.get_torch_device()
    on_card = not manager.is_device_cpu(device) and manager.should_use_bf16(device)
    return torch.bfloat16 if on_card else torch.float32


def check_cancelled() -> None:
    """Raises ComfyUI's own exception when the user pressed cancel."""
    import comfy.model_management

    comfy.model_management.throw_exception_if_processing_interrupted()


class StepProgress:
    """Called after every step: progress bar, time left as text on the node, and a picture if `preview` makes one."""

    def __init__(self, node_id: str | None, preview: Callable[[StepReport], Any] | None = None, what: str = "step"):
        self.node_id, self.preview, self.what = node_id, preview, what
        self.bar: Any = None
        self.started = time.perf_counter()

    def __call__(self, report: StepReport) -> None:
        import comfy.utils

        if self.bar is None:
            self.bar = comfy.utils.ProgressBar(report.steps, node_id=self.node_id)
        shown = ("JPEG", self.preview(report), None) if self.preview else None
        self.bar.update_absolute(report.step, report.steps, shown)
        say(self.node_id, f"{self.what} {report.step}/{report.steps} · {self.time_left(report)}")

    def time_left(self, report: StepReport) -> str:
        each = (time.perf_counter() - self.started) / report.step
        return f"{each:.1f} s each · {duration(each * (report.steps - report.step))} left"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


@contextmanager
def listening(node_id: str | None) -> Iterator[list[str]]:
    """Collects the warnings of the core, so that they are read on the node and in the report and not only in a log."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield notes
    for warning in caught:
        if PACK in Path(warning.filename).resolve().parents:
            notes.append(str(warning.message))
            log.warning("Bind-Your-Avatar: %s", warning.message)
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if notes:
        say(node_id, "\n".join(notes))


@contextmanager
def told_what_to_install() -> Iterator[None]:
    """Where a package is not installed, says how to install it, rather than only that there is no such module."""
    from . import INSTALL

    try:
        yield
    except ModuleNotFoundError as error:
        sentence = f"this node needs the Python package {error.name}, which is not installed; {INSTALL}"
        raise ModuleNotFoundError(sentence, name=error.name) from error


def say(node_id: str | None, text: str) -> None:
    """A line of text on the node, if a server is there to send it."""
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(text, node_id)


def activation_bytes(tokens: int, channels: int, characters: int, dtype: torch.dtype) -> int:
    """What one pass of the transformer needs beside its weights: some 20 tensors of tokens x channels at its widest
    place (queries, keys, values and the four times wider feed-forward), and 4 per character for the routing."""
    return tokens * channels * dtype.itemsize * (20 + 4 * characters)


def decoding_bytes(height: int, width: int, channels: int, dtype: torch.dtype) -> int:
    """What the video autoencoder needs for one tile: some 8 tensors of 9 frames at its full size."""
    return 8 * 9 * height * width * channels * dtype.itemsize


def connected(node_id: str, sockets: Sequence[int], nodes: dict[str, dict]) -> bool:
    """Whether any node takes one of these outputs."""
    links = (value for node in nodes.values() for value in node.get("inputs", {}).values())
    return any(
        isinstance(link, list) and len(link) == 2 and str(link[0]) == str(node_id) and link[1] in sockets
        for link in links
    )


def running_prompt() -> tuple[str, dict[str, dict]] | None:
    """Id of the node being looked at and the graph it is in, where ComfyUI does not hand them over itself."""
    from comfy_execution.utils import get_executing_context
    from server import PromptServer

    context, server = get_executing_context(), getattr(PromptServer, "instance", None)
    if context is None or server is None:
        return None
    running, _ = server.prompt_queue.get_current_queue()
    graphs = (item[2] for item in running if item[1] == context.prompt_id)
    graph = next(graphs, None)
    return None if graph is None else (context.node_id, graph)
