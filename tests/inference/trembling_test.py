"""Trembling by hand, and of whom it is measured."""

import numpy as np
import pytest

from diffpose_jax.data import annotations
from diffpose_jax.inference import trembling

K = 3


def _person(x, track, size=(40.0, 90.0), labelled=(True, True, False)):
  joints = np.zeros((K, 2), np.float32)
  joints[:, 0] = [x, 3 * x, 1000 * x]
  box = np.array([5, 7, 5 + size[0], 7 + size[1]], np.float32)
  return annotations.Person(box, joints, np.array(labelled), track)


def _mean(frames):
  found = trembling.Trembling()
  for people in frames:
    found.add([_person(*person) for person in people])
  return found.mean


def test_by_hand():
  # x of 0, 1, 4: second differences of 2 and 3 · 2, in sizes of 60.
  frames = [[(0.0, 1)], [(1.0, 1)], [(4.0, 1)]]
  assert _mean(frames) == pytest.approx((2 + 6) / 2 / 60)
  # And then 9: again 2 and 6. Whoever else there is, by itself.
  frames = [*frames, [(9.0, 1)]]
  others = [[(7.0, 2)], [(7.0, 2)], [(8.0, 2)], [(9.0, 2)]]
  both = [one + other for one, other in zip(frames, others, strict=True)]
  # The other: 1 and 3, then 0 and 0.
  total = 2 * (2 + 6) + (1 + 3)
  assert _mean(both) == pytest.approx(total / 8 / 60)


def test_even_motion_does_not_tremble():
  assert _mean([[(2.0 * i, 0)] for i in range(9)]) == pytest.approx(0)


@pytest.mark.parametrize(
  "frames",
  [
    [],
    [[(0.0, 1)], [(5.0, 1)]],
    [[(0.0, 1)], [], [(5.0, 1)], [(0.0, 1)]],  # a gap
    [[(0.0, -1)], [(5.0, -1)], [(0.0, -1)]],  # nobody
    [[(0.0, 1)], [(5.0, 2)], [(0.0, 1)]],
  ],
)
def test_without_three_in_a_row_it_is_not_known(frames):
  assert _mean(frames) is None


def test_the_size_is_that_of_the_middle_frame():
  frames = [[(0.0, 1, (9.0, 9.0))], [(1.0, 1, (3.0, 12.0))], [(4.0, 1)]]
  assert _mean(frames) == pytest.approx((2 + 6) / 2 / 6)


def test_a_joint_counts_where_it_is_there_in_all_three():
  frames = [
    [(0.0, 1)],
    [(1.0, 1, (40.0, 90.0), (False, True, True))],
    [(4.0, 1)],
  ]
  assert _mean(frames) == pytest.approx(6 / 60)
