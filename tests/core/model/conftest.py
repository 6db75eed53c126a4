import json
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file

from byav_core.config import FaceExtractorConfig, RouterConfig, SpeechProjectorConfig
from byav_core.model.face_extractor import FaceExtractor
from byav_core.model.speech_projector import SpeechProjector, windows
from byav_core.model.transformer import BindYourAvatarTransformer
from byav_core.protocols import MaskSource
from byav_core.routing.intra_denoise import IntraDenoiseRouter
from byav_core.types import Conditioning, Routed, Scene, TokenGrid


def part(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Keys below a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def renamed(state: dict[str, torch.Tensor], face_interval: int) -> dict[str, torch.Tensor]:
    """The transformer's share of a released state dict under our names: only prefixes differ."""
    ours = {}
    for key, value in state.items():
        place, _, rest = key.partition(".")
        if place == "perceiver_cross_attention":
            layer, _, rest = rest.partition(".")
            ours[f"transformer_blocks.{int(layer) * face_interval}.face.{rest}"] = value
        elif key.startswith("audio_model.layers."):
            layer, _, rest = key.removeprefix("audio_model.layers.").partition(".")
            ours[f"transformer_blocks.{layer}.audio.{rest}"] = value
        elif place not in ("router", "local_facial_extractor", "audio_model"):
            ours[key] = value
    return ours


@dataclass
class LayerMasks:
    """A mask for each face layer; remembers what it was asked with."""

    masks: list[torch.Tensor]

    def __post_init__(self):
        self.asked = {}

    def __call__(self, layer, q, k):
        self.asked[layer] = (q, k)
        return Routed(self.masks[layer])


@dataclass
class Released:
    """The tiny released model in our parts, with the weights behind the vectors."""

    transformer: BindYourAvatarTransformer
    face_extractor: FaceExtractor
    projector: SpeechProjector
    router: IntraDenoiseRouter
    inputs: dict[str, torch.Tensor]
    outputs: dict[str, torch.Tensor]
    taps: dict[str, torch.Tensor]

    def characters(self) -> torch.Tensor:
        each = [
            self.face_extractor(
                self.inputs[f"id_cond.{i}"], [self.inputs[f"id_vit_hidden.{i}.{scale}"] for scale in range(5)]
            )
            for i in range(2)
        ]
        return torch.stack(each, dim=1)

    def windows(self) -> torch.Tensor:
        embeds = self.inputs["audio_embeds"]
        frames = embeds.shape[2] - 4
        return torch.stack([windows(x, first=2, frames=frames) for x in embeds.flatten(0, 1)])

    def speech(self) -> torch.Tensor:
        return self.projector(self.windows()).unflatten(0, self.inputs["audio_embeds"].shape[:2])

    def conditioning(self) -> Conditioning:
        return Conditioning(
            self.inputs["encoder_hidden_states"], self.characters(), self.speech(), self.inputs["af_matrix"]
        )

    def routed(self) -> MaskSource:
        return self.router.plan(Scene(TokenGrid(3, 4, 7), ("one", "two")))

    def router_masks(self) -> LayerMasks:
        """The masks that the released router found in run A."""
        rows = [self.taps[f"tap.router#{call}.0"].transpose(1, 2) for call in range(4)]
        return LayerMasks([torch.cat(rows[:2]), torch.cat(rows[2:])])

    def forced_masks(self) -> LayerMasks:
        """Given masks as the release applies them: the largest over time, at all times."""
        forced = self.inputs["routing_logits_forcing"].unflatten(1, (3, 4 * 7))
        still = forced.amax(dim=1, keepdim=True).expand_as(forced)
        return LayerMasks([still.flatten(1, 2).transpose(1, 2)] * 2)

    def run(self, conditioning: Conditioning, masks: MaskSource) -> torch.Tensor:
        sample, _ = self.transformer(
            self.inputs["hidden_states"],
            conditioning.text,
            self.inputs["timestep"],
            self.transformer.project(conditioning),
            masks,
        )
        return sample


def build(vectors, recipe) -> Released:
    described = json.loads((vectors / "tiny_transformer.config.json").read_text())
    t, lfe, audio = described["transformer"], described["lfe"], described["audio_proj"]
    buffers = load_file(vectors / "tiny_transformer.buffers.safetensors")
    state = recipe.state_dict(described["seed"], described["state_dict_shapes"], buffers)

    same = "num_attention_heads attention_head_dim in_channels out_channels time_embed_dim text_embed_dim num_layers"
    same += " sample_width sample_height sample_frames max_text_seq_length"
    transformer = BindYourAvatarTransformer(
        **{name: t[name] for name in same.split()},
        face_interval=t["cross_attn_interval"],
        face_heads=described["perceiver"]["heads"],
        face_head_dim=described["perceiver"]["dim_head"],
        face_dim=lfe["output_dim"],
        audio_interval=t["audio_attn_interval"],
        audio_heads=described["audio"]["num_attention_heads"],
        audio_head_dim=described["audio"]["attention_head_dim"],
        audio_dim=described["audio"]["audio_dim"],
    )
    transformer.load_state_dict(renamed(state, t["cross_attn_interval"]))

    face_extractor = FaceExtractor(
        FaceExtractorConfig(
            identity_dim=described["id_dim"],
            feature_dim=described["vit_dim"],
            dim=lfe["dim"],
            depth=lfe["depth"],
            heads=lfe["heads"],
            head_dim=lfe["dim_head"],
            identity_tokens=lfe["num_id_token"],
            queries=lfe["num_queries"],
            output_dim=lfe["output_dim"],
            ff_mult=lfe["ff_mult"],
        )
    )
    face_extractor.load_state_dict(part(state, "local_facial_extractor."))

    router = IntraDenoiseRouter(
        RouterConfig(
            heads=described["router"]["num_heads"],
            head_dim=described["router"]["q_k_dim"] // described["router"]["num_heads"],
            face_tokens=described["router"]["num_id_token"],
            head="sigmoid",
            positions="table",
            table_extent=(3, 4, 7),
        ),
        face_layers=2,
    )
    router.load_state_dict(part(state, "router."))
    return Released(
        transformer.eval(),
        face_extractor,
        load_projector(audio, part(state, "audio_model.")),
        router,
        load_file(vectors / "tiny_transformer.inputs.safetensors"),
        load_file(vectors / "tiny_transformer.outputs.safetensors"),
        load_file(vectors / "tiny_transformer.taps_A.safetensors"),
    )


def load_projector(described: dict[str, int], audio_model: dict[str, torch.Tensor]) -> SpeechProjector:
    projector = SpeechProjector(
        SpeechProjectorConfig(
            layers=described["blocks"],
            channels=described["channels"],
            window=described["seq_len"],
            hidden_dim=described["intermediate_dim"],
            tokens=described["context_tokens"],
            output_dim=described["output_dim"],
        )
    )
    beside = {key: audio_model[key] for key in ("learnable_scale", "mute_learnable_tokens")}
    projector.load_state_dict(part(audio_model, "audio_proj_model.") | beside)
    return projector


@pytest.fixture
def released(vectors, recipe) -> Released:
    with torch.no_grad():
        return build(vectors, recipe)


@pytest.fixture(scope="session")
def agree():
    """Asserts that two tensors agree to 2e-5 of the largest number in the vector."""

    def check(ours: torch.Tensor, vector: torch.Tensor, tolerance: float = 2e-5) -> None:
        assert ours.shape == vector.shape
        difference = (ours - vector).abs().max() / vector.abs().max()
        assert difference <= tolerance, f"differs by {difference:.2e} of the vector's scale"

    return check


@pytest.fixture(name="load_projector")
def _load_projector():
    return load_projector


@pytest.fixture
def no_grad():
    with torch.no_grad():
        yield
