"""Who is cropped, from which frames, and with which noise."""

import zlib

import numpy as np
import pytest

from diffpose_jax.data import boxes, instances, prepare, prepared
from diffpose_jax.pose import geometry, skeleton


def _open(folder, split="train"):
  return prepared.open_split(folder, split, skeleton=skeleton.POSETRACK)


def _make(tmp_path, scene, **options):
  scene.write(tmp_path / "source", "train", **options)
  out = prepare.prepare(
    dataset="posetrack18", source=tmp_path / "source", out=tmp_path / "out"
  )
  return _open(out)


def test_ground_truth_is_what_was_written(dots, scene):
  people = instances.gt_instances(_open(dots), need_joints=True)
  assert len(people) == 14
  np.testing.assert_array_equal(people.row, np.arange(14))
  person = scene.person(3)
  np.testing.assert_allclose(people.box[10], person.box, atol=1e-4)
  np.testing.assert_array_equal(people.joints[10], person.joints)
  assert people.noise_id[0] == zlib.crc32(b"000000_train/5")
  assert len(set(people.noise_id[:7])) == 1
  assert people.noise_id[0] != people.noise_id[7]


def test_people_without_joints_are_for_evaluation_only(tmp_path, scene):
  split = _make(tmp_path, scene, labelled=lambda f: f < 4)
  split.people.labelled[2] = False
  assert len(instances.gt_instances(split, need_joints=True)) == 7
  assert len(instances.gt_instances(split, need_joints=False)) == 8


def test_people_of_unlabelled_frames_are_left_out(dots):
  split = _open(dots)
  split.frames.labelled[3] = False
  found = instances.gt_instances(split, need_joints=False)
  assert 3 not in found.row
  assert len(found) == 13


def test_a_person_without_a_box_takes_its_joints(tmp_path, scene):
  split = _make(tmp_path, scene, videos=1, frames=2, box=None)
  joints = scene.joints(1)
  split.people.labelled[0] = False
  split.people.head_box[0] = np.nan
  found = instances.gt_instances(split, need_joints=False)
  assert found.left_out == 1
  low = np.minimum(joints.min(0), [50, 40])
  high = np.maximum(joints.max(0), [63, 57])
  middle, half = (low + high) / 2, (high - low) / 2
  expected = np.concatenate([middle - 1.15 * half, middle + 1.15 * half])
  np.testing.assert_allclose(found.box[0], expected, atol=1e-3)


def test_a_box_without_area_names_frame_and_track(dots):
  split = _open(dots)
  split.people.box[4, 2] = split.people.box[4, 0]
  with pytest.raises(ValueError, match=r"000004\.jpg, track 5: .* no area"):
    instances.gt_instances(split, need_joints=False)


def _boxes(video, frame, track=-1):
  count = len(video)
  return boxes.Boxes(
    video=np.array(video, np.int32),
    frame=np.array(frame, np.int32),
    box=np.tile(np.array([3, 5, 20, 40], np.float32), (count, 1)),
    score=np.linspace(0.1, 0.9, count, dtype=np.float32),
    track_id=np.full(count, track, np.int64),
  )


def test_boxes_find_their_frames(dots):
  split = _open(dots)
  found = instances.box_instances(split, _boxes([0, 1, 1], [6, 0, 2]))
  np.testing.assert_array_equal(found.row, [6, 7, 9])
  np.testing.assert_array_equal(found.noise_id, 0)  # no track, no identity
  assert not found.labelled.any()
  np.testing.assert_allclose(found.score, [0.1, 0.5, 0.9])
  tracked = instances.box_instances(split, _boxes([1], [0], track=5))
  truth = instances.gt_instances(split, need_joints=False)
  assert tracked.noise_id[0] == truth.noise_id[7]


@pytest.mark.parametrize(("video", "frame"), [(2, 0), (0, 7), (-1, 0)])
def test_a_box_of_no_frame_is_refused(dots, video, frame):
  with pytest.raises(ValueError, match=f"frame {frame} of video {video}"):
    instances.box_instances(_open(dots), _boxes([video], [frame]))


def test_no_boxes_are_no_instances(dots, small_config):
  found = instances.box_instances(_open(dots), _boxes([], []))
  assert len(found) == 0
  assert instances.crop_affines(found, small_config).shape == (0, 2, 3)


def test_taking_rows_keeps_them_together(dots):
  people = instances.gt_instances(_open(dots), need_joints=True)
  some = people.take(np.array([9, 2]))
  np.testing.assert_array_equal(some.row, [9, 2])
  np.testing.assert_array_equal(some.joints[0], people.joints[9])
  assert len(some) == 2


