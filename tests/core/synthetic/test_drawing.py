"""Shapes and paint: areas are right, edges are smooth, and paint covers what it should."""

import math

import pytest
import torch

from byav_core.synthetic.drawing import Layer, Window, both, box, either, ellipse, local, outline, rgb, window_around

WINDOW = Window(0, 0, 40, 30)


def placed(x=20.0, y=15.0, scale=1.0, turn=0.0):
    return local(WINDOW, *(torch.tensor([value]) for value in (x, y, scale, turn)))


def area(p, distance):
    return float(p.cover(distance).sum())


def test_an_ellipse_has_its_area():
    p = placed()
    assert area(p, ellipse(p, 0.0, 0.0, 9.0, 6.0)) == pytest.approx(math.pi * 54, rel=0.02)


def test_a_box_has_its_area_less_its_corners():
    p = placed()
    assert area(p, box(p, 0.0, 0.0, 9.0, 6.0, 2.0)) == pytest.approx(18 * 12 - (4 - math.pi) * 4, rel=0.02)


def test_scale_enlarges_and_turning_keeps_the_area():
    once, twice, turned = placed(), placed(scale=2.0), placed(turn=0.7)
    small = area(once, ellipse(once, 0.0, 0.0, 5.0, 3.0))
    assert area(twice, ellipse(twice, 0.0, 0.0, 5.0, 3.0)) == pytest.approx(4 * small, rel=0.03)
    assert area(turned, ellipse(turned, 0.0, 0.0, 5.0, 3.0)) == pytest.approx(small, rel=0.03)


def test_a_turn_is_clockwise_as_seen():
    p = placed(turn=math.pi / 2)
    cover = p.cover(ellipse(p, 8.0, 0.0, 3.0, 3.0))[0]
    assert cover[23, 20] > 0.9 and cover[15, 28] == 0


def test_edges_are_smooth():
    p = placed(x=20.3)
    cover = p.cover(ellipse(p, 0.0, 0.0, 9.0, 6.0))
    assert ((cover > 0) & (cover < 1)).sum() > 10


def test_shapes_meet_and_join():
    p = placed()
    left, right = box(p, -3.0, 0.0, 5.0, 5.0, 0.0), box(p, 3.0, 0.0, 5.0, 5.0, 0.0)
    assert area(p, both(left, right)) == pytest.approx(4 * 10, rel=0.02)
    assert area(p, either(left, right)) == pytest.approx(16 * 10, rel=0.02)


def test_an_outline_follows_the_edge():
    p = placed()
    assert area(p, outline(ellipse(p, 0.0, 0.0, 8.0, 8.0), 2.0)) == pytest.approx(2 * math.pi * 8 * 2, rel=0.03)


def test_paint_over_paint_hides_it_as_far_as_it_covers():
    layer, whole = Layer(1, WINDOW), torch.ones(1, 30, 40)
    layer.paint(rgb(1.0, 0.0, 0.0), whole)
    layer.paint(rgb(0.0, 0.0, 1.0), 0.25 * whole)
    assert layer.colour[0, :, 3, 4].tolist() == [0.75, 0.0, 0.25]


def test_a_layer_changes_the_picture_only_where_it_covers():
    picture = torch.full((2, 3, 30, 40), 0.5)
    layer = Layer(2, Window(10, 5, 20, 15))
    layer.paint(rgb(1.0, 0.0, 0.0), torch.full((2, 10, 10), 0.5))
    layer.lay_on(picture)
    assert picture[1, :, 7, 12].tolist() == [0.75, 0.25, 0.25]
    outside = torch.ones(30, 40, dtype=torch.bool)
    outside[5:15, 10:20] = False
    assert (picture[..., outside] == 0.5).all()


def test_a_window_stays_inside_the_picture():
    window = window_around(torch.tensor([-5.0, 50.0]), torch.tensor([3.0, 4.0]), (2.0, 9.0, 2.0, 3.5), 30, 40)
    assert window == Window(0, 0, 40, 8)
