import copy
import json
from pathlib import Path

import pytest

API = Path(__file__).resolve().parents[1] / "workflows_api"


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.server)


class Prompt(dict):
    """A workflow for /prompt in which nodes are found by their title."""

    def __getitem__(self, title: str) -> dict:
        return super().__getitem__(self.id(title))

    def id(self, title: str) -> str:
        found = [number for number, node in self.items() if title in (node["_meta"]["title"], number)]
        assert len(found) == 1, f"{len(found)} nodes are called {title}"
        return found[0]

    def change(self, title: str, **inputs) -> "Prompt":
        """The same workflow with other inputs on one node; None takes an input away."""
        other = copy.deepcopy(self)
        other[title]["inputs"] = {k: v for k, v in (self[title]["inputs"] | inputs).items() if v is not None}
        return other

    def add(self, title: str, class_type: str, **inputs) -> "Prompt":
        other = copy.deepcopy(self)
        node = {"class_type": class_type, "inputs": inputs, "_meta": {"title": title}}
        dict.__setitem__(other, str(1 + max(int(number) for number in self)), node)
        return other

    def only(self, *titles: str) -> "Prompt":
        """What is needed for these nodes and nothing else."""
        left, needed = [self.id(title) for title in titles], set()
        while left:
            number = left.pop()
            if number not in needed:
                needed.add(number)
                inputs = dict.__getitem__(self, number)["inputs"].values()
                left += [value[0] for value in inputs if isinstance(value, list)]
        return Prompt({number: node for number, node in self.items() if number in needed})

    def titles(self, numbers: list[str]) -> set[str]:
        return {self[number]["_meta"]["title"] for number in numbers}


@pytest.fixture
def workflow():
    def read(name: str) -> Prompt:
        return Prompt(json.loads((API / f"{name}.json").read_text(encoding="utf-8")))

    return read
