"""What was aimed at, as data, and what of it was reached."""

from collections.abc import Mapping
from dataclasses import dataclass

Found = Mapping[str, Mapping[str, Mapping[str, float]]]  # condition, metric, mean and interval


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

    def reading(self, found: Found) -> float | None:
        """None where one of the conditions was not measured."""
        means = [found.get(name, {}).get(self.metric, {}).get("mean") for name in self._conditions]
        if None in means:
            return None
        if self.divided_by:
            return means[0] / means[1] if means[1] else None
        return means[0] - sum(means[1:])

    def reached(self, reading: float) -> bool:
        return (self.least is None or reading >= self.least) and (self.most is None or reading <= self.most)

    @property
    def wanted(self) -> str:
        bounds = ((self.least, "at least"), (self.most, "at most"))
        return " and ".join(f"{words} {bound:g}" for bound, words in bounds if bound is not None)

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
    Goal("intra less static, people standing", "standing, intra", "joint/own", least=-0.01, less="standing, static"),
    Goal("intra less post", "intra", "joint/own", least=-0.02, less="post"),
    Goal("cost of intra in that of post", "intra", "CPU seconds", most=0.5, divided_by="post"),
    Goal("no binding is no better than chance", "uniform", "binding/true", most=0.6),
)
