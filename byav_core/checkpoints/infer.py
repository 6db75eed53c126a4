"""The configuration of a model folder that carries none of ours: from its config.json files and its shapes.

What a config.json states is believed (and the weights are held against it later); what it leaves out follows from
the shapes of the weights; what neither says is as in the released model.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..config import FaceExtractorConfig, ModelConfig, RouterConfig, SpeechProjectorConfig, TransformerConfig, build
from .fit import CheckpointError
from .names import LISTS

# What diffusers' CogVideoX can be and this model is not.
FIXED = {"patch_size_t": None, "ofs_embed_dim": None, "use_rotary_positional_embeddings": True, "is_kps": False}
# ConsisID's names of the face extractor's extents.
FACE_EXTRACTOR_NAMES = {
    "LFE_id_dim": "identity_dim",
    "LFE_vit_dim": "dim",
    "LFE_depth": "depth",
    "LFE_dim_head": "head_dim",
    "LFE_num_heads": "heads",
    "LFE_num_id_token": "identity_tokens",
    "LFE_num_querie": "queries",
    "LFE_output_dim": "output_dim",
    "LFE_ff_mult": "ff_mult",
    "LFE_num_scale": "scales",
}
# The released names of what the transformer has beside CogVideoX, and ours.
INTERVAL_NAMES = {"cross_attn_interval": "face_interval", "audio_attn_interval": "audio_interval"}
HEAD_NAMES = {
    "cross_attn_num_heads": "face_heads",
    "cross_attn_dim_head": "face_head_dim",
    **{name: name for name in ("face_heads", "face_head_dim", "audio_heads", "audio_head_dim")},
}


class Shapes:
    """Extents of tensors by released name; what is not there is as `otherwise` says."""

    def __init__(self, tensors: Mapping[str, Tensor]):
        self.tensors = tensors

    def __call__(self, name: str, axis: int, otherwise: int) -> int:
        shape = self.tensors[name].shape if name in self.tensors else ()
        return shape[axis] if axis < len(shape) and shape[axis] else otherwise

    def count(self, group: str, otherwise: int) -> int:
        """How many different numbers follow `group.` in the names."""
        numbered = re.compile(re.escape(group) + r"\.(\d+)\.")
        return len({match[1] for name in self.tensors if (match := numbered.match(name))}) or otherwise


def infer_config(base: ModelConfig, folder: Path, part: str, tensors: Mapping[str, Tensor]) -> ModelConfig:
    """base: the dialect, and all that cannot be inferred. part: the transformer's folder inside the model's folder.

    Raises CheckpointError when the config.json files are wrong, or say that the model is of another kind.
    """
    described = folder / part / "config.json"
    size, stated = Shapes(tensors), read_json(described)
    _refuse_other_kinds(stated, described)
    try:
        transformer = _transformer(base.transformer, size, stated)
        extractor = _face_extractor(base.face_extractor, size, stated)
        return replace(
            base,
            transformer=transformer,
            face_extractor=extractor,
            speech_projector=_speech_projector(base.speech_projector, size),
            router=_router(base.router, size, transformer, extractor),
            text=_stated(base.text, read_json(folder / "text_encoder" / "config.json")),
            video=_stated(base.video, read_json(folder / "vae" / "config.json")),
            schedule=_stated(base.schedule, read_json(folder / "scheduler" / "scheduler_config.json")),
        )
    except ValueError as error:
        raise CheckpointError(f"the config.json files in {folder} do not describe this model: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, or an empty one where there is no file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} should hold an object with named fields, got {type(content).__name__}")
    return content


def _refuse_other_kinds(stated: dict[str, Any], described: Path) -> None:
    for name, needed in FIXED.items():
        if name in stated and stated[name] != needed:
            raise CheckpointError(
                f"{described} says {name} = {stated[name]!r}, but only {needed!r} can be loaded: "
                "this is another kind of model. CogVideoX-5B-I2V (not 1.5), ConsisID-preview and the released "
                "Bind-Your-Avatar can be loaded"
            )


def _stated(base: Any, stated: Mapping[str, Any], names: Mapping[str, str] | None = None) -> Any:
    """`base` with the fields that a config.json states; names: how it calls them and how we do, if not the same."""
    names = names or {f.name: f.name for f in fields(base)}
    known = {ours: stated[theirs] for theirs, ours in names.items() if theirs in stated}
    return build(type(base), {**asdict(base), **known}, type(base).__name__)


def _transformer(base: TransformerConfig, size: Shapes, stated: Mapping[str, Any]) -> TransformerConfig:
    patch = size("patch_embed.proj.weight", 2, base.patch_size)
    head_dim = size("transformer_blocks.0.attn1.norm_q.weight", 0, base.attention_head_dim)
    inferred = replace(
        base,
        attention_head_dim=head_dim,
        num_attention_heads=size("patch_embed.proj.weight", 0, base.dim) // head_dim,
        out_channels=size("proj_out.weight", 0, base.out_channels * patch**2) // patch**2,
        time_embed_dim=size("time_embedding.linear_1.weight", 0, base.time_embed_dim),
        text_embed_dim=size("patch_embed.text_proj.weight", 1, base.text_embed_dim),
        num_layers=size.count("transformer_blocks", base.num_layers),
        patch_size=patch,
        use_learned_positional_embeddings="patch_embed.pos_embedding" in size.tensors,
    )
    backbone = _stated(_stated(inferred, stated), stated, INTERVAL_NAMES)
    backbone = replace(backbone, in_channels=3 * backbone.out_channels)  # 3C': base models have 2C'
    return _stated(_cross_attention(backbone, size), stated, HEAD_NAMES)


def _cross_attention(backbone: TransformerConfig, size: Shapes) -> TransformerConfig:
    """Intervals follow from how many face and audio layers there are, if any: the release states them unreliably.
    Where several would give that many (every 2nd or 3rd of 4), the stated one counts."""
    layers = backbone.num_layers
    face_layers = size.count(LISTS["face"], -(-layers // backbone.face_interval))
    audio_layers = size.count(LISTS["audio"], -(-layers // backbone.audio_interval))
    face_inner = size(f"{LISTS['face']}.0.to_q.weight", 0, backbone.face_heads * backbone.face_head_dim)
    audio_inner = size(f"{LISTS['audio']}.0.attn.to_q.weight", 0, backbone.dim)
    face_heads = _router_heads(size) or backbone.face_heads
    return replace(
        backbone,
        face_interval=_interval(layers, face_layers, backbone.face_interval, "face"),
        face_heads=face_heads,
        face_head_dim=face_inner // face_heads,
        face_dim=size(f"{LISTS['face']}.0.norm1.weight", 0, backbone.face_dim),
        audio_interval=_interval(layers, audio_layers, backbone.audio_interval, "audio"),
        audio_heads=backbone.num_attention_heads,
        audio_head_dim=audio_inner // backbone.num_attention_heads,
        audio_dim=size("audio_model.audio_proj_model.norm.weight", 0, backbone.audio_dim),
    )


def _interval(layers: int, attentions: int, stated: int, kind: str) -> int:
    for interval in (stated, *range(1, layers + 1)):
        if -(-layers // interval) == attentions:
            return interval
    raise CheckpointError(
        f"{attentions} {kind} cross-attentions cannot be spread evenly over {layers} blocks; "
        "the weights are incomplete, or num_layers in transformer/config.json is wrong"
    )


def _face_extractor(base: FaceExtractorConfig, size: Shapes, stated: Mapping[str, Any]) -> FaceExtractorConfig:
    part = "local_facial_extractor"
    dim = size(f"{part}.latents", 2, base.dim)
    inferred = replace(
        base,
        identity_dim=size(f"{part}.id_embedding_mapping.0.weight", 1, base.identity_dim),
        feature_dim=size(f"{part}.mapping_0.0.weight", 1, base.feature_dim),
        dim=dim,
        scales=sum(f"{part}.mapping_{scale}.0.weight" in size.tensors for scale in range(99)) or base.scales,
        depth=size.count(f"{part}.layers", base.depth),
        heads=size(f"{part}.layers.0.0.to_q.weight", 0, base.heads * base.head_dim) // base.head_dim,
        identity_tokens=size(f"{part}.id_embedding_mapping.6.weight", 0, base.identity_tokens * dim) // dim,
        queries=size(f"{part}.latents", 1, base.queries),
        output_dim=size(f"{part}.proj_out", 1, base.output_dim),
        ff_mult=size(f"{part}.layers.0.1.1.weight", 0, base.ff_mult * dim) // dim,
    )
    return _stated(inferred, stated, FACE_EXTRACTOR_NAMES)


def _speech_projector(base: SpeechProjectorConfig, size: Shapes) -> SpeechProjectorConfig:
    part = "audio_model.audio_proj_model"
    output_dim = size(f"{part}.norm.weight", 0, base.output_dim)
    read_at_once = base.window * base.layers
    return replace(
        base,
        channels=size(f"{part}.proj1.weight", 1, read_at_once * base.channels) // read_at_once,
        hidden_dim=size(f"{part}.proj1.weight", 0, base.hidden_dim),
        tokens=size(f"{part}.proj3.weight", 0, base.tokens * output_dim) // output_dim,
        output_dim=output_dim,
    )


def _router(
    base: RouterConfig, size: Shapes, transformer: TransformerConfig, extractor: FaceExtractorConfig
) -> RouterConfig:
    """It reads the queries and keys of the face attention, and the released table labels its axes t, column, row."""
    t, h, w = base.table_extent
    return replace(
        base,
        heads=transformer.face_heads,
        head_dim=transformer.face_head_dim,
        face_tokens=extractor.queries,
        depth=size.count("router.spatial_temporal_layers", base.depth),
        table_extent=(size("router.pos_emb", 0, t), size("router.pos_emb", 2, h), size("router.pos_emb", 1, w)),
    )


def _router_heads(size: Shapes) -> int:
    """Router features are one number per face token and head; 0 where there is no router."""
    return size("router.norm.weight", 0, 0) // size("local_facial_extractor.latents", 1, 1)
