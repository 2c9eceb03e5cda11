"""The self-test sees what it is there to see."""

import json

import numpy as np
import pytest

from diffpose_jax.doctor import finding, selftest
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import poses as poses_lib
from diffpose_jax.weights import packed


def _states():
  return {one.name: one.state for one in selftest.check()}


def _poses(value):
  joints = np.full((1, 17, 2), value, np.float32)
  return poses_lib.Poses(
    joints, joints[..., 0], joints[None], np.zeros((1, 17, 2, 2), np.float32)
  )


@pytest.fixture
def poses(monkeypatch):
  """What the network gives next; zeros in the end."""
  given = []

  def call(self, frames, noise_id):
    return given.pop() if given else _poses(0)

  monkeypatch.setattr(estimator_lib.Estimator, "__call__", call)
  return given


def test_other_bits_are_a_problem(poses):
  assert _states()["network"] == finding.OK
  poses += [_poses(1), _poses(1 + 2**-23)]
  [line] = [str(one) for one in selftest.check() if one.name == "network"]
  assert "joints differ between two runs" in line
  poses += [_poses(np.nan)] * 2
  [line] = [str(one) for one in selftest.check() if one.name == "network"]
  assert "joints are not finite" in line


def test_a_wrong_gradient_is_a_problem(poses, monkeypatch):
  assert _states()["compiled step"] == finding.OK
  monkeypatch.setattr(selftest.jnp, "mean", np.sum)
  assert _states()["compiled step"] == finding.PROBLEM


def test_a_hash_that_is_not_looked_at_is_a_problem(poses, monkeypatch):
  assert _states()["checksum"] == finding.OK
  monkeypatch.setattr(packed, "digest", lambda *_: "same")
  [line] = [str(one) for one in selftest.check() if one.name == "checksum"]
  assert "a damaged file was not noticed" in line
  assert json.dumps([one.record() for one in selftest.check()])
