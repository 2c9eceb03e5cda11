"""Two clicks make a box, in whatever order of corners."""

import numpy as np
import pytest

from diffpose_jax.inference import colours
from diffpose_jax.webdemo import drawing

EMPTY = drawing.Drawing()


def clicked(*places, most=8):
  found = EMPTY
  for x, y in places:
    found = found.clicked(float(x), float(y), most=most)
  return found


@pytest.mark.parametrize(
  "corners",
  [
    [(10, 20), (110, 220)],
    [(110, 220), (10, 20)],
    [(10, 220), (110, 20)],
    [(110, 20), (10, 220)],
  ],
)
def test_two_corners_make_a_box(corners):
  assert clicked(*corners).boxes == ((10, 20, 110, 220),)
  assert clicked(*corners).corner is None


def test_undo_takes_the_corner_then_the_boxes():
  found = clicked((0, 0), (50, 50), (60, 0), (90, 50), (5, 5))
  assert found.corner == (5, 5) and len(found.boxes) == 2
  found = found.undone()
  assert found.corner is None and len(found.boxes) == 2
  assert found.undone().boxes == ((0, 0, 50, 50),)
  assert found.undone().undone() == found.undone().undone().undone() == EMPTY


def test_a_slip_is_no_box_and_keeps_the_corner():
  begun = clicked((10, 10))
  with pytest.raises(ValueError, match="a box of 90×2 pixels is too small"):
    begun.clicked(100.0, 12.0, most=8)
  assert begun.clicked(100.0, 90.0, most=8).boxes == ((10, 10, 100, 90),)


def test_there_is_a_most():
  full = clicked((0, 0), (50, 50), most=1)
  with pytest.raises(ValueError, match="1 boxes are the most; take one back"):
    full.clicked(60.0, 60.0, most=1)


def test_it_says_what_to_do():
  assert EMPTY.text().startswith("Click on two opposite corners")
  assert clicked((0, 0)).text() == "Now click on the corner across."
  assert clicked((0, 0), (50, 50)).text().startswith("1 person.")
  four = clicked((0, 0), (50, 50), (60, 0), (90, 50))
  assert four.text().startswith("2 people.")


def test_boxes_are_painted_where_they_are():
  picture = np.full((100, 200, 3), 40, np.uint8)
  found = clicked((20, 40), (120, 160), (200, 20), (380, 180))
  painted = drawing.drawn(picture, found, 0.5)
  assert (picture == 40).all()
  assert tuple(painted[50, 10]) == colours.person(0)
  assert tuple(painted[50, 60]) == colours.person(0)
  assert tuple(painted[50, 100]) == colours.person(1)
  assert (painted[50, 35] == 40).all()
  begun = drawing.drawn(picture, clicked((20, 40)), 0.5)
  assert (begun[20, 10] == 255).all() and (begun[60, 60] == 40).all()
