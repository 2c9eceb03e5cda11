"""Turns, ratios and comparisons, with a clock that the test moves."""

import math

import numpy as np
import pytest

from diffpose_jax.benchmark import measure


class Fake:
  """A clock, contenders that take time on it, and what happened."""

  def __init__(self, rest=0.0):
    self.time = 0.0
    self.events = []
    self.clock = measure.Clock("fake", lambda: self.time, rest, self._sleep)

  def _sleep(self, seconds):
    self.events.append(f"sleep {seconds}")
    self.time += seconds

  def contender(self, name, *seconds):
    """Takes these times, one a call, the last one from then on."""
    left = list(seconds)

    def run():
      self.events.append(name)
      self.time += left.pop(0) if len(left) > 1 else left[0]

    return run


def test_contenders_take_turns_after_two_calls_each():
  fake = Fake()
  times = measure.take_turns(
    {
      # The first call compiles, the second tells how long a call takes.
      "a": fake.contender("a", 100.0, 1.0, 2.0, 9.0, 3.0),
      "b": fake.contender("b", 50.0, 1.0, 4.0, 3.0, 12.0),
    },
    pairs=3,
    clock=fake.clock,
  )
  assert "".join(fake.events) == "aabb" + "ababab"
  assert times.seconds == {"a": [2, 9, 3], "b": [4, 3, 12]}
  assert times.rounds == 3 and times.clock == "fake"
  assert times.spread("b") == measure.Spread(4.0, 3.0, 12.0)
  # In each round: 2/4, 9/3, 3/12.
  assert times.ratio({"a": 1}, {"b": 1}) == measure.Spread(0.5, 0.25, 3.0)
  # (2 + 2·4) / 2, (9 + 2·3) / 9, (3 + 2·12) / 3.
  assert times.ratio({"a": 1, "b": 2}, {"a": 1}) == measure.Spread(
    5.0, 15 / 9, 9.0
  )


def test_a_fast_contender_is_called_often_in_a_round():
  fake = Fake()
  times = measure.take_turns(
    {"a": fake.contender("a", 0.25), "b": fake.contender("b", 3.0)},
    pairs=2,
    clock=fake.clock,
    at_least=1.125,
  )
  # 1.125 / 0.25 is 4.5, so five calls.
  assert "".join(fake.events) == "aabb" + 2 * "aaaaab"
  assert times.seconds == {"a": [0.25, 0.25], "b": [3.0, 3.0]}


def test_a_clock_that_does_not_move_ends_too():
  fake = Fake()
  measure.take_turns({"a": fake.contender("a", 0.0)}, pairs=1, clock=fake.clock)
  assert len(fake.events) == 2 + 1000


def test_a_rest_comes_before_each_and_does_not_count():
  fake = Fake(rest=0.5)
  times = measure.take_turns(
    {"a": fake.contender("a", 1.0), "b": fake.contender("b", 2.0)},
    pairs=1,
    clock=fake.clock,
  )
  assert fake.events == [
    *("a", "sleep 0.5", "a", "b", "sleep 0.5", "b"),
    *("sleep 0.5", "a", "sleep 0.5", "b"),
  ]
  assert times.seconds == {"a": [1.0], "b": [2.0]}


def test_cpu_time_leaves_out_waiting():
  times = measure.take_turns(
    {"sleep": lambda: measure.time.sleep(0.05)},
    pairs=1,
    clock=measure.CPU,
    at_least=0.0,
  )
  assert times.seconds["sleep"][0] < 0.04


def test_relative_error_is_that_of_the_largest_value():
  wanted = np.array([[1.0, -4.0], [0.5, 2.0]])
  found = np.array([[1.0, -4.0], [0.7, 2.1]])
  assert measure.relative_error(found, wanted) == pytest.approx(0.2 / 4)
  assert measure.relative_error(wanted, wanted) == 0
  assert measure.relative_error([0.0], [0.0]) == 0
  assert measure.relative_error([1.0], [0.0]) == math.inf
  assert measure.relative_error([math.nan], [1.0]) == math.inf
  with pytest.raises(measure.DifferentOutputsError, match=r"\(2,\).*\(3,\)"):
    measure.relative_error([1.0, 2.0], [1.0, 2.0, 3.0])


@pytest.mark.parametrize("error", [0.0201, math.inf, math.nan])
def test_different_outputs_are_refused(error):
  measure.check_equal("x", 0.02, 0.02)
  with pytest.raises(measure.DifferentOutputsError, match="x: .* is 0.02"):
    measure.check_equal("x", error, 0.02)
