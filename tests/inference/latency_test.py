"""Seconds from a frame to its poses, on a clock that is not the frame's."""

import math
import time

import pytest

from diffpose_jax.inference import latency as latency_lib


@pytest.fixture
def clock(monkeypatch):
  """A clock that is set by hand."""
  now = [1000.0]
  monkeypatch.setattr(time, "monotonic", lambda: now[0])
  return now


def test_the_clock_begins_with_the_frame_that_came_soonest(clock):
  latency = latency_lib.Latency()
  # Frames of 0, 1, 2 and 3 s come 0.5, 0.1, 0.3 and 0.1 s late.
  for late, frame in zip((0.5, 0.1, 0.3, 0.1), range(4), strict=True):
    clock[0] = 5000 + frame + late
    [found] = latency.noted([(frame, float(frame), "picture")])
    assert found == (frame, float(frame), "picture")
  for taken, frame in zip((0.2, 0.4, 0.6, 0.9), range(4), strict=True):
    clock[0] = 5000.1 + frame + taken
    latency.done(float(frame))
  median, high = latency.milliseconds
  assert median == pytest.approx(500, abs=1e-3)
  # Between 600 and 900, at 0.95 · 3 - 2 of the way.
  assert high == pytest.approx(600 + 0.85 * 300, abs=1e-3)
  assert str(latency).endswith("median 500 ms, 95 % below 855 ms")


def test_without_a_frame_it_is_not_known():
  assert all(map(math.isnan, latency_lib.Latency().milliseconds))


def test_memory_is_bounded(clock, monkeypatch):
  monkeypatch.setattr(latency_lib, "_MOST", 3)
  latency = latency_lib.Latency()
  list(latency.noted([(0, 0.0)]))
  for _ in range(100):
    clock[0] += 1
    latency.done(0.0)
  assert len(latency._seconds) == 3
  assert latency.milliseconds[0] == pytest.approx(99_000)
