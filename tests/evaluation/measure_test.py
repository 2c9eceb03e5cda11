"""Poses in crop pixels become records and numbers, checked by hand."""

import dataclasses
import pathlib

import cv2
import numpy as np
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax.data import boxes as boxes_lib
from diffpose_jax.data import instances as instances_lib
from diffpose_jax.data import prepared, prepared_tables
from diffpose_jax.evaluation import measure
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import poses as poses_lib
from diffpose_jax.inference import sampling as sampling_lib
from diffpose_jax.pose.skeleton import POSETRACK

K = len(POSETRACK.joints)
EARS = [POSETRACK.index("left_ear"), POSETRACK.index("right_ear")]
EVALUATED = [joint for joint in range(K) if joint not in EARS]
PICTURE = (53, 71)  # (height, width)
CROP = (32, 24)
# Videos of three and two frames; how many people there are in each.
PEOPLE = (2, 0, 3, 1, 2)


def _split(share=0.8) -> prepared.Split:
  """People of all places and sizes; joint 13 is nowhere labelled."""
  rng = np.random.default_rng(0)
  count = sum(PEOPLE)
  low = rng.uniform(2, 20, (count, 2))
  box = np.concatenate([low, low + rng.uniform(11, 30, (count, 2))], axis=1)
  shares = rng.uniform(0, 1, (count, K, 2))
  joints = box[:, None, :2] + shares * (box[:, None, 2:] - box[:, None, :2])
  known = rng.random((count, K)) < share
  known[:, [*EARS, 13]] = False
  known[:, 0] = True
  head_box = np.concatenate([low, low + np.array([6, 8])], axis=1)
  _, data = cv2.imencode(".jpg", np.zeros((*PICTURE, 3), np.uint8))
  frames = prepared_tables.Frames(
    video=np.array([0, 0, 0, 1, 1], np.int32),
    frame_index=np.array([0, 1, 2, 0, 1], np.int32),
    num_frames=np.array([3, 3, 3, 2, 2], np.int32),
    file_name=np.array([f"images/{i}.jpg" for i in range(5)]),
    image_id=np.arange(5) + 100,
    height=np.full(5, PICTURE[0], np.int32),
    width=np.full(5, PICTURE[1], np.int32),
    labelled=np.ones(5, np.bool_),
  )
  people = prepared_tables.People(
    frame=np.repeat(np.arange(5), PEOPLE).astype(np.int32),
    box=box.astype(np.float32),
    head_box=head_box.astype(np.float32),
    joints=np.where(known[..., None], joints, 0).astype(np.float32),
    labelled=known,
    occluded=np.zeros((count, K), np.bool_),
    occlusion_known=np.zeros(count, np.bool_),
    track_id=np.arange(count, dtype=np.int64) + 31,
    blur=np.full(count, np.nan, np.float32),
    speed=np.full(count, np.nan, np.float32),
  )
  triangle = np.array([[60, 1], [70, 1], [70, 9]], np.float32)
  return prepared.Split(
    name="val",
    folder=pathlib.Path("made"),
    skeleton=POSETRACK,
    videos=("walk", "run"),
    frames=frames,
    people=people,
    regions=prepared_tables.Regions(
      np.array([2], np.int32), np.array([3], np.int32), triangle
    ),
    source=[{"image": data.tobytes()}] * 5,
  )


@pytest.fixture
def split():
  return _split()


@pytest.fixture
def people(split):
  return instances_lib.gt_instances(split, need_joints=False)


def _estimates(people, joints, score=None):
  joints = np.asarray(joints, np.float32)
  if score is None:
    score = np.ones(joints.shape[:2], np.float32)
  shape = np.zeros((*joints.shape, 2), np.float32)
  return measure.Estimates(joints, score, joints[None], shape)


