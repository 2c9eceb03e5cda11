"""Frames' times grow whatever the stamps are; the mean rate is the real one."""

import math
import pathlib

import numpy as np
import pytest

from diffpose_jax.data import video_times

MP4, MKV = pathlib.Path("a.mp4"), pathlib.Path("a.MKV")


def _times(*stamps):
  clock = video_times.Clock("clip", 0.1)
  return [clock(None if s is None else float(s)) for s in stamps]


@pytest.mark.parametrize(
  ("stamps", "expected"),
  [
    ([0, 0.04, 0.3, 0.31], [0, 0.04, 0.3, 0.31]),  # as they are
    ([7, 7.5, 9], [0, 0.5, 2]),  # since the first
    ([-0.2, 0.1, 0.2], [0, 0.3, 0.4]),
    ([None, None, None], [0, 0.1, 0.2]),
    ([0, 1, None, 1.4], [0, 1, 1.1, 1.4]),  # one missing moves no other
    ([0, 1, None, None, 1.4], [0, 1, 1.1, 1.2, 1.4]),
    ([0, 1, 1, 1.2], [0, 1, 1.05, 1.2]),  # nor does a double one
    ([0, 1, 3, 2, 4], [0, 1, 3, 3.05, 4]),  # nor one that goes back
    # Two recordings in one: the second goes on one interval after the first.
    ([0, 0.1, 0.2, 0, 0.1, 0.3], [0, 0.1, 0.2, 0.3, 0.4, 0.6]),
    ([5, 5.1, 5.2, 5, 5.1, 5.3], [0, 0.1, 0.2, 0.3, 0.4, 0.6]),
    ([0, 0.1, 9, 3, 3.1, 3.4], [0, 0.1, 9, 9.05, 9.15, 9.45]),
    # The same stamp for ever.
    ([2, 2, 2, 2], [0, 0.1, 0.2, 0.3]),
  ],
)
def test_times_by_hand(stamps, expected):
  np.testing.assert_allclose(_times(*stamps), expected, atol=1e-12)


def test_times_grow_whatever_the_stamps():
  rng = np.random.default_rng(7)
  for _ in range(50):
    stamps = [
      None if rng.random() < 0.2 else float(rng.integers(-3, 12))
      for _ in range(23)
    ]
    assert np.diff(_times(*stamps)).min() > 0, stamps


def test_the_first_wrong_stamp_is_reported_once(caplog):
  _times(0, 0.1, 0.2)
  assert not caplog.records
  _times(0, 0.5, 0.25, None, None, 0.1)
  (record,) = caplog.records
  message = record.getMessage()
  assert "clip: frame 2" in message
  assert "0.250 s" in message and "0.500 s" in message
  caplog.clear()
  _times(0, 0.5, None)
  assert "frame 2 has no time stamp" in caplog.text


@pytest.mark.parametrize(
  ("path", "stated", "stamps", "expected"),
  [
    (MKV, 30.0, [0, 0.033, 0.067, 0.1], (30.0, True)),  # rounded stamps
    (MKV, 600.0, [0, 0.04, 0.12, 0.08], (25.0, False)),  # in any order
    (MKV, 30.0, [3, 3.5, 5.0], (1.0, False)),
    (MKV, 60.0, [0, 0.1, 0.2, 0, 0.1, 0.2], (10.0, False)),  # two in one
    (MKV, 30.0, [0, 0, 0], (30.0, True)),
    (MKV, 0.0, [0, 0.5], (2.0, False)),
    (MKV, math.nan, [0, 0.5], (2.0, False)),
    (MKV, 90_000.0, [], (25.0, False)),
    (MKV, math.inf, [4], (25.0, False)),
    (MKV, 30.0, [0, 1e-9], (30.0, True)),
    (MP4, 11.5, [0, 1, 2], (11.5, True)),
    (MP4, 0.0, [0, 1, 2], (1.0, False)),
  ],
)
def test_rate_by_hand(path, stated, stamps, expected):
  found, exact = video_times.rate(path, stated, [*map(float, stamps)])
  assert found == pytest.approx(expected[0])
  assert exact == expected[1]
