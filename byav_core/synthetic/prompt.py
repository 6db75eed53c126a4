"""What a scene looks like, in few words of a small vocabulary: who stands where, what they do, and where it is.

People are named by what a reference shows (the colour of their hair), so that words and faces can be matched.
"""

from .background import PLACES as BACKGROUNDS
from .identity import HAIRS, SHIRTS, Identity, Outfit
from .motion import KINDS, PLACES, Place


def describe(
    people: tuple[Identity, ...], outfits: tuple[Outfit, ...], places: tuple[Place, ...], motion: str, background: str
) -> str:
    """`left blond in blue, right black in green, crossing, park`: people from back to front and left to right,
    as they stand at first. Such words fit into 64 bytes for two."""
    reading = sorted(range(len(people)), key=lambda i: (places[i].words.startswith("front"), places[i].across))
    who = [f"{places[i].words} {people[i].hair} in {outfits[i].shirt}" for i in reading]
    return ", ".join([*who, motion, background])


def vocabulary() -> tuple[str, ...]:
    """Every word that a prompt may hold."""
    places = {word for row in PLACES.values() for place in row for word in place.words.split()}
    return tuple(sorted({*places, *HAIRS, *SHIRTS, *KINDS, *BACKGROUNDS, "in"}))