class Known(estimator_lib.Estimator):
  """Poses that are known in crop pixels, by who is shown."""

  def __init__(self, joints, score, batch=3):
    """`joints` (m, k, 2) and `score` (k,) by noise identity."""
    self.config = config_lib.default()
    self.config.data.size = CROP
    self.config.data.span = 1
    self.config.data.threads = 1
    self.config.evaluate.batch = batch
    self.options = sampling_lib.Options(1, 2, False, 0, 0.0)
    self.joints, self.score = joints, score
    self.seen = []

  @property
  def rows(self):
    return list(range(self.config.evaluate.batch))

  def with_params(self, params):
    return self

  def __call__(self, frames, noise_id):
    assert frames.shape == (self.config.evaluate.batch, 3, *CROP, 3)
    self.seen += noise_id.tolist()
    nowhere = np.full((2, K, 2), 1e6), np.full(K, 0.99)  # of padding
    rows = [
      (self.joints[i], self.score[i]) if i in self.joints else nowhere
      for i in noise_id.tolist()
    ]
    samples = np.stack([row[0] for row in rows], axis=1).astype(np.float32)
    score = np.stack([row[1] for row in rows]).astype(np.float32)
    joints = samples.mean(axis=0)
    shape = np.tile(
      np.diag([4.0, 9.0]).astype(np.float32), (*score.shape, 1, 1)
    )
    return poses_lib.Poses(joints, score, samples, shape)


def _to_picture(crop, box):
  """By hand: the crop shows the box 1.25 times as large, widened to 3 : 4."""
  width, height = 1.25 * (box[2] - box[0]), 1.25 * (box[3] - box[1])
  pixel = max(width, height * CROP[1] / CROP[0]) / CROP[1]
  centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2
  return centre + (crop - [(CROP[1] - 1) / 2, (CROP[0] - 1) / 2]) * pixel


def _to_crop(joints, box):
  width, height = 1.25 * (box[2] - box[0]), 1.25 * (box[3] - box[1])
  pixel = max(width, height * CROP[1] / CROP[0]) / CROP[1]
  centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2
  return (joints - centre) / pixel + [(CROP[1] - 1) / 2, (CROP[0] - 1) / 2]


def _knows_truth(people, batch=3):
  joints = {
    int(i): np.repeat(_to_crop(joints, box)[None], 2, axis=0)
    for i, joints, box in zip(
      people.noise_id, people.joints, people.box, strict=True
    )
  }
  return Known(joints, {i: np.full(K, 0.7) for i in joints}, batch)


@pytest.mark.parametrize("batch", [1, 3, 8, 16])
def test_everybody_is_estimated_once_in_the_picture(split, people, batch):
  people = dataclasses.replace(
    people, score=np.linspace(0.3, 1, len(people), dtype=np.float32)
  )
  rng = np.random.default_rng(1)
  identities = people.noise_id.tolist()
  assert len(set(identities)) == len(people) == 8
  joints = {i: rng.uniform(0, 24, (2, K, 2)) for i in identities}
  score = {i: rng.uniform(0, 1, K) for i in identities}
  fake = Known(joints, score, batch)
  found = measure.estimate(fake, split, people, progress=False)
  assert [i for i in fake.seen if i] == identities
  assert fake.seen.count(0) == -len(people) % batch
  for i, identity in enumerate(identities):
    expected = _to_picture(joints[identity], people.box[i].astype(float))
    np.testing.assert_allclose(found.samples[:, i], expected, atol=1e-3)
    np.testing.assert_allclose(
      found.joints[i], expected.mean(axis=0), atol=1e-3
    )
    np.testing.assert_allclose(
      found.score[i], score[identity] * people.score[i], atol=1e-6
    )


def test_mean_pose_by_hand(people):
  two = people.take(np.array([0, 1]))
  joints = np.zeros((2, K, 2), np.float32)
  labelled = np.zeros((2, K), np.bool_)
  box = np.array([[10, 20, 30, 60], [0, 0, 100, 10]], np.float32)
  joints[:, 0] = [[15, 30], [75, 5]]  # at (1/4, 1/4) and (3/4, 1/2)
  labelled[:, 0] = True
  joints[0, 1] = [20, 60]  # at (1/2, 1), known of one only
  labelled[0, 1] = True
  train = dataclasses.replace(two, joints=joints, labelled=labelled, box=box)
  three = people.take(np.array([2, 3, 4]))
  three = dataclasses.replace(
    three,
    box=np.array([[0, 0, 8, 16], [2, 2, 4, 4], [-4, 0, 4, 8]], np.float32),
    score=np.array([1, 0.5, 0.2], np.float32),
  )
  found = measure.mean_pose(train, three)
  np.testing.assert_allclose(found.joints[:, 0], [[4, 6], [3, 2.75], [0, 3]])
  np.testing.assert_allclose(found.joints[:, 1], [[4, 16], [3, 4], [0, 8]])
  np.testing.assert_allclose(found.score, np.tile([[1], [0.5], [0.2]], (1, K)))
  np.testing.assert_array_equal(found.samples, found.joints[None])


