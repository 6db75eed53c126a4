"""Which tokens a voice drives (eq. 6, §3.3.1). Equations 7 and 8, where masks meet features, are `cross_attention.py`.

Masks are numbers 0..1 per token. Every function takes any number of characters and streams, none included.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad


def audio_to_token(
    audio_to_character: Float[Tensor, "#b m n"],
    character_to_token: Float[Tensor, "#b n s"],
    inflation: Literal["complement", "none"] = "none",
) -> Float[Tensor, "b2 m s"]:
    """Eq. 6, A^av = A^ac A^cv: for each of m streams, the tokens it drives.

    "complement" first inflates the masks (§3.3.1). A token that several characters of one stream claim then counts
    once: the largest claim holds, so that one voice for several people is not louder than for one.
    """
    if inflation == "none":
        return audio_to_character @ character_to_token
    return _largest(audio_to_character[..., None] * inflate(character_to_token)[:, None])


def inflate(character_to_token: Float[Tensor, "b n s"]) -> Float[Tensor, "b n s"]:
    """Widen the masks for audio (§3.3.1): a character may move whatever no other character owns.

    1 - max over the others; for two characters this is the paper's flip and swap. Alone, a character has it all.
    """
    n = character_to_token.shape[1]
    others = 1 - torch.eye(n, dtype=character_to_token.dtype, device=character_to_token.device)
    return 1 - _largest(character_to_token[:, None] * others[:, :, None])


def with_strength(audio_to_character: Float[Tensor, "#b m n"], strength: tuple[float, ...]) -> Float[Tensor, "b2 m n"]:
    """A^ac with the speech of each character turned up or down; 1 leaves it, 0 silences it."""
    n = audio_to_character.shape[-1]
    if len(strength) != n:
        raise ValueError(f"{len(strength)} audio strengths were given for {n} characters; give one for each")
    return audio_to_character * audio_to_character.new_tensor(strength)


def _largest(x: Float[Tensor, "b m n s"]) -> Float[Tensor, "b m s"]:
    """Maximum over the characters; with none of them, zero (nothing here is below zero)."""
    return pad(x, (0, 0, 0, 1)).amax(dim=2)
