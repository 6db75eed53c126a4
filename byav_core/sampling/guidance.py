"""Classifier-free guidance for text and speech. A step's velocity is a weighted sum of a few passes of the network.

What "dropped" means is the same here as in the released model: dropped text is the negative prompt, dropped speech is
hidden states of zero sent through the projector (its biases still speak), and faces, pictures and A^ac stay.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Conditions:
    """All conditions of one generation, each with its dropped form; computed once, before the first step.

    prompt, negative: text tokens. characters: e_c. speech: e_a. no_speech: e_a of hidden states that are zero.
    audio_to_character: A^ac, m streams by n characters. canvas: the picture of all reference faces, or none.
    """

    prompt: Float[Tensor, "1 l d_text"]
    negative: Float[Tensor, "1 l d_text"]
    characters: Float[Tensor, "1 n k d_face"]
    speech: Float[Tensor, "1 m t k_speech d_speech"]
    no_speech: Float[Tensor, "1 m t k_speech d_speech"]
    audio_to_character: Float[Tensor, "1 m n"]
    canvas: Float[Tensor, "3 H W"] | None = None

    def to(self, device: torch.device, dtype: torch.dtype) -> "Conditions":
        """Elsewhere or in another precision; the canvas, a picture, stays as it is."""
        told = {name: value.to(device, dtype) for name, value in vars(self).items() if name != "canvas"}
        return Conditions(**told, canvas=self.canvas)


@dataclass(frozen=True)
class Pass:
    """One run of the network within a step: what it is told, and its share of the step's velocity.

    name: the same in every step, so that step caches compare like with like.
    """

    name: str
    weight: float
    prompted: bool = True
    speaking: bool = True


@dataclass(frozen=True)
class Joint:
    """Text and speech guided together, v = v_- + scale (v_+ - v_-): two passes, one at scale 1 (released model)."""

    scale: float = 6.0

    def passes(self) -> tuple[Pass, ...]:
        return _needed(
            Pass("uncond", 1 - self.scale, prompted=False, speaking=False),
            Pass("cond", self.scale),
        )

    def passes_without_audio(self) -> tuple[Pass, ...]:
        return _text_only(self.scale)


@dataclass(frozen=True)
class Separate:
    """Text and speech each with a scale of their own, e(text, speech):

    v = e(-, -) + audio (e(-, a) - e(-, -)) + text (e(t, a) - e(-, a)).

    Three passes. Equal scales need only the two of `Joint`; text 1 needs only e(t, -) + audio (e(t, a) - e(t, -)).
    """

    text: float = 5.0
    audio: float = 4.0

    def passes(self) -> tuple[Pass, ...]:
        if self.text == 1:
            return _needed(Pass("no_speech", 1 - self.audio, speaking=False), Pass("cond", self.audio))
        return _needed(
            Pass("uncond", 1 - self.audio, prompted=False, speaking=False),
            Pass("no_text", self.audio - self.text, prompted=False),
            Pass("cond", self.text),
        )

    def passes_without_audio(self) -> tuple[Pass, ...]:
        return _text_only(self.text)


Guidance = Joint | Separate


def passes_per_step(
    guidance: Guidance, steps: int, audio_start: float = 0.0, audio_end: float = 1.0
) -> tuple[tuple[Pass, ...], ...]:
    """The passes of every step. From `audio_start` up to `audio_end`, fractions of the run, speech is guided; in the
    other steps it is still heard, at scale 1, and only the text is guided."""
    if not 0 <= audio_start <= audio_end <= 1:
        raise ValueError(
            f"audio guidance from {audio_start:g} to {audio_end:g} is not an interval; both are fractions of the "
            "steps, 0 to 1, the start first"
        )
    inside = [audio_start <= step / steps < audio_end for step in range(steps)]
    return tuple(guidance.passes() if guided else guidance.passes_without_audio() for guided in inside)


def _text_only(scale: float) -> tuple[Pass, ...]:
    return _needed(Pass("no_text", 1 - scale, prompted=False), Pass("cond", scale))


def _needed(*passes: Pass) -> tuple[Pass, ...]:
    """The pass that is told everything comes last and always stays: the masks are read from it."""
    return (*(one for one in passes[:-1] if one.weight), passes[-1])
