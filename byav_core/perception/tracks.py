"""Faces of single frames joined to tracks over time, and tracks given to the characters of the cast."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from ..types import Character
from .locator import FaceLocator, assign, likeness


@dataclass
class Track:
    """One face over time: the frames it was seen in, its box and its recognition vector (length 1) in each."""

    frames: list[int]
    boxes: list[Float[Tensor, "4"]]
    vectors: list[Float[Tensor, " d"]]

    @property
    def vector(self) -> Float[Tensor, " d"]:
        return normalize(torch.stack(self.vectors).mean(0), dim=0)

    def add(self, frame: int, box: Float[Tensor, "4"], vector: Float[Tensor, " d"]) -> None:
        self.frames.append(frame)
        self.boxes.append(box)
        self.vectors.append(vector)


def follow(video: Float[Tensor, "f 3 H W"], locator: FaceLocator, same: float = 0.6) -> list[Track]:
    """All faces of a video as tracks. A track goes on with a face that overlaps its last box and looks like it; tracks
    of other times are one if they look like it by `same` (cosine)."""
    tracks: list[Track] = []
    for frame, picture in enumerate(video):
        boxes, landmarks, _ = locator.find(picture)
        vectors = normalize(locator.recognise(picture, landmarks).float(), dim=-1)
        taken = set()
        for track, face in zip(tracks, _continuations(tracks, boxes, vectors, locator.doubt), strict=True):
            if face is not None:
                track.add(frame, boxes[face], vectors[face])
                taken.add(face)
        tracks += [Track([frame], [boxes[i]], [vectors[i]]) for i in range(len(boxes)) if i not in taken]
    return _reunited(tracks, same)


def _reunited(tracks: list[Track], same: float) -> list[Track]:
    whole: list[Track] = []
    for track in sorted(tracks, key=lambda track: -len(track.frames)):
        alike = [(float(other.vector @ track.vector), other) for other in whole if _apart(other, track)]
        score, nearest = max(alike, key=lambda pair: pair[0], default=(-1.0, track))
        if score < same:
            whole.append(track)
            continue
        for frame, box, vector in zip(track.frames, track.boxes, track.vectors, strict=True):
            nearest.add(frame, box, vector)
    return whole


def _apart(one: Track, other: Track) -> bool:
    return set(one.frames).isdisjoint(other.frames)


def _continuations(
    tracks: list[Track], boxes: Float[Tensor, "faces 4"], vectors: Float[Tensor, "faces d"], doubt: float
) -> list[int | None]:
    if not tracks or not len(boxes):
        return [None] * len(tracks)
    near = overlap(torch.stack([track.boxes[-1] for track in tracks]), boxes)
    alike = torch.stack([track.vector for track in tracks]) @ vectors.T
    possible = (near > 0) & (alike >= doubt)
    chosen = assign(torch.where(possible, near + alike, -10.0))
    return [face if face is not None and possible[row, face] else None for row, face in enumerate(chosen)]


def cast_tracks(tracks: list[Track], cast: tuple[Character, ...], locator: FaceLocator) -> list[Track | None]:
    """The track of each character, by likeness to the reference and by length, all together; None where they do not
    suffice."""
    if not tracks:
        return [None] * len(cast)
    boxes = torch.stack([torch.stack(track.boxes).mean(0) for track in tracks])
    length = torch.tensor([len(track.frames) for track in tracks])
    alike = likeness(cast, torch.stack([track.vector for track in tracks]), boxes)
    chosen = assign(alike + length / length.max())
    locator.say_doubts(cast, alike, chosen)
    return [None if index is None else tracks[index] for index in chosen]


def sightings(
    video: Float[Tensor, "f 3 H W"], cast: tuple[Character, ...], locator: FaceLocator
) -> Float[Tensor, "n f 4"]:
    """The face box of each character in each frame, NaN where it is not seen."""
    seen = torch.full((len(cast), len(video), 4), torch.nan)
    for row, track in enumerate(cast_tracks(follow(video, locator), cast, locator)):
        if track is not None:
            seen[row, track.frames] = torch.stack(track.boxes)
    return seen


def fill_gaps(seen: Float[Tensor, "n f 4"]) -> Float[Tensor, "n f 4"]:
    """Boxes for the frames without one: on the straight line between neighbours, held at both ends."""
    time = np.arange(seen.shape[1])
    filled = seen.clone()
    for row in filled.numpy():
        there = ~np.isnan(row[:, 0])
        for side in range(4):
            row[:, side] = np.interp(time, time[there], row[there, side])
    return filled


def overlap(last: Float[Tensor, "n 4"], boxes: Float[Tensor, "faces 4"]) -> Float[Tensor, "n faces"]:
    """Intersection over union of every box with every other."""
    corner = torch.minimum(last[:, None, 2:], boxes[None, :, 2:]) - torch.maximum(last[:, None, :2], boxes[None, :, :2])
    common = corner.clamp(min=0).prod(-1)
    area = (last[:, None, 2:] - last[:, None, :2]).prod(-1) + (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    return common / (area - common).clamp(min=1)
