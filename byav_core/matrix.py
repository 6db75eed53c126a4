"""The Audio-Character Matrix A^ac: which speech stream drives which character (§3.3.3). Given, or voted."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from .protocols import VoiceFaceScorer
from .types import Audio, Character, SpeechStream

Names = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class AudioCharacterMatrix:
    """Rows are the m speech streams, columns the n characters; values 0..1 say how far a stream drives a character.

    A column of zeros is a silent character, a row of zeros a voice nobody speaks with, a row with several entries one
    voice for several. Raises ValueError when shape, names and values do not fit each other.
    """

    values: Float[Tensor, "m n"]
    streams: Names
    characters: Names

    def __post_init__(self):
        m, n = self.values.shape
        if (m, n) != (len(self.streams), len(self.characters)):
            raise ValueError(
                f"an Audio-Character Matrix of {m} rows and {n} columns does not fit {_count(self.streams, 'voice')} "
                f"and {_count(self.characters, 'character')}; it needs a row per voice and a column per character"
            )
        for kind, names in (("voices", self.streams), ("characters", self.characters)):
            if len(set(names)) < len(names):
                raise ValueError(f"two {kind} have the same name among {', '.join(names)}; rename one of them")
        for stream, row in zip(self.streams, self.values.tolist(), strict=True):
            for character, value in zip(self.characters, row, strict=True):
                if not 0 <= value <= 1:
                    raise ValueError(f"voice {stream} drives {character} by {value:g}; expected a number in 0..1")

    @property
    def tensor(self) -> Float[Tensor, "1 m n"]:
        return self.values[None]

    @property
    def silent(self) -> Names:
        """Characters that no stream drives."""
        return tuple(name for name, column in zip(self.characters, self.values.mT, strict=True) if not column.any())

    def to_table(self) -> str:
        """The matrix as the text that `from_table` reads."""
        return "\n".join(
            f"{stream}: {_driven(self.characters, row) or '-'}"
            for stream, row in zip(self.streams, self.values.tolist(), strict=True)
        )


def one_to_one(streams: Names, characters: Names) -> AudioCharacterMatrix:
    """The first stream drives the first character and so on; characters beyond the last stream are silent."""
    if len(streams) > len(characters):
        raise ValueError(
            f"{_count(streams, 'voice')} cannot go one to one to {_count(characters, 'character')}: add characters, "
            "remove voices, or say in a table who speaks with which"
        )
    return AudioCharacterMatrix(torch.eye(len(streams), len(characters)), streams, characters)


def swapped(streams: Names, characters: Names) -> AudioCharacterMatrix:
    """Each stream drives the character after its own, the last one's the first. Two characters swap; of more, nobody
    keeps the own voice, as the middle one would if the order were mirrored."""
    straight = one_to_one(streams, characters)
    return AudioCharacterMatrix(straight.values.roll(1, dims=1), streams, characters)


def from_table(text: str, streams: Names, characters: Names) -> AudioCharacterMatrix:
    """Reads one line per voice: "voice: Anna, Ben 0.5". A number after a name is a weight; without it, 1.

    "-" or nothing after the colon, or no line at all: the voice drives nobody. Capitals and blanks around names do
    not matter. Raises ValueError quoting the line it cannot read and listing the names it knows.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(
            f"the table is empty; write one line for each voice, such as {_example(streams, characters)!r}"
        )
    values, seen = torch.zeros(len(streams), len(characters)), set()
    for line in lines:
        stream, rest = _split(line, streams, characters)
        if stream in seen:
            raise ValueError(f"voice {stream} has two lines in the table; write all its characters in one")
        seen.add(stream)
        for name, weight in _entries(rest, line, characters):
            values[streams.index(stream), characters.index(name)] = weight
    return AudioCharacterMatrix(values, streams, characters)


def _split(line: str, streams: Names, characters: Names) -> tuple[str, str]:
    """A line's voice and what stands after it. A name may hold colons itself, so the last one that can be meant is."""
    for at in (i for i in reversed(range(len(line))) if line[i] == ":"):
        if stream := _known(line[:at], streams):
            return stream, line[at + 1 :]
    if ":" not in line:
        raise ValueError(f"{line!r} has no colon; write such as {_example(streams, characters)!r}")
    raise ValueError(f"{line!r} names no voice known here; known are {', '.join(streams) or 'none'}")


def _entries(rest: str, line: str, characters: Names) -> Iterator[tuple[str, float]]:
    """The characters named after the colon, each once, with their weights."""
    met = set()
    for entry in _between_commas(rest, characters):
        if entry in ("", "-"):
            continue
        name, weight = _weighted(entry, line, characters)
        if name in met:
            raise ValueError(f"{line!r} names {name} twice; once is enough")
        met.add(name)
        yield name, weight


def _between_commas(rest: str, characters: Names) -> Iterator[str]:
    """The entries of a line. A name may hold commas itself, so the longest piece that can be meant is one entry."""
    parts = rest.split(",")
    while parts:
        longest = range(len(parts), 1, -1)
        taken = next((i for i in longest if _meant(",".join(parts[:i]), characters)), 1)
        yield ",".join(parts[:taken]).strip()
        parts = parts[taken:]


def _weighted(entry: str, line: str, characters: Names) -> tuple[str, float]:
    if meant := _meant(entry, characters):
        return meant
    raise ValueError(
        f"{entry!r} in {line!r} is no character known here, nor one with a weight; known are {', '.join(characters)}"
    )


