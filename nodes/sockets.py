"""The link types between our nodes, each with what travels on it, and small helpers for schemas.

| socket              | value                                                                                   |
|---------------------|-----------------------------------------------------------------------------------------|
| BYAV_MODEL          | `LoadedModel`: the model, its patchers for ComfyUI's memory manager, and a memo           |
| BYAV_FACE_ENCODER   | `LoadedEncoder` around a core FaceEncoder                                                 |
| BYAV_AUDIO_ENCODER  | `LoadedEncoder` around a core SpeechEncoder                                               |
| BYAV_CAST           | tuple of core Character, in the order they were chained                                   |
| BYAV_STREAMS        | tuple of core SpeechStream, in the order they were chained                                |
| BYAV_MATRIX         | core AudioCharacterMatrix                                                                 |
| BYAV_PROMPT         | core Prompt                                                                               |
| BYAV_SCENE          | core PreparedScene                                                                        |
| BYAV_ROUTER         | `PlannedRouting`: which router, and what it planned                                       |
| BYAV_MASKS          | `NamedMasks`: one mask per character over all frames, by name                             |
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from ..byav_core.network import Models
    from ..byav_core.protocols import FaceEncoder, MaskSource, SpeechEncoder
    from ..byav_core.types import Clip

Model = io.Custom("BYAV_MODEL")
FaceEncoderLink = io.Custom("BYAV_FACE_ENCODER")
AudioEncoderLink = io.Custom("BYAV_AUDIO_ENCODER")
Cast = io.Custom("BYAV_CAST")
Streams = io.Custom("BYAV_STREAMS")
Matrix = io.Custom("BYAV_MATRIX")
PromptLink = io.Custom("BYAV_PROMPT")
SceneLink = io.Custom("BYAV_SCENE")
RouterLink = io.Custom("BYAV_ROUTER")
Masks = io.Custom("BYAV_MASKS")

CATEGORY = "Bind-Your-Avatar"
ALIASES = ["bind your avatar", "talking head", "lip sync", "multi speaker", "audio driven video", "speaker mask"]


def schema(node_id: str, folder: str, **fields: Any) -> io.Schema:
    """A schema in our category; fields that the installed ComfyUI does not know yet are left out."""
    fields.setdefault("search_aliases", ALIASES)
    known = {field.name for field in dataclasses.fields(io.Schema)}
    newer = {name for name in fields if name not in known and name in ("search_aliases",)}
    kept = {name: value for name, value in fields.items() if name not in newer}
    return io.Schema(node_id=node_id, category=f"{CATEGORY}/{folder}", **kept)


def advanced(widget: io.Input) -> io.Input:
    """The same input, folded away under "advanced" where the frontend can."""
    if hasattr(widget, "advanced"):
        widget.advanced = True
    else:
        widget.extra_dict["advanced"] = True
    return widget


@dataclass(frozen=True)
class NamedMasks:
    """Who is where: one mask per character, frames x height x width each, 0..1, of any size."""

    masks: dict[str, Float[Tensor, "f H W"]]


@dataclass(frozen=True, eq=False)
class LoadedEncoder:
    """An encoder, what the user calls it, and its torch parts under ComfyUI's memory manager."""

    name: str
    encoder: FaceEncoder | SpeechEncoder
    patchers: tuple[Any, ...] = ()
    fps: float = 25.0


@dataclass(frozen=True, eq=False)
class PlannedRouting:
    """Which router, and what it planned: `source` answers the transformer; `masks` are known beforehand or None;
    `notes` is what the user should hear of it. `names` and `clip`: the people, in order, and the extent of the plan."""

    name: str
    refinement: str
    source: MaskSource
    names: tuple[str, ...]
    clip: Clip
    masks: Float[Tensor, "n f H W"] | None = None
    notes: tuple[str, ...] = ()

    @property
    def objects(self) -> tuple:
        """What tells two plans of the same name apart: the masks found beforehand; a learned router has none."""
        return () if self.name in ("intra", "uniform") else (self.source,)


class Memo:
    """Remembers the last result of each slot, as long as it is asked with the very same objects and equal values.

    Objects are held weakly and compared by identity, so a memo neither keeps a cast alive nor mistakes another for it.
    """

    def __init__(self):
        self._kept: dict[str, tuple[tuple[weakref.ref, ...], Hashable, Any]] = {}

    def get(self, slot: str, objects: tuple, values: Hashable, compute: Callable[[], Any]) -> Any:
        kept = self._kept.get(slot)
        if kept is not None and kept[1] == values and _same(kept[0], objects):
            return kept[2]
        self._kept.pop(slot, None)
        result = compute()
        self._kept[slot] = (tuple(weakref.ref(item) for item in objects), values, result)
        return result


def _same(references: tuple[weakref.ref, ...], objects: tuple) -> bool:
    return len(references) == len(objects) and all(r() is o for r, o in zip(references, objects, strict=True))


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model as Load Model hands it on.

    patchers: "network", "conditioners", "text", "video": the torch parts under ComfyUI's memory manager.
    memo: what was computed from this model and need not be computed again.
    """

    name: str
    models: Models
    patchers: dict[str, Any]
    memo: Memo = field(default_factory=Memo)

    @property
    def trained(self) -> str:
        return self.models.config.trained

    @property
    def untrained(self) -> bool:
        return self.models.config.untrained
