"""Attention for training on a CPU with bf16, where PyTorch's own gains nothing from bf16: about twice as quick over a
few hundred tokens, and four times over the few that a router looks at in one go."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx

from ..model.attention import JointAttention
from ..network import Network
from ..routing.intra_denoise import Attention

SCORES = 2**21  # held at a time, so that they stay in the cache


def use_plain_attention(network: Network) -> None:
    """From now on by plain matrix products. The scores are kept for the way back, tokens squared for each head, so it
    is for few tokens only. Nothing about the weights changes."""
    for block in network.transformer.transformer_blocks:
        block.attn1.set_processor(PlainJointAttention())
    for module in network.router.modules():
        if isinstance(module, Attention):
            module.attend = plain_attention


class PlainJointAttention(JointAttention):
    """`JointAttention` by `plain_attention`."""

    def attend(
        self, q: Float[Tensor, "b s heads d"], k: Float[Tensor, "b s heads d"], v: Float[Tensor, "b s heads d"]
    ) -> Float[Tensor, "b s heads d"]:
        q, k, v = (rearrange(x, "b s heads d -> b heads s d") for x in (q, k, v))
        return rearrange(plain_attention(q, k, v), "b heads s d -> b s heads d")


def plain_attention(
    q: Float[Tensor, "b heads s d"], k: Float[Tensor, "b heads s d"], v: Float[Tensor, "b heads s d"]
) -> Float[Tensor, "b heads s d"]:
    """softmax(q k^T / sqrt(d)) v, in the precision of v."""
    with torch.autocast(v.device.type, enabled=False):
        attended = PlainAttention.apply(*(x.to(v.dtype).flatten(0, 1) for x in (q, k, v)))
    return attended.unflatten(0, v.shape[:2])


class PlainAttention(torch.autograd.Function):
    """`plain_attention` with its derivatives, some heads at a time."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, q: Float[Tensor, "heads s d"], k: Float[Tensor, "heads s d"], v: Float[Tensor, "heads s d"]
    ) -> Float[Tensor, "heads s d"]:
        q, k, v = (q * q.shape[-1] ** -0.5).contiguous(), k.contiguous(), v.contiguous()
        parts = list(zip(*map(_parts, (q, k, v)), strict=True))
        shares = [torch.softmax(a @ b.mT, dim=-1) for a, b, _ in parts]
        ctx.save_for_backward(q, k, v, *shares)
        return torch.cat([share @ part[2] for share, part in zip(shares, parts, strict=True)])

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Float[Tensor, "heads s d"]) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, *shares = ctx.saved_tensors
        found = [_derivatives(*part) for part in zip(shares, *map(_parts, (grad.contiguous(), q, k, v)), strict=True)]
        to_q, to_k, to_v = (torch.cat(parts) for parts in zip(*found, strict=True))
        return to_q * q.shape[-1] ** -0.5, to_k, to_v


def _derivatives(share: Tensor, grad: Tensor, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """By q, k and v."""
    to_scores = torch._softmax_backward_data(grad @ v.mT, share, -1, share.dtype)
    return to_scores @ k, to_scores.mT @ q, share.mT @ grad


def _parts(x: Float[Tensor, "heads s d"]) -> tuple[Tensor, ...]:
    return x.split(max(1, SCORES // x.shape[1] ** 2))