def test_videos_keep_frames_and_put_people_where_they_belong(split, people):
  truth = prepared.to_videos(split)
  order = np.array([5, 0, 7, 2, 1, 4, 3, 6])  # as a detector might
  mixed = people.take(order)
  rng = np.random.default_rng(2)
  joints = rng.uniform(0, 50, (8, K, 2)).astype(np.float32)
  score = rng.uniform(0, 1, (8, K)).astype(np.float32)
  videos = measure.to_videos(
    split, mixed, _estimates(mixed, joints, score), truth
  )
  assert [v.name for v in videos] == ["walk", "run"]
  frames = [frame for video in videos for frame in video.frames]
  assert [f.file_name for f in frames] == [f"images/{i}.jpg" for i in range(5)]
  assert [f.image_id for f in frames] == [100, 101, 102, 103, 104]
  tracks = [[p.track_id for p in f.people] for f in frames]
  assert tracks == [[31, 32], [], [33, 35, 34], [36], [38, 37]]
  assert all(frame.ignore_regions == () for frame in frames)
  row = order.tolist().index(4)  # track 35
  person = frames[2].people[1]
  np.testing.assert_array_equal(person.joints, joints[row])
  np.testing.assert_array_equal(person.scores, score[row])
  np.testing.assert_array_equal(person.box, people.box[4])
  np.testing.assert_array_equal(np.flatnonzero(~person.labelled), EARS)


def test_videos_of_some_frames(split, people):
  truth, kept = measure.evenly(split, people, 4)
  videos = measure.to_videos(split, kept, _estimates(kept, kept.joints), truth)
  names = [[f.file_name for f in v.frames] for v in videos]
  assert names == [["images/0.jpg"], ["images/3.jpg"]]
  tracks = [[p.track_id for p in f.people] for v in videos for f in v.frames]
  assert tracks == [[31, 32], [36]]


@pytest.mark.parametrize("most", [1, 3, 4, 7, 8, 100])
def test_evenly_keeps_whole_frames(split, people, most):
  truth, kept = measure.evenly(split, people, most)
  frames = [frame for video in truth for frame in video.frames]
  whole = {f.file_name: f for v in prepared.to_videos(split) for f in v.frames}
  counts = [len(frame.people) for frame in frames]
  assert counts == [len(whole[f.file_name].people) for f in frames]
  assert sum(counts) == len(kept)
  tracks = [p.track_id for frame in frames for p in frame.people]
  assert kept.track_id.tolist() == tracks
  # Frames with people: 0, 2, 3, 4; of those every n-th.
  steps = {1: 8, 3: 3, 4: 2, 7: 2, 8: 1, 100: 1}
  expected = [0, 2, 3, 4][:: steps[most]]
  assert [f.image_id - 100 for f in frames] == expected


def test_the_truth_as_prediction_is_perfect():
  split = _split(share=1)  # joints predicted where none is labelled are wrong
  people = instances_lib.gt_instances(split, need_joints=False)
  truth = prepared.to_videos(split)
  result = measure.measure(
    split, people, _estimates(people, people.joints), truth
  )
  known = [name for name in result["ap"] if name != "left_knee"]
  for table in ("ap", "precision", "recall"):
    assert result[table]["left_knee"] is None
    assert {result[table][name] for name in known} == {100}
  assert result["ap_groups"]["total"] == 100
  for unit in ("pck_box", "pck_head"):
    for row in result[unit].values():
      assert set(row.values()) == {1}


