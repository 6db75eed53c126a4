"""All that is read from a film, as counts that can be added over scenes and seeds.

At "true" the read-outs look where people truly are, at "own" where the masks of the film say that they are, if they
say anything: masks that are the same for all do not.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..routing import soft
from ..synthetic.background import place_of
from ..synthetic.mouth import mouth_opening, speaking
from ..types import Audio, TokenGrid
from .film import Film
from .masks import flicker, from_left, iou
from .mouths import ENOUGH, VARIES, correlation, correlations, motion, read_openings
from .people import DrawnPeople, head_templates, recognise, suspects
from .scenes import HeldOut
from .words import read_place, read_shirts


@dataclass(frozen=True)
class Score:
    """amount / of is the score; n: how many things were looked at."""

    amount: int | float = 0
    of: int | float = 0
    n: int = 0

    def __add__(self, other: "Score") -> "Score":
        return Score(self.amount + other.amount, self.of + other.of, self.n + other.n)


Scores = dict[str, Score]


def mean_of(values: Iterable[int | float]) -> Score:
    values = [float(value) for value in values]
    return Score(sum(values), len(values), len(values))


def added(parts: Iterable[Scores]) -> Scores:
    total: Scores = defaultdict(Score)
    for part in parts:
        for name, score in part.items():
            total[name] += score
    return dict(total)


def score(film: Film, scene: HeldOut, grid: TokenGrid) -> Scores:
    found = _cost(film) | _mask_scores(film, scene, grid)
    if film.frames is None:
        return found
    templates = head_templates(scene, suspects(scene))
    places = {"true": scene.sample.masks} | ({"own": film.masks} if _tell_apart(film.masks) else {})
    for place, masks in places.items():
        voices = hear(film, masks, scene)
        misfit = recognise(film.frames, masks, scene.visible, templates)
        seen = [templates.keys[i] for i in misfit.argmin(dim=1)]
        here = voices.scores() | _people_scores(seen, voices, scene)
        here |= _word_scores(film.frames, masks, seen, scene)
        here["layout"] = _layout(misfit, masks, scene)
        found |= {f"{name}/{place}": value for name, value in here.items()}
    return found


def _tell_apart(masks: Float[Tensor, "n f H W"]) -> bool:
    return len(masks) == 1 or not torch.allclose(masks, masks[:1].expand_as(masks))


@dataclass(frozen=True)
class Voices:
    """What the mouths did, by character. follows: the correlations with the own and the strongest other voice, None
    where that says nothing; overlap: the same over the frames in which both speak."""

    follows: tuple[tuple[float, float] | None, ...]
    overlap: tuple[tuple[float, float] | None, ...]
    silent: tuple[float, ...]
    speaking: tuple[float, ...]

    @property
    def right(self) -> tuple[bool | None, ...]:
        return tuple(None if one is None else one[0] > one[1] for one in self.follows)

    def scores(self) -> Scores:
        told, both = [[one for one in kind if one is not None] for kind in (self.follows, self.overlap)]
        return {
            "binding": mean_of(own > other for own, other in told),
            "own voice": mean_of(own for own, _ in told),
            "other voice": mean_of(other for _, other in told),
            "overlap": mean_of(own > other for own, other in both),
            "leak": self._leak(),
        }

    def _leak(self) -> Score:
        """Motion of mouths that should be silent, in that of those that speak in the same scene."""
        if not self.silent or not self.speaking:
            return Score()
        silent, speaking = (sum(motions) / len(motions) for motions in (self.silent, self.speaking))
        return Score(silent, speaking, len(self.silent))


def hear(film: Film, masks: Float[Tensor, "n f H W"], scene: HeldOut) -> Voices:
    read = read_openings(film.frames, masks, scene.heads)
    due, fps, visible = _due(film.matrix, scene), scene.sample.fps, scene.visible
    speaks, heard = speaking(due, fps), speaking(scene.openings, fps)
    follows, overlap, silent, moved = [], [], [], []
    for i, column in enumerate(film.matrix.mT):
        rivals = column == 0
        others = scene.openings[rivals]
        with_others = speaks[i] & heard[rivals].any(dim=0)
        follows.append(correlations(read[i], due[i], others, visible[i]))
        overlap.append(correlations(read[i], due[i], others, visible[i] & with_others))
        silent += motion(read[i], visible[i] & ~speaks[i])
        moved += motion(read[i], visible[i] & speaks[i])
    return Voices(tuple(follows), tuple(overlap), tuple(silent), tuple(moved))


def response(film: Film, other: Film, scene: HeldOut) -> Scores:
    """How mouths change where nothing but the matrix does, in two films from the same noise: the correlation of the
    change seen with that due. It tells what the voices do apart from what mouths do anyway."""
    due, found = _due(film.matrix, scene) - _due(other.matrix, scene), {}
    for place, both in {"true": [scene.sample.masks] * 2, "own": [film.masks, other.masks]}.items():
        here, there = (
            read_openings(one.frames, masks, scene.heads) for one, masks in zip((film, other), both, strict=True)
        )
        found[f"response/{place}"] = mean_of(
            correlation((here - there)[i, seen], due[i, seen])
            for i, seen in enumerate(scene.visible)
            if seen.sum() >= ENOUGH and due[i, seen].std() > VARIES
        )
    return found


def _due(matrix: Float[Tensor, "m n"], scene: HeldOut) -> Float[Tensor, "n f"]:
    """How far each mouth should be open: to the sum of the voices that the matrix gives."""
    rate = scene.sample.streams[0].sample_rate
    sounds = matrix.mT @ torch.stack([audio.waveform for audio in scene.sample.streams])
    return torch.stack([mouth_opening(Audio(sound, rate), scene.spec.frames, scene.spec.fps) for sound in sounds])


def _people_scores(seen: list[str], voices: Voices, scene: HeldOut) -> Scores:
    right = [key == who.key for key, who in zip(seen, scene.plan.people, strict=True)]
    joint = [face and voice for face, voice in zip(right, voices.right, strict=True) if voice is not None]
    return {"identity": mean_of(right), "joint": mean_of(joint)}


def _word_scores(
    frames: Float[Tensor, "f 3 H W"], masks: Float[Tensor, "n f H W"], seen: list[str], scene: HeldOut
) -> Scores:
    plan, looks = scene.plan, suspects(scene)
    shirts = read_shirts(frames, masks, plan.background)
    words = {
        "hair": mean_of(looks[key].hair == who.hair for key, who in zip(seen, plan.people, strict=True)),
        "shirts": mean_of(shirt == outfit.shirt for shirt, outfit in zip(shirts, plan.outfits, strict=True)),
        "place": mean_of([read_place(frames, masks) == place_of(plan.background)]),
    }
    return words | {"prompt": sum(words.values(), Score())}


def _layout(misfit: Float[Tensor, "n people"], masks: Float[Tensor, "n f H W"], scene: HeldOut) -> Score:
    """Whether the faces of the cast from left to right are those of the truth. The cast comes first in the misfits."""
    cast = misfit[:, : scene.sample.characters].argmin(dim=1).tolist()
    return mean_of([[cast[i] for i in from_left(masks)] == from_left(scene.sample.masks)])


def _mask_scores(film: Film, scene: HeldOut, grid: TokenGrid) -> Scores:
    """Over the steps and layers; "seen": against the people found in the film itself, wherever they are."""
    truth = soft(scene.sample.masks, grid)
    scores = {"flicker, true masks": mean_of(flicker(truth))}
    if not film.looks:
        return scores
    late = film.looks[-max(1, len(film.looks) // 3) :]
    last = film.looks[-1].mean(dim=0)
    scores["iou"] = mean_of(value for look in late for layer in look for value in iou(layer, truth))
    scores["flicker"] = mean_of(flicker(last))
    if film.frames is not None:
        scores["iou seen"] = mean_of(iou(last, soft(DrawnPeople(scene)(film.frames, ()), grid)))
    for step, look in enumerate(film.looks, 1):
        scores |= {f"iou, step {step}, layer {layer}": mean_of(iou(mask, truth)) for layer, mask in enumerate(look, 1)}
    return scores


def _cost(film: Film) -> Scores:
    if not film.passes:
        return {}
    return {"CPU seconds": mean_of([film.seconds]), "passes": mean_of([film.passes])}
