"""How far off joints may be, of poses of which that is known."""

import math

import numpy as np
import pytest

from diffpose_jax.data import annotations, poses, result_json
from diffpose_jax.pose.skeleton import POSETRACK
from diffpose_jax.webdemo import summary

K = len(POSETRACK.joints)
WRIST = POSETRACK.index("left_wrist")


def person(track=0, variance=4.0, within: float | None = 0.75):
  labelled = np.arange(K) != POSETRACK.index("left_ear")
  return annotations.Person(
    box=np.array([0, 0, 50, 100], np.float32),
    joints=np.zeros((K, 2), np.float32),
    labelled=labelled,
    track_id=track,
    scores=np.where(labelled, 0.5, 0).astype(np.float32),
    scale=np.tile(variance * np.eye(2, dtype=np.float32), (K, 1, 1)),
    within=None if within is None else np.full(K, within, np.float32),
  )


def people(tmp_path, frames, tail=math.inf):
  head = poses.Head("a", "a.mp4", 5.0, 100, 50, POSETRACK, {}, tail)
  listed = [
    annotations.Frame(f"{i}.jpg", i, True, tuple(row), time=i / 5)
    for i, row in enumerate(frames)
  ]
  path = tmp_path / "a.poses.json"
  result_json.write(path, head, listed)
  return summary.of_file(path)


def wrist(found):
  return next(joint for joint in found.joints if joint.name == "left wrist")


def test_half_of_the_errors_are_below(tmp_path):
  [found] = people(tmp_path, [[person(variance=4)], [person(variance=16)]])
  # Of a Gaussian, the radius that holds half is sqrt(2 ln 2) deviations.
  assert wrist(found).error == pytest.approx(3 * math.sqrt(2 * math.log(2)))
  rng = np.random.default_rng(0)
  errors = np.linalg.norm(rng.normal(0, 2, (100_000, 2)), axis=1)
  [one] = people(tmp_path, [[person(variance=4)]])
  assert np.mean(errors < wrist(one).error) == pytest.approx(0.5, abs=0.01)
  [wide] = people(tmp_path, [[person(variance=4)]], tail=2.0)
  assert wrist(wide).error > wrist(one).error


def test_chances_where_they_are_known(tmp_path):
  frames = [[person(within=0.5)], [], [person(within=1.0)]]
  [found] = people(tmp_path, frames)
  assert found.calibrated and found.frames == 2
  assert wrist(found).within == pytest.approx(0.75)
  assert wrist(found).sure == (0.5, None, 1.0)
  # Nothing was learned of the left ear.
  assert "left ear" not in [joint.name for joint in found.joints]
  assert len(found.joints) == K - 1


def test_without_them_it_follows_from_the_error(tmp_path):
  row = [person(variance=v, within=None) for v in (0.0001, 400)]
  [found] = people(tmp_path, [[one] for one in row])
  assert not found.calibrated and wrist(found).within is None
  sure = [one or 0 for one in wrist(found).sure]
  assert sure[0] == pytest.approx(1, abs=0.01) and sure[1] == 0


def test_those_in_most_frames_come_first(tmp_path):
  frames = [[person(k) for k in range(6) if i >= k] for i in range(6)]
  found = people(tmp_path, frames[::-1])
  assert [one.track for one in found] == [0, 1, 2, 3]
  assert [one.frames for one in found] == [6, 5, 4, 3]


def test_who_is_known_nowhere_else_does_not_count(tmp_path):
  frames = [[person(-1)], [person(-1), person(5)], [person(-1)]]
  assert [one.track for one in people(tmp_path, frames)] == [5]
  assert [one.track for one in people(tmp_path, [[person(-1)]])] == [-1]


def test_nobody(tmp_path):
  assert people(tmp_path, [[], []]) == []