def test_pck_by_hand(split, people):
  """Nose off by 4 %, 9 %, 19 % and 21 % of the longer side, wrists by 0.5."""
  four = people.take(np.array([0, 1, 2, 3]))
  labelled = np.zeros((4, K), np.bool_)
  wrist, ankle = POSETRACK.index("left_wrist"), POSETRACK.index("right_ankle")
  labelled[:, 0] = True
  labelled[:3, wrist] = True
  labelled[1, ankle] = True
  box = np.array(
    [[0, 0, 50, 100], [0, 0, 100, 30], [9, 9, 109, 19], [0, 0, 100, 100]],
    np.float32,
  )
  joints = np.full((4, K, 2), 7, np.float32)
  four = dataclasses.replace(four, box=box, joints=joints, labelled=labelled)
  found = joints + 1000  # what is not labelled must not matter
  found[:, 0] = joints[:, 0] + np.array([[4, 0], [0, 9], [19, 0], [0, -21]])
  found[:, wrist] = joints[:, wrist] + [40, 30]
  found[1, ankle] = joints[1, ankle] + [3, -4]  # on the border of 5 %
  result = measure.measure(
    split, four, _estimates(four, found), prepared.to_videos(split)
  )
  # Eight joints: four noses, three wrists (never), one ankle (always).
  assert result["pck_box"] == {
    "all": {"0.05": 2 / 8, "0.1": 3 / 8, "0.2": 4 / 8},
    "wrists_ankles": {"0.05": 1 / 4, "0.1": 1 / 4, "0.2": 1 / 4},
  }
  # The head boxes are 6 x 8 and their size 0.6 * 10: nothing is within 3.
  nothing = {"0.05": 0, "0.1": 0, "0.2": 0, "0.5": 0}
  assert result["pck_head"] == {"all": nothing, "wrists_ankles": nothing}
  found[0, 0] = joints[0, 0] + [0, 1.1]  # 0.18 heads
  found[1, 0] = joints[1, 0] + [0.5, 0]  # 0.08 heads
  found[2, 0] = joints[2, 0] + [0, 2.9]  # 0.48 heads
  result = measure.measure(
    split, four, _estimates(four, found), prepared.to_videos(split)
  )
  expected = {"0.05": 0, "0.1": 1 / 8, "0.2": 2 / 8, "0.5": 3 / 8}
  assert result["pck_head"]["all"] == expected


def test_a_person_without_a_head_box_has_no_pck_by_head(split, people):
  head_box = split.people.head_box.copy()
  head_box[0] = np.nan
  without = dataclasses.replace(
    split, people=dataclasses.replace(split.people, head_box=head_box)
  )
  one = people.take(np.array([0]))
  far = _estimates(one, one.joints + 100)
  truth = prepared.to_videos(split)
  result = measure.measure(without, one, far, truth)
  assert result["pck_head"]["all"]["0.2"] is None
  assert result["pck_box"]["all"]["0.2"] == 0


def test_detections_have_ap_but_no_pck(split):
  rows = np.flatnonzero(np.array(PEOPLE))
  boxes = boxes_lib.Boxes(
    video=np.array([0, 0, 1, 1], np.int32),
    frame=np.array([0, 2, 0, 1], np.int32),
    box=np.tile(np.array([[3, 3, 40, 50]], np.float32), (4, 1)),
    score=np.full(4, 0.5, np.float32),
    track_id=np.full(4, -1, np.int64),
  )
  found = instances_lib.box_instances(split, boxes)
  assert found.row.tolist() == rows.tolist()
  # The first person of each frame is hit exactly, the others are missed.
  first = [int(np.flatnonzero(split.people.frame == row)[0]) for row in rows]
  estimates = _estimates(found, split.people.joints[first])
  result = measure.measure(split, found, estimates, prepared.to_videos(split))
  assert not any(key.startswith("pck") for key in result)
  assert result["recall"]["nose"] == 50
  assert result["precision"]["nose"] == 100


def test_validation_is_on_whole_frames_with_one_step_and_sample(monkeypatch):
  split = _split(share=1)
  people = instances_lib.gt_instances(split, need_joints=False)
  made = []

  def build(config, skeleton, params, options, mesh):
    assert skeleton is split.skeleton
    made.append(options)
    return _knows_truth(people)

  monkeypatch.setattr(estimator_lib, "Estimator", build)
  config = config_lib.default()
  config.train.validation_instances = 5
  validate = measure.Validation(config, split)
  assert validate(None) == {"val/ap": 100, "val/pck_0.1": 1}
  assert made == [sampling_lib.Options(1, 1, False, 0, 0.0)]


def test_validation_without_labels_says_nan(people, monkeypatch):
  split = _split()
  empty = np.zeros_like(split.people.labelled)
  bare = dataclasses.replace(
    split, people=dataclasses.replace(split.people, labelled=empty)
  )
  fake = _knows_truth(people)
  monkeypatch.setattr(estimator_lib, "Estimator", lambda *_, **__: fake)
  validate = measure.Validation(config_lib.default(), bare)
  values = validate(None)
  assert set(values) == {"val/ap", "val/pck_0.1"}
  assert all(np.isnan(value) for value in values.values())
