"""The MM-DiT of Figure 2: CogVideoX's blocks with face and audio cross-attention inside, bound by masks.

`project` prepares what does not change between denoising steps, once per generation; `forward` is one step. Who owns
which token is asked of a `MaskSource` at every face cross-attention; the transformer does not know how it is answered.
"""

from typing import Literal

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
from diffusers.loaders import PeftAdapterMixin
from diffusers.models._modeling_parallel import ContextParallelInput, ContextParallelOutput
from diffusers.models.attention import AttentionMixin
from diffusers.models.cache_utils import CacheMixin
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.normalization import AdaLayerNorm
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXBlock
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ..protocols import MaskSource
from ..types import Conditioning, Routed, TokenGrid
from .attention import JointAttention
from .binding import Binding, Bound, Routing
from .cross_attention import AudioCrossAttention, FaceCrossAttention, KeyValue
from .positions import PatchEmbed, RotaryPositions


class BindYourAvatarBlock(CogVideoXBlock):
    """A CogVideoX block, then face and audio cross-attention where this layer has them. diffusers' names."""

    def __init__(
        self,
        dim: int,
        num_attention_heads: int,
        attention_head_dim: int,
        time_embed_dim: int,
        norm_eps: float,
        face: FaceCrossAttention | None,
        audio: AudioCrossAttention | None,
    ):
        super().__init__(
            dim, num_attention_heads, attention_head_dim, time_embed_dim, attention_bias=True, norm_eps=norm_eps
        )
        self.attn1.set_processor(JointAttention())
        self.face = face
        self.audio = audio

    def forward(
        self,
        hidden_states: Float[Tensor, "b s d"],
        encoder_hidden_states: Float[Tensor, "b l d"],
        temb: Float[Tensor, "b d_time"],
        image_rotary_emb: tuple[Tensor, Tensor],
        bound: Bound,
    ) -> tuple[Float[Tensor, "b s d"], Float[Tensor, "b l d"]]:
        v, text = super().forward(hidden_states, encoder_hidden_states, temb, image_rotary_emb)
        return self.bind(v, bound), text

    def bind(self, v: Float[Tensor, "b s d"], bound: Bound) -> Float[Tensor, "b s d"]:
        """Figure 4: what is seen and what is said, each injected where its mask says so."""
        if self.face is not None:
            q = self.face.query(v)
            v = v + self.face(q, *bound.face, bound.ask(q))  # eq. 7
        if self.audio is not None:
            q = self.audio.query(v)
            v = v + self.audio(q, *bound.audio, bound.audio_to_token())  # eq. 8
        return v


TransformerBlockRegistry.register(
    model_class=BindYourAvatarBlock,
    metadata=TransformerBlockMetadata(return_hidden_states_index=0, return_encoder_hidden_states_index=1),
)


