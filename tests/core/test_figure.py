import sys

import pytest

from byav_core.figure import new_figure


def test_a_figure_has_the_size_asked_for():
    pytest.importorskip("matplotlib")
    assert new_figure(4.0, 2.5).get_size_inches().tolist() == [4, 2.5]


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ValueError, match="pip install matplotlib"):
        new_figure(4.0, 2.5)
