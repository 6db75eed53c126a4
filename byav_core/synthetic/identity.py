"""Who a person is, and what they wear today. An identity is its looks: the key names them all, and nothing else does.

No colour here is as red as the inside of a mouth, so that how far a mouth is open can be read from the pixels.
"""

from dataclasses import astuple, dataclass

from numpy.random import RandomState

from .chance import Split, of_split, one_of

Rgb = tuple[float, float, float]

SKINS: dict[str, Rgb] = {
    "pale": (0.99, 0.87, 0.78),
    "fair": (0.96, 0.78, 0.64),
    "tan": (0.83, 0.63, 0.47),
    "brown": (0.70, 0.51, 0.37),
    "dark": (0.50, 0.36, 0.27),
}
HAIRS: dict[str, Rgb] = {
    "black": (0.13, 0.12, 0.14),
    "brown": (0.34, 0.20, 0.12),
    "blond": (0.96, 0.82, 0.42),
    "grey": (0.72, 0.73, 0.76),
    "blue": (0.20, 0.38, 0.82),
    "green": (0.16, 0.60, 0.42),
    "purple": (0.52, 0.28, 0.72),
    "pink": (0.95, 0.58, 0.84),
}
SHIRTS: dict[str, Rgb] = {
    "white": (0.94, 0.94, 0.93),
    "black": (0.19, 0.20, 0.24),
    "blue": (0.18, 0.42, 0.84),
    "green": (0.24, 0.62, 0.36),
    "yellow": (0.97, 0.82, 0.28),
    "purple": (0.50, 0.34, 0.74),
    "teal": (0.18, 0.64, 0.68),
    "lime": (0.66, 0.84, 0.28),
}
IRISES: dict[str, Rgb] = {"dark": (0.16, 0.11, 0.10), "blue": (0.16, 0.34, 0.62), "green": (0.16, 0.42, 0.28)}
STYLES = ("short", "side", "bob", "long", "bun", "curly", "spiky")
SHAPES = ("round", "oval", "square")
GLASSES = ("none", "none", "round", "square")
BEARDS = ("none", "none", "none", "none", "full", "moustache")
HATS = (*("none",) * 9, "cap", "beanie", "brim")
HAT_COLOURS = ("white", "teal", "lime")  # of shirts, and of nobody's hair
MOUTH: Rgb = (0.66, 0.06, 0.16)  # the inside; the only colour whose red is over its green and blue by more than REDDEST
REDDEST = 0.30


@dataclass(frozen=True)
class Identity:
    """A face: words from the tables above."""

    skin: str
    hair: str
    style: str
    shape: str
    iris: str
    glasses: str
    beard: str

    @property
    def key(self) -> str:
        return "-".join(astuple(self))


@dataclass(frozen=True)
class Outfit:
    """What belongs to the day and not to the person."""

    shirt: str
    hat: str
    hat_colour: str


def draw_people(random: RandomState, split: Split, count: int) -> tuple[Identity, ...]:
    """People of one split, no two with hair of one colour: a prompt can tell them apart.

    Raises ValueError for more people than there are colours.
    """
    if not 1 <= count <= len(HAIRS):
        raise ValueError(f"a scene of {count} people cannot be drawn; choose 1 to {len(HAIRS)}, a hair colour for each")
    hairs = random.permutation(list(HAIRS))[:count]
    return tuple(of_split(split, lambda hair=hair: _draw(random, str(hair)), lambda one: one.key) for hair in hairs)


def draw_outfits(random: RandomState, count: int) -> tuple[Outfit, ...]:
    """No two shirts of one colour."""
    shirts = random.permutation(list(SHIRTS))[:count]
    return tuple(Outfit(str(shirt), one_of(random, HATS), one_of(random, HAT_COLOURS)) for shirt in shirts)


def _draw(random: RandomState, hair: str) -> Identity:
    return Identity(
        skin=one_of(random, tuple(SKINS)),
        hair=hair,
        style=one_of(random, STYLES),
        shape=one_of(random, SHAPES),
        iris=one_of(random, tuple(IRISES)),
        glasses=one_of(random, GLASSES),
        beard=one_of(random, BEARDS),
    )