class BindYourAvatarTransformer(ModelMixin, AttentionMixin, ConfigMixin, PeftAdapterMixin, CacheMixin):
    """Figure 2. Arguments are the fields of `TransformerConfig`; what diffusers' CogVideoX has is named as there."""

    _supports_gradient_checkpointing = True
    _skip_layerwise_casting_patterns = ["patch_embed", "norm"]
    _no_split_modules = ["BindYourAvatarBlock", "PatchEmbed"]
    _repeated_blocks = ["BindYourAvatarBlock"]
    # Only the joint attention is split over devices: routers see a whole video and audio attention whole frames.
    _cp_plan = {
        "rotary": {axis: ContextParallelInput(split_dim=0, expected_dims=2, split_output=True) for axis in (0, 1)},
        "transformer_blocks.*.norm1": {
            stream: ContextParallelInput(split_dim=1, expected_dims=3, split_output=True) for stream in (0, 1)
        },
        "transformer_blocks.*.attn1": [ContextParallelOutput(gather_dim=1, expected_dims=3) for _ in (0, 1)],
    }

    @register_to_config
    def __init__(
        self,
        num_attention_heads: int,
        attention_head_dim: int,
        in_channels: int,
        out_channels: int,
        time_embed_dim: int,
        text_embed_dim: int,
        num_layers: int,
        sample_width: int,
        sample_height: int,
        sample_frames: int,
        max_text_seq_length: int,
        patch_size: int = 2,
        temporal_compression_ratio: int = 4,
        use_learned_positional_embeddings: bool = True,
        rotary_height: int = 30,
        rotary_width: int = 45,
        norm_eps: float = 1e-5,
        face_interval: int = 2,
        face_heads: int = 16,
        face_head_dim: int = 128,
        face_dim: int = 2048,
        audio_interval: int = 1,
        audio_heads: int = 48,
        audio_head_dim: int = 64,
        audio_dim: int = 768,
        inflation: Literal["complement", "none"] = "complement",
    ):
        super().__init__()
        dim = num_attention_heads * attention_head_dim
        self.patch_embed = PatchEmbed(
            patch_size=patch_size,
            in_channels=in_channels,
            embed_dim=dim,
            text_embed_dim=text_embed_dim,
            sample_width=sample_width,
            sample_height=sample_height,
            sample_frames=sample_frames,
            temporal_compression_ratio=temporal_compression_ratio,
            max_text_seq_length=max_text_seq_length,
            use_positional_embeddings=False,
            use_learned_positional_embeddings=use_learned_positional_embeddings,
        )
        self.rotary = RotaryPositions(attention_head_dim, (rotary_height, rotary_width))
        self.time_proj = Timesteps(dim, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(dim, time_embed_dim, "silu")

        def block(layer: int) -> BindYourAvatarBlock:
            face, audio = layer % face_interval == 0, layer % audio_interval == 0
            return BindYourAvatarBlock(
                dim,
                num_attention_heads,
                attention_head_dim,
                time_embed_dim,
                norm_eps,
                FaceCrossAttention(dim, face_dim, face_heads, face_head_dim) if face else None,
                AudioCrossAttention(dim, audio_dim, audio_heads, audio_head_dim) if audio else None,
            )

        self.transformer_blocks = nn.ModuleList(block(layer) for layer in range(num_layers))
        self.norm_final = nn.LayerNorm(dim, norm_eps)
        self.norm_out = AdaLayerNorm(
            time_embed_dim, output_dim=2 * dim, norm_elementwise_affine=True, norm_eps=norm_eps, chunk_dim=1
        )
        self.proj_out = nn.Linear(dim, patch_size * patch_size * out_channels)
        self.gradient_checkpointing = False

    def project(self, conditioning: Conditioning) -> Binding:
        """All that forward needs of the conditions, except the text, once for all denoising steps."""
        return Binding(
            self.project_faces(conditioning.characters),
            self.project_speech(conditioning.speech),
            conditioning.audio_to_character,
        )

    def project_faces(self, characters: Float[Tensor, "b n k d"]) -> tuple[KeyValue, ...]:
        return tuple(block.face.project(characters) for block in self.transformer_blocks if block.face is not None)

    def project_speech(self, speech: Float[Tensor, "b m t k d"]) -> tuple[KeyValue, ...]:
        return tuple(block.audio.project(speech) for block in self.transformer_blocks if block.audio is not None)

    def forward(
        self,
        hidden_states: Float[Tensor, "b t c H W"],
        encoder_hidden_states: Float[Tensor, "b l d_text"],
        timestep: Tensor,
        binding: Binding,
        masks: MaskSource,
    ) -> tuple[Float[Tensor, "b t c2 H W"], tuple[Routed, ...]]:
        """The predicted velocity, and who owned which token at each face layer that ran."""
        grid = self.grid(hidden_states)
        binding.check(grid)
        temb = self.time_embedding(self.time_proj(timestep).to(hidden_states.dtype))
        rotary = self.rotary(grid, hidden_states.device)
        tokens = self.patch_embed(encoder_hidden_states, hidden_states)
        text, v = tokens.split([encoder_hidden_states.shape[1], grid.tokens], dim=1)

        routing = Routing(masks)
        for layer, block in enumerate(self.transformer_blocks):
            v, text = self._run(block, v, text, temb, rotary, self.bound(layer, binding, routing))

        out = self.proj_out(self.norm_out(self.norm_final(v), temb=temb))
        return self._unpatch(out, grid), routing.all()

    def grid(self, hidden_states: Float[Tensor, "b t c H W"]) -> TokenGrid:
        _, t, _, height, width = hidden_states.shape
        return TokenGrid(t, height // self.config.patch_size, width // self.config.patch_size)

    def _run(self, block: nn.Module, *inputs) -> tuple[Tensor, Tensor]:
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            return self._gradient_checkpointing_func(block, *inputs)
        return block(*inputs)

    def bound(self, layer: int, binding: Binding, routing: Routing) -> Bound:
        block, config = self.transformer_blocks[layer], self.config
        face_layer, audio_layer = layer // config.face_interval, layer // config.audio_interval
        return Bound(
            face=binding.face[face_layer] if block.face is not None else None,
            audio=binding.audio[audio_layer] if block.audio is not None else None,
            audio_to_character=binding.audio_to_character,
            inflation=config.inflation,
            routing=routing,
            face_layer=face_layer,
        )

    def _unpatch(self, tokens: Float[Tensor, "b s d"], grid: TokenGrid) -> Float[Tensor, "b t c H W"]:
        p = self.config.patch_size
        return rearrange(tokens, "b (t h w) (c p q) -> b t c (h p) (w q)", t=grid.t, h=grid.h, w=grid.w, p=p, q=p)
