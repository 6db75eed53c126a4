"""What was aimed at, as data, and what of it was reached."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import hypot

Found = Mapping[str, Mapping[str, Mapping[str, float]]]  # condition, metric, mean and interval


@dataclass(frozen=True)
class Reading:
    """low, high: of the 95 % confidence interval. Of differences and quotients it is that of sides measured on scenes
    of their own; where they share scenes it is wider than it need be."""

    value: float
    low: float
    high: float

    def __sub__(self, other: "Reading") -> "Reading":
        down, up = hypot(self.below, other.above), hypot(self.above, other.below)
        value = self.value - other.value
        return Reading(value, value - down, value + up)

    def __truediv__(self, other: "Reading") -> "Reading":
        """other: not zero."""
        value = self.value / other.value
        down, up = hypot(self.below, value * other.above), hypot(self.above, value * other.below)
        return Reading(value, value - down / other.value, value + up / other.value)

    @property
    def below(self) -> float:
        return self.value - self.low

    @property
    def above(self) -> float:
        return self.high - self.value


@dataclass(frozen=True)
class Goal:
    """A metric of a condition, less the same of another or divided by it, should be at least or at most a bound."""

    claim: str
    condition: str
    metric: str
    least: float | None = None
    most: float | None = None
    less: str | None = None
    divided_by: str | None = None

    def reading(self, found: Found) -> Reading | None:
        """None where one of the conditions was not measured, and of a quotient by zero."""
        told = [found.get(name, {}).get(self.metric) for name in self._conditions]
        if None in told:
            return None
        first, *other = (Reading(one["mean"], one["low"], one["high"]) for one in told)
        if not other:
            return first
        if self.divided_by:
            return first / other[0] if other[0].value else None
        return first - other[0]

    def verdict(self, reading: Reading) -> str:
        """Whether it is reached, and whether all of the interval says so."""
        reached, *ends = (self._holds(value) for value in (reading.value, reading.low, reading.high))
        certain = all(end is reached for end in ends)
        return ("yes" if reached else "no") + ("" if certain else ", not certain")

    @property
    def wanted(self) -> str:
        bounds = ((self.least, "at least"), (self.most, "at most"))
        return " and ".join(f"{words} {bound:g}" for bound, words in bounds if bound is not None)

    def _holds(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    @property
    def _conditions(self) -> tuple[str, ...]:
        return tuple(name for name in (self.condition, self.less, self.divided_by) if name)


GOALS = (
    Goal("each mouth follows its voice", "intra", "binding/own", least=0.95),
    Goal("how closely", "intra", "own voice/own", least=0.6),
    Goal("and other voices hardly", "intra", "other voice/own", most=0.1),
    Goal("mouths stay shut when silent", "intra", "leak/own", most=0.15),
    Goal("a zero column keeps a mouth shut", "intra, one muted", "leak/own", most=0.15),
    Goal("both speak at once", "intra", "overlap/own", least=0.95),
    Goal("the swapped matrix swaps the mouths", "intra, swapped", "binding/own", least=0.95),
    Goal("and what it changes is what it should", "intra, swapped", "response/own", least=0.6),
    Goal("one voice drives all mouths", "intra, one voice", "binding/own", least=0.95),
    Goal("the right person", "intra", "identity/own", least=0.95),
    Goal("the right person with the right voice", "intra", "joint/own", least=0.9),
    Goal("who stands where, from the first frame", "intra", "layout/own", least=0.9),
    Goal("who stands where, from the prompt alone", "intra, no first frame", "layout/own", least=0.9),
    Goal("masks in the last third of the steps", "intra", "iou", least=0.85),
    Goal("masks on the true video under noise", "intra, noised", "iou", least=0.85),
    Goal("fine masks less boxes, people close", "close, fine", "joint/own", least=0.0, less="close, boxes"),
    Goal("intra less static, people moving", "moving, intra", "joint/own", least=0.1, less="moving, static"),
    Goal("the same where people truly are", "moving, intra", "joint/true", least=0.1, less="moving, static"),
    Goal("intra less static, people standing", "standing, intra", "joint/own", least=-0.01, less="standing, static"),
    Goal("intra less post", "intra", "joint/own", least=-0.02, less="post"),
    Goal("cost of intra in that of post", "intra", "passes", most=0.5, divided_by="post"),
    Goal("no binding is no better than chance", "uniform", "binding/true", most=0.6),
)