def _meant(entry: str, characters: Names) -> tuple[str, float] | None:
    """A name that ends in a number ("Person 2") is a name before it is a weight."""
    if name := _known(entry, characters):
        return name, 1.0
    head, _, tail = entry.strip().rpartition(" ")
    if (name := _known(head, characters)) and (weight := _number(tail)) is not None:
        return name, weight
    return None


def _known(text: str, names: Names) -> str | None:
    """The name that is meant: as written, or else the only one that differs in capitals alone."""
    text = text.strip()
    alike = [name for name in names if name.strip().casefold() == text.casefold()]
    return text if text in names else alike[0] if len(alike) == 1 else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _driven(characters: Names, row: list[float]) -> str:
    return ", ".join(
        name if value == 1 else f"{name} {value:g}" for name, value in zip(characters, row, strict=True) if value
    )


def _example(streams: Names, characters: Names) -> str:
    return f"{streams[0] if streams else 'voice'}: {characters[0] if characters else 'character'}"


def _count(names: Names, kind: str) -> str:
    return f"{len(names)} {kind}{'' if len(names) == 1 else 's'} ({', '.join(names) or 'none'})"


@dataclass(frozen=True)
class Prediction:
    """Who speaks with which voice, as the windows of a recording voted.

    shares: how likely each voice belongs to each character, from the windows in which it was heard. confidence: per
    character, how likely its column is right. matrix: None where a character stays below the threshold; then
    `abstention` says who.
    """

    matrix: AudioCharacterMatrix | None
    confidence: tuple[float, ...]
    shares: Float[Tensor, "m n"]
    abstention: str = ""


def predict(
    scorer: VoiceFaceScorer,
    streams: tuple[SpeechStream, ...],
    cast: tuple[Character, ...],
    window_seconds: float = 2.0,
    threshold: float = 0.7,
    silence_rms: float = 1e-3,
) -> Prediction:
    """Predicted A^ac (§3.3.3): in each window of sound the voices heard are matched to the faces; the windows vote.

    A share is (votes + 1) / (windows + characters), so that few windows never make certain. silence_rms: a voice below
    this level, of full scale 1, is not heard and does not vote. Raises ValueError for more voices than characters.
    """
    voices, names = tuple(stream.name for stream in streams), tuple(person.name for person in cast)
    one_to_one(voices, names)  # refuses more voices than characters
    votes, heard = _vote(scorer, streams, cast, window_seconds, silence_rms)
    shares = (votes + 1) / (heard + len(cast))
    values = _matching(shares)
    agreement = torch.where(values > 0, shares, 1 - shares)
    confidence = tuple(torch.cat([agreement, torch.ones(1, len(cast))]).amin(dim=0).tolist())
    abstention = _abstention(
        dict(zip(names, confidence, strict=True)), threshold, dict(zip(voices, heard, strict=True))
    )
    matrix = None if abstention else AudioCharacterMatrix(values, voices, names)
    return Prediction(matrix, confidence, shares, abstention)


def _vote(
    scorer: VoiceFaceScorer,
    streams: tuple[SpeechStream, ...],
    cast: tuple[Character, ...],
    window_seconds: float,
    silence_rms: float,
) -> tuple[Float[Tensor, "m n"], Float[Tensor, "m 1"]]:
    """In how many windows each voice was matched to each character, and in how many it was heard."""
    votes, heard = torch.zeros(len(streams), len(cast)), torch.zeros(len(streams), 1)
    for window in _windows(streams, window_seconds):
        audible = [j for j, audio in enumerate(window) if audio.waveform.square().mean().sqrt() > silence_rms]
        if audible:
            scores = scorer(tuple(window[j] for j in audible), cast)
            if not torch.isfinite(scores).all():
                raise ValueError(f"the voice-face scorer returned values that are not numbers: {scores.tolist()}")
            votes[audible] += _matching(scores)
            heard[audible] += 1
    return votes, heard


def _windows(streams: tuple[SpeechStream, ...], seconds: float) -> Iterator[tuple[Audio, ...]]:
    """Pieces of equal length, side by side; a last piece of less than half a window is left out unless it is all."""
    if seconds <= 0:
        raise ValueError(f"windows of {seconds:g} seconds cannot vote; they need a length above 0")
    longest = max((stream.audio.seconds for stream in streams), default=0.0)
    for i in range(max(1, round(longest / seconds)) if longest else 0):
        yield tuple(_piece(stream.audio, i * seconds, (i + 1) * seconds) for stream in streams)


def _piece(audio: Audio, start: float, end: float) -> Audio:
    """Silence where the sound is over."""
    first, last = round(start * audio.sample_rate), round(end * audio.sample_rate)
    piece = audio.waveform[first:last]
    return Audio(pad(piece, (0, last - first - len(piece))), audio.sample_rate)


def _matching(scores: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """Each voice its own character, so that the scores add up to the most (Hungarian method)."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(scores.cpu().numpy(), maximize=True)
    values = torch.zeros(scores.shape)
    values[rows, columns] = 1
    return values


def _abstention(confidence: dict[str, float], threshold: float, heard: dict[str, Tensor]) -> str:
    unsure = ", ".join(f"{name} ({share:.0%} sure)" for name, share in confidence.items() if share < threshold)
    if not unsure:
        return ""
    unheard = [voice for voice, windows in heard.items() if not windows]
    why = f"; nothing is heard of {', '.join(unheard)}" if unheard else ""
    return (
        f"cannot tell by sound whose voice is whose: {unsure}, where {threshold:.0%} is asked for{why}; say in the "
        "Audio-Character Matrix who speaks with which voice"
    )
