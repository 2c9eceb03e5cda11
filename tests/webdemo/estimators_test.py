"""Each number of samples is compiled once, and steps are free."""

import numpy as np
import pytest

from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.webdemo import estimators


@pytest.fixture
def loads(monkeypatch):
  """The number of samples of each network that is loaded."""
  found, load = [], estimator_lib.Estimator.load

  def counted(weights, **sampling):
    found.append(sampling["samples"])
    return load(weights, **sampling)

  monkeypatch.setattr(estimator_lib.Estimator, "load", counted)
  return found


def test_the_last_used_ones_are_kept(tiny_run, loads):
  known = estimators.Estimators(tiny_run, kept=2)
  for samples in (1, 2, 1, 3, 1, 2):
    assert known(1, samples).options.samples == samples
  assert loads == [1, 2, 3, 2]


def test_another_number_of_steps_compiles_nothing(tiny_run, loads):
  known = estimators.Estimators(tiny_run)
  frames = np.zeros((1, 3, 32, 24, 3), np.uint8)
  noise = np.zeros(1, np.uint32)
  joints = {}
  for steps in (1, 4, 1):
    found = known(steps, 2)
    assert found.options.steps == steps
    assert found.protocol()["steps"] == steps
    joints[steps] = found(frames, noise).joints
    assert found._programs is known(9, 2)._programs
    assert len(found._programs) == 1
  assert loads == [2]
  direct = estimator_lib.Estimator.load(tiny_run, steps=4, samples=2)
  np.testing.assert_array_equal(direct(frames, noise).joints, joints[4])
  assert not np.array_equal(joints[1], joints[4])


def test_steps_that_the_weights_do_not_have(tiny_run):
  known = estimators.Estimators(tiny_run)
  with pytest.raises(ValueError, match="steps"):
    known(10_000, 1)
