"""One denoising step written plainly, to measure the savings of `byav_core` against and to prove them exact.

Everything is computed where it is needed: the face extractor and the speech projector at every step, the queries once
for every character, every softmax laid out in float32, every character projected by itself, and the router run even
when masks are given. It borrows the weights of a `Network` and gives the same numbers.
"""

import torch
from einops import rearrange, repeat
from torch import Tensor

from byav_core.network import Network
from byav_core.types import TokenGrid


def forward(
    network: Network,
    latents: Tensor,
    text: Tensor,
    timestep: Tensor,
    identity: Tensor,
    feature_maps: list[Tensor],
    windows: Tensor,
    audio_to_character: Tensor,
    given: Tensor | None,
) -> Tensor:
    """latents b t c H W, identity n d, feature_maps n p d each, windows m f w layers d, audio_to_character m n,
    given n s or None."""
    model = network.transformer
    config, grid = model.config, model.grid(latents)
    characters = torch.stack(
        [
            network.face_extractor(identity[i : i + 1], [features[i : i + 1] for features in feature_maps])[0]
            for i in range(len(identity))
        ]
    )
    speech = network.speech_projector(windows)

    time = model.time_embedding(model.time_proj(timestep).to(latents.dtype))
    rotary = model.rotary(grid, latents.device)
    text, v = model.patch_embed(text, latents).split([text.shape[1], grid.tokens], dim=1)
    masks = {}
    for layer, block in enumerate(model.transformer_blocks):
        v, text = super(type(block), block).forward(v, text, time, rotary)
        rows = []
        for b, row in enumerate(v):
            if block.face is not None:
                q, k, features = face_attention(block.face, row, characters)
                found = router(network.router, layer // config.face_interval, q, k, grid)
                masks[b] = found if given is None else given
                row = row + sum(m[:, None] * f for m, f in zip(masks[b], features, strict=True))
            if block.audio is not None:
                weight = audio_weight(audio_to_character, masks[b])
                features = audio_attention(block.audio, row, speech)
                row = row + sum(w[:, None] * f for w, f in zip(weight, features, strict=True))
            rows.append(row)
        v = torch.stack(rows)
    p = config.patch_size
    out = model.proj_out(model.norm_out(model.norm_final(v), temb=time))
    return rearrange(out, "b (t h w) (c p q) -> b t c (h p) (w q)", t=grid.t, h=grid.h, w=grid.w, p=p, q=p)


def face_attention(face, row: Tensor, characters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries n heads s d, keys n heads k d, features n s d: the visual tokens repeated for every character."""
    row = repeat(row, "s d -> n s d", n=len(characters))
    q = rearrange(face.to_q(face.norm2(row)), "n s (h d) -> n h s d", h=face.heads)
    k, v = rearrange(face.to_kv(face.norm1(characters)), "n k (two h d) -> two n h k d", two=2, h=face.heads)
    return q, k, face.to_out(rearrange(attention(q, k, v), "n h s d -> n s (h d)"))


def audio_attention(audio, row: Tensor, speech: Tensor) -> Tensor:
    """Features m s d: the visual tokens repeated for every stream; every latent frame hears its own tokens."""
    m, t = speech.shape[:2]
    attn, row = audio.attn, repeat(row, "(t p) d -> (m t) p d", m=m, t=t)
    q = rearrange(attn.to_q(audio.norm_q(row)), "mt p (h d) -> mt h p d", h=audio.heads)
    k, v = (rearrange(to(speech), "m t k (h d) -> (m t) h k d", h=audio.heads) for to in (attn.to_k, attn.to_v))
    return rearrange(
        attn.to_out[0](rearrange(attention(q, k, v), "mt h p d -> mt p (h d)")), "(m t) p d -> m (t p) d", m=m
    )


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scale = q.shape[-1] ** -0.25
    weights = ((q * scale) @ (k * scale).mT).to(torch.promote_types(q.dtype, torch.float32)).softmax(dim=-1)
    return weights.to(q.dtype) @ v


def audio_weight(audio_to_character: Tensor, mask: Tensor) -> Tensor:
    """m s: a stream drives, of each character it belongs to, all tokens that no other character owns."""
    n = len(mask)
    free = [
        1 - torch.stack([torch.zeros_like(mask[i])] + [mask[j] for j in range(n) if j != i]).amax(0) for i in range(n)
    ]
    return torch.stack(
        [torch.stack([a * f for a, f in zip(row, free, strict=True)]).amax(0) for row in audio_to_character]
    )


def router(router, layer: int, q: Tensor, k: Tensor, grid: TokenGrid) -> Tensor:
    """Masks n s of one row of the batch, from queries n heads s d and keys n heads k d."""
    q = router.to_q[layer](router.norm_q(rearrange(q, "n h s d -> n s (d h)")))
    k = router.to_k[layer](router.norm_k(rearrange(k, "n h k d -> n k (d h)")))
    heads = router.config.heads
    scores = rearrange(q, "n s (h d) -> n h s d", h=heads) @ rearrange(k, "n k (h d) -> n h d k", h=heads)
    x = router.norm(rearrange(scores, "n h s k -> n s (k h)"))
    places = router.positions.places(grid, router.pos_emb, x.device)
    x = rearrange(x, "n (t p) d -> 1 t p n d", t=grid.t)
    if places.added is not None:
        x = x + rearrange(places.added.to(x), "t p d -> t p 1 d")
    for layer in router.spatial_temporal_layers:
        x = layer(x, places)
    x = rearrange(x, "1 t p n d -> 1 (t p) n d")
    return router.head(x, rearrange(router.final_proj(x), "1 s n 1 -> 1 n s")).mask[0]
