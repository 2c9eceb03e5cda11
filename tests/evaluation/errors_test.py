import dataclasses
import pathlib

import numpy as np
import pytest

from diffpose_jax.data import instances as instances_lib
from diffpose_jax.data import prepared, prepared_tables
from diffpose_jax.evaluation import errors, measure
from diffpose_jax.pose.skeleton import POSETRACK

K = len(POSETRACK.joints)
SIDE = 40.0


def _split():
  """Video a: frames 0, 1, 3; video b: frame 0. One person of a track in each."""
  n = 4
  joints = np.tile(np.arange(2.0 * K).reshape(K, 2), (n, 1, 1))
  joints[1] += np.array([3, 4])  # 5 pixels after one frame
  joints[2] += [9, 9]
  labelled = np.ones((n, K), bool)
  labelled[0, :2] = False
  occluded = np.zeros((n, K), bool)
  occluded[1, 3] = True
  head = np.tile([0, 0, 6, 8], (n, 1)).astype(np.float32)
  head[3] = np.nan
  speed = np.full(n, np.nan, np.float32)
  speed[3] = 7
  return prepared.Split(
    name="val",
    folder=pathlib.Path("nowhere"),
    skeleton=POSETRACK,
    videos=("a", "b"),
    frames=prepared_tables.Frames(
      video=np.array([0, 0, 0, 1], np.int32),
      frame_index=np.array([0, 1, 3, 0], np.int32),
      num_frames=np.array([4, 4, 4, 1], np.int32),
      file_name=np.array(["a/0", "a/1", "a/3", "b/0"]),
      image_id=np.arange(n),
      height=np.full(n, 100, np.int32),
      width=np.full(n, 100, np.int32),
      labelled=np.ones(n, bool),
    ),
    people=prepared_tables.People(
      frame=np.arange(n, dtype=np.int32),
      box=np.tile(np.array([0, 0, 30, SIDE], np.float32), (n, 1)),
      head_box=head,
      joints=joints.astype(np.float32),
      labelled=labelled,
      occluded=occluded,
      occlusion_known=np.array([True, True, False, False]),
      track_id=np.array([5, 5, 5, 5]),
      blur=np.full(n, np.nan, np.float32),
      speed=speed,
    ),
    regions=prepared_tables.Regions(
      np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros((0, 2), np.float32)
    ),
    source=None,
  )


@pytest.fixture
def split():
  return _split()


@pytest.fixture
def people(split):
  return instances_lib.gt_instances(split, need_joints=False)


def _estimates(people, samples=3):
  shape = np.tile(np.diag([4.0, 9.0]).astype(np.float32), (4, K, 1, 1))
  shape[0, 5] = np.nan  # a broken heatmap
  joints = people.joints + np.array([1, -2], np.float32)
  away = np.arange(samples, dtype=np.float32) - (samples - 1) / 2
  members = joints[None] + away[:, None, None, None] * np.array(
    [1, 2], np.float32
  )
  return measure.Estimates(joints, np.ones((4, K), np.float32), members, shape)


def test_rows_are_labelled_joints_with_a_finite_heatmap(split, people):
  found = errors.find(split, people, _estimates(people))
  assert len(found.joints) == 4 * K - 2 - 1
  np.testing.assert_allclose(found.joints.error, [[1, -2]] * len(found.joints))
  np.testing.assert_allclose(found.joints.side, SIDE)
  assert found.joints.samples is not None
  # Members at -1, 0, 1 times (1, 2): their variance is 1.
  np.testing.assert_allclose(found.joints.samples[0], [[1, 2], [2, 4]])
  np.testing.assert_allclose(found.joints.heatmap[0], np.diag([4, 9]))
  assert found.video.tolist() == [0] * (3 * K - 3) + [1] * K


def test_circumstances_of_each_joint(split, people):
  found = errors.find(split, people, _estimates(people))
  first, second = K - 3, K  # rows of the first two people
  assert np.nansum(found.occluded) == 1
  assert found.occluded[first + 3] == 1
  assert np.isnan(found.occluded[first + second :]).all()
  # Five pixels a frame of a side of 40; the third has no neighbour in time.
  np.testing.assert_allclose(found.speed[: first + second], 5 / SIDE)
  assert np.isnan(found.speed[first + second : first + 2 * second]).all()
  np.testing.assert_allclose(found.speed[-K:], 7 / SIDE)
  np.testing.assert_allclose(found.head[:first], 6 / SIDE)
  assert np.isnan(found.head[-K:]).all()
  assert errors.head_share(found) == pytest.approx(6 / SIDE)


def test_one_member_has_no_spread(split, people):
  found = errors.find(split, people, _estimates(people, samples=1))
  assert found.joints.samples is None
  result = errors.judge(found, None)
  assert set(result["raw"]) == {"heatmap"}
  assert result["breakdown"]["occluded"]["count"] == 1


def test_what_is_right_is_told_from_the_box_not_the_truth(split, people):
  found = errors.find(split, people, _estimates(people))
  np.testing.assert_allclose(errors.reach(found.joints, 0.15), 0.5 * 6)
  np.testing.assert_allclose(errors.reach(found.joints, None), 0.1 * SIDE)
  result = errors.judge(found, None)
  assert result["within"].startswith("0.5 head sizes, a head being 0.150")
  # Errors are sqrt(5) < 3 everywhere.
  assert {
    group["right"] for group in result["breakdown"].values() if group["count"]
  } == {1.0}


def test_without_head_boxes_the_box_is_the_unit(split, people):
  nobody = np.full((4, 4), np.nan, np.float32)
  without = dataclasses.replace(
    split, people=dataclasses.replace(split.people, head_box=nobody)
  )
  found = errors.find(without, people, _estimates(people))
  assert errors.head_share(found) is None
  assert "box's longer side" in errors.judge(found, None)["within"]


def test_detections_are_refused(split, people):
  nobody = dataclasses.replace(people, person=np.full(4, -1, np.int32))
  with pytest.raises(ValueError, match="detections have no truth"):
    errors.find(split, nobody, _estimates(people))


def test_halves_are_of_whole_videos(split, people):
  found = errors.find(split, people, _estimates(people))
  first = errors.half(split, found)
  assert {first[found.video == video].all() for video in (0, 1)} == {
    True,
    False,
  }
  assert {first[found.video == video].any() for video in (0, 1)} == {
    True,
    False,
  }