def test_crop_affine_shows_the_enlarged_box(dots, small_config):
  people = instances.gt_instances(_open(dots), need_joints=True)
  affine = instances.crop_affines(people, small_config)[0]
  box = people.box[0].astype(np.float64)
  centre = (box[:2] + box[2:]) / 2
  # The centre of the box is the centre of the crop, 61 x 47.
  np.testing.assert_allclose(
    geometry.apply(affine, centre[None]), [[23, 30]], atol=1e-6
  )
  # The tighter side is filled: width 47 or height 61 for 1.25 times the box.
  zoom = min(47 / (1.25 * (box[2] - box[0])), 61 / (1.25 * (box[3] - box[1])))
  np.testing.assert_allclose(affine[0, 0], zoom, rtol=1e-6)


@pytest.mark.parametrize(
  "box",
  [
    [7, 9, 8, 10],  # one pixel
    [-0.5, -0.5, 210.5, 148.5],  # the whole picture
    [-900, -700, -800, -650],  # outside
    [-1e9, -1e9, 1e9, 1e9],
    [999_999.5, 3, 1e6, 4],
  ],
)
def test_crops_of_extreme_boxes_can_be_undone(dots, small_config, box):
  split = _open(dots)
  split.people.box[0] = box
  people = instances.gt_instances(split, need_joints=True)
  affine = instances.crop_affines(people, small_config)
  assert np.isfinite(affine).all()
  crop = np.tile(np.array([[0.0, 0], [46, 60]]), (len(people), 1, 1))
  back = geometry.apply(affine, geometry.apply(geometry.invert(affine), crop))
  np.testing.assert_allclose(back, crop, atol=1e-5)


def test_joints_at_one_place_are_no_box(tmp_path, scene):
  split = _make(tmp_path, scene, videos=1, frames=2, box=None, head_box=None)
  split.people.joints[0] = split.people.joints[0, :1] + 0.1 * np.eye(17, 2)
  found = instances.gt_instances(split, need_joints=False)
  assert (len(found), found.left_out) == (1, 1)


def test_tracks_beyond_32_bits_survive(tmp_path, scene):
  split = _make(tmp_path, scene, videos=1, frames=2, track_id=2**40 + 1)
  found = instances.gt_instances(split, need_joints=True)
  assert found.track_id.tolist() == [2**40 + 1] * 2
  assert found.noise_id[0] == zlib.crc32(b"000000_train/1099511627777")


def test_clips_clamp_at_the_ends_of_their_video(dots):
  split = _open(dots)
  rows = instances.clip_rows(split, np.array([0, 1, 6, 7, 13, 10]), 2)
  expected = [
    [0, 0, 0, 1, 2],
    [0, 0, 1, 2, 3],
    [4, 5, 6, 6, 6],
    [7, 7, 7, 8, 9],
    [11, 12, 13, 13, 13],
    [8, 9, 10, 11, 12],
  ]
  np.testing.assert_array_equal(rows, expected)


def test_span_zero_and_a_video_of_one_frame(tmp_path, scene):
  split = _make(tmp_path, scene, videos=2, frames=1)
  rows = np.array([0, 1])
  np.testing.assert_array_equal(instances.clip_rows(split, rows, 0), [[0], [1]])
  np.testing.assert_array_equal(
    instances.clip_rows(split, rows, 3), [[0] * 7, [1] * 7]
  )


def test_a_clip_longer_than_its_video(tmp_path, scene):
  split = _make(tmp_path, scene, videos=2, frames=3)
  rows = instances.clip_rows(split, np.array([1, 3]), 4)
  np.testing.assert_array_equal(
    rows, [[0, 0, 0, 0, 1, 2, 2, 2, 2], [3, 3, 3, 3, 3, 4, 5, 5, 5]]
  )


def test_missing_frames_take_the_nearest_present(tmp_path, scene):
  # Pictures 0, 3, 4, 6 and 8 of 9; key frames 3 and 6.
  split = _make(
    tmp_path,
    scene,
    videos=1,
    frames=9,
    labelled=lambda f: f in (3, 6),
    missing=(1, 2, 5, 7),
  )
  present = np.array([0, 3, 4, 6, 8])
  np.testing.assert_array_equal(split.frames.frame_index, present)
  clips = present[instances.clip_rows(split, np.array([1, 3]), 3)]
  # Around 3: 0, 1 -> 0, 2 -> 3, 3, 4, 5 -> 4 (tie: nearer to the key), 6.
  # Around 6: 3, 4, 5 -> 6 (tie), 6, 7 -> 6 (tie), 8, 9 -> 8.
  np.testing.assert_array_equal(
    clips, [[0, 0, 3, 3, 4, 4, 6], [3, 4, 6, 6, 6, 8, 8]]
  )
