"""People's colours can be told apart, and labels read."""

import itertools

import cv2
import numpy as np
import pytest

from diffpose_jax.inference import colours
from diffpose_jax.pose.skeleton import COCO, POSETRACK


def _lab(colour):
  """CIELAB, by OpenCV."""
  rgb = np.array(colour, np.float32).reshape(1, 1, 3) / 255
  return cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[0, 0]


def test_people_are_told_apart():
  """A CIELAB distance of 2 is just seen; boxes are thin and far apart."""
  for a, b in itertools.combinations(colours.PEOPLE, 2):
    assert np.linalg.norm(_lab(a) - _lab(b)) > 25
  for a, b in itertools.pairwise([*colours.PEOPLE, colours.PEOPLE[0]]):
    assert np.linalg.norm(_lab(a) - _lab(b)) > 40


def test_an_identity_keeps_its_colour():
  count = len(colours.PEOPLE)
  assert len(set(colours.PEOPLE)) == count
  assert colours.person(3) == colours.person(3 + 2 * count)
  assert colours.person(-1) not in colours.PEOPLE


def _luminance(colour):
  """Relative luminance of sRGB, as WCAG 2 defines it."""
  part = np.array(colour) / 255
  linear = np.where(
    part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4
  )
  return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("colour", [*colours.PEOPLE, colours.person(-1)])
def test_labels_can_be_read(colour):
  contrast = (_luminance(colour) + 0.05) / (_luminance(colours.OUTLINE) + 0.05)
  assert contrast > 4.0


def test_sides():
  found = colours.sides(POSETRACK)
  for name, side in zip(POSETRACK.joints, found, strict=True):
    prefix = name.split("_")[0]
    assert side == {"left": -1, "right": 1}.get(prefix, 0)
  assert sum(map(abs, colours.sides(COCO))) == 16
  assert [colours.side(s) for s in (-2, 0, 1)] == [
    colours.LEFT,
    colours.MIDDLE,
    colours.RIGHT,
  ]
