import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from pycocotools import coco, cocoeval

from diffpose_jax.data import annotations
from diffpose_jax.data.annotations import Frame, Person, Video
from diffpose_jax.evaluation import matching, table
from diffpose_jax.evaluation.metrics import oks
from diffpose_jax.pose import skeleton as skeleton_lib

COCO, POSETRACK = skeleton_lib.COCO, skeleton_lib.POSETRACK
# COCO's order of numbers in `COCOeval.stats`.
STATS = [
  "AP", "AP50", "AP75", "AP_M", "AP_L", "AR", "AR50", "AR75", "AR_M", "AR_L",
]  # fmt: skip
# As COCO publishes them; PoseTrack's joints in poseval's order, the two that
# COCO lacks as broad as shoulders.
SIGMAS = {
  "coco": [
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072,
    0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
  ],
  "posetrack": [
    0.089, 0.087, 0.107, 0.107, 0.087, 0.089, 0.062, 0.072, 0.079,
    0.079, 0.072, 0.062, 0.079, 0.026, 0.079,
  ],
}  # fmt: skip


def measure(truth, predictions, skeleton=COCO):
  """Of lists of frames, which are people and perhaps ignore regions."""
  sides = []
  for frames in (truth, predictions):
    frames = [f if isinstance(f, tuple) else (f, ()) for f in frames]
    frames = [
      Frame(f"a/{i:03}.jpg", i, True, tuple(people), tuple(regions))
      for i, (people, regions) in enumerate(frames)
    ]
    sides.append([Video("a", tuple(frames))])
  case = matching.Case.of(*sides, skeleton=skeleton)
  return oks.measure(case)["oks"]


def person(joints, box=None, *, skeleton=COCO, scores=None, score=1.0):
  """Someone with joints {channel: (x, y)} and perhaps edges of a box."""
  places = np.zeros((len(skeleton.joints), 2))
  labelled = np.zeros(len(skeleton.joints), bool)
  for channel, place in joints.items():
    places[channel], labelled[channel] = place, True
  return Person(
    box=None if box is None else np.array(box, np.float64),
    joints=places,
    labelled=labelled,
    scores=None if scores is None else np.array(scores, np.float32),
    box_score=score,
  )


def random_records(rng, joints):
  """COCO's annotations and results: misses, doubles, strangers, unlabelled."""
  truth, results = [], []
  for image in range(1, 12):
    for _ in range(rng.integers(0, 6)):
      # Small, medium and large people.
      size = rng.choice([25.0, 60.0, 150.0]) * rng.uniform(0.8, 1.2, 2)
      corner = rng.uniform(0, 300, 2)
      points = corner + rng.uniform(0, 1, (joints, 2)) * size
      share = rng.choice([0, 0.3, 0.9])
      seen = 2.0 * (rng.random(joints) < share)
      flat = np.concatenate([points * (seen > 0)[:, None], seen[:, None]], 1)
      truth.append(
        {
          "id": len(truth) + 1,
          "image_id": image,
          "category_id": 1,
          "keypoints": flat.ravel().tolist(),
          "num_keypoints": int(np.sum(seen > 0)),
          "bbox": [*corner.tolist(), *size.tolist()],
          "area": float(np.prod(size)),
          "iscrowd": 0,
        }
      )
      for _ in range(rng.integers(0, 3)):
        noise = rng.choice([0.005, 0.03, 0.08, 0.5]) * size
        pose = points + rng.normal(0, 1, (joints, 2)) * noise
        flat = np.concatenate([pose, np.ones((joints, 1))], 1)
        results.append(
          {
            "image_id": image,
            "category_id": 1,
            "keypoints": flat.ravel().tolist(),
            "score": float(rng.integers(1, 30)) / 32,  # with draws
          }
        )
  return truth, results


def from_record(record, skeleton):
  """A record, whose joints are the evaluated ones, as the program has it."""
  points = np.reshape(record["keypoints"], (-1, 3))
  joints = {
    channel: points[i, :2]
    for i, channel in enumerate(skeleton.evaluated)
    if points[i, 2] > 0
  }
  box = None
  if "bbox" in record:
    x, y, width, height = record["bbox"]
    box = (x, y, x + width, y + height)
  score = record.get("score", 1.0)
  return person(joints, box, skeleton=skeleton, score=score)


def by_pycocotools(truth, results, sigmas):
  """COCO's ten numbers in percent, the documented way."""
  data = coco.COCO()
  images = [{"id": i} for i in sorted({r["image_id"] for r in truth})]
  content: Any = {
    "images": images,
    "categories": [{"id": 1, "name": "person"}],
    "annotations": truth,
  }
  data.dataset = content
  data.createIndex()
  evaluator = cocoeval.COCOeval(data, data.loadRes(results), "keypoints")
  evaluator.params.kpt_oks_sigmas = np.array(sigmas)
  evaluator.evaluate()
  evaluator.accumulate()
  evaluator.summarize()
  return dict(zip(STATS, 100 * np.array(evaluator.stats), strict=True))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("skeleton", [COCO, POSETRACK], ids=lambda s: s.name)
def test_agrees_with_pycocotools(seed, skeleton):
  rng = np.random.default_rng(seed)
  truth, results = random_records(rng, len(skeleton.evaluated))
  images = sorted({record["image_id"] for record in truth})
  sides = [
    [
      [from_record(r, skeleton) for r in records if r["image_id"] == image]
      for image in images
    ]
    for records in (truth, results)
  ]
  got = measure(*sides, skeleton=skeleton)
  want = by_pycocotools(truth, results, SIGMAS[skeleton.name])
  assert list(got) == STATS
  assert got == pytest.approx(want, abs=1e-9)
  assert 5 < got["AP"] < 95 and got["AP_M"] != got["AP_L"]


def slow_oks(pose, person, sigmas):
  """Similarity of {joint: (x, y)} and such a person with an area."""
  true, area = person
  total = 0.0
  for joint, place in true.items():
    if joint in pose:
      squared = math.dist(place, pose[joint]) ** 2
      total += math.exp(-squared / (2 * area * (2 * sigmas[joint]) ** 2))
  return total / len(true)


def slow_reference(frames, sigmas):
  """(AP, AR) of frames of (people (joints, area), poses (joints, score))."""
  precisions, recalls = [], []
  count = sum(len(people) for people, _ in frames)
  for threshold in [0.5 + 0.05 * i for i in range(10)]:
    ranked = []
    for people, poses in frames:
      free = list(range(len(people)))
      for joints, score in sorted(poses, key=lambda pose: -pose[1]):
        values = [
          slow_oks(joints, people[i], sigmas) if i in free else -1.0
          for i in range(len(people))
        ]
        right = max(values) >= threshold
        if right:
          free.remove(int(np.argmax(values)))
        ranked.append((score, right))
    ranked = [right for _, right in sorted(ranked, key=lambda x: -x[0])]
    curve = []
    for n in range(1, len(ranked) + 1):
      curve.append((sum(ranked[:n]) / count, sum(ranked[:n]) / n))
    recalls.append(curve[-1][0])
    heights = [
      max([p for r, p in curve if r >= at / 100 - 1e-12], default=0.0)
      for at in range(101)
    ]
    precisions.append(sum(heights) / len(heights))
  return 100 * np.mean(precisions), 100 * np.mean(recalls)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_a_slow_reference_where_joints_are_not_predicted(seed):
  rng = np.random.default_rng(seed)
  frames, truth, predictions = [], [], []
  for _ in range(7):
    people, poses, true_people, predicted = [], [], [], []
    for _ in range(rng.integers(1, 4)):
      corner, size = rng.uniform(0, 100, 2), rng.uniform(40, 200, 2)
      points = corner + rng.uniform(0, 1, (17, 2)) * size
      joints = {j: points[j] for j in range(17) if rng.random() < 0.8}
      people.append((joints, float(np.prod(size))))
      true_people.append(person(joints, (*corner, *(corner + size))))
      noisy = points + rng.normal(0, rng.choice([1, 3, 8]), (17, 2))
      found = {j: noisy[j] for j in range(17) if rng.random() < 0.9}
      score = float(rng.random())
      poses.append((found, score))
      predicted.append(person(found, score=score))
    frames.append((people, poses))
    truth.append(true_people)
    predictions.append(predicted)
  got = measure(truth, predictions)
  ap, ar = slow_reference(frames, SIGMAS["coco"])
  assert (got["AP"], got["AR"]) == pytest.approx((ap, ar), abs=1e-9)
  assert 5 < ap < 95


def test_one_similarity_by_hand():
  # 41 x 61 pixels; the nose's sigma is 0.026, the left hip's 0.107.
  box, area = (10, 10, 51, 71), 41 * 61
  away = math.sqrt(-math.log(0.72) * 2 * area * (2 * 0.026) ** 2)
  true = person({0: (30, 20)}, box)
  got = measure([[true]], [[person({0: (30 + away, 20)})]])
  # 0.72 is right at 0.50, 0.55, 0.60, 0.65 and 0.70.
  assert got["AP"] == got["AR"] == got["AP_M"] == 50
  assert (got["AP50"], got["AP75"], got["AP_L"]) == (100, 0, None)
  # Two joints: one just right, the other not predicted.
  true = person({0: (30, 20), 11: (30, 50)}, box)
  got = measure([[true]], [[person({0: (30, 20)})]])
  assert (got["AP"], got["AP50"], got["AP75"]) == (10, 100, 0)
  # Not even if its place is known to be right.
  absent = dataclasses.replace(true, labelled=np.arange(17) == 0)
  assert measure([[true]], [[absent]])["AP"] == 10
  # The other's similarity is 0.64: 0.82 together, right up to 0.80.
  away = math.sqrt(-math.log(0.64) * 2 * area * (2 * 0.107) ** 2)
  got = measure([[true]], [[person({0: (30, 20), 11: (30, 50 - away)})]])
  assert got["AP"] == 70
  # PoseTrack's left hip has the same sigma, and another number in its order.
  true, pose = (
    person({0: (30, 20), 11: place}, box, skeleton=POSETRACK)
    for place in ((30, 50), (30, 50 - away))
  )
  assert measure([[true]], [[pose]], POSETRACK)["AP"] == 70
  # Its ears are never labelled, and not judged if they are.
  true, pose = (
    person({0: (30, 20), 3: (x, 50)}, box, skeleton=POSETRACK)
    for x in (30, 300)
  )
  assert measure([[true]], [[pose]], POSETRACK)["AP"] == 100


def spread(count, *, skeleton=COCO, **more):
  """People beside each other, with all joints."""
  return [
    person(
      {j: (100.0 * i + 3 * j, 7.0 * j) for j in range(len(skeleton.joints))},
      (100 * i, 0, 100 * i + 60, 130),
      skeleton=skeleton,
      **more,
    )
    for i in range(count)
  ]


@pytest.mark.parametrize("count", [1, 3, 23])
@pytest.mark.parametrize("skeleton", [COCO, POSETRACK], ids=lambda s: s.name)
def test_truth_as_prediction_is_exactly_100(count, skeleton):
  people = spread(count, skeleton=skeleton)  # of 60 x 130 pixels
  got = measure([people, people[:2]], [people, people[:2]], skeleton)
  assert set(got) == set(STATS)
  for name, value in got.items():
    assert value == (None if name.endswith("L") else 100), name


@pytest.mark.parametrize(
  "folder",
  [
    "posetrack18_mini/annotations/val",
    "jhmdb_mini/annotations/train",
    "bonn_tracks_mini/annotations/train",
  ],
)
def test_real_truth_as_prediction_is_exactly_100(shared_data, folder):
  truth = annotations.read_folder(shared_data / folder, skeleton=POSETRACK)
  case = matching.Case.of(truth, truth, skeleton=POSETRACK)
  got = oks.measure(case)["oks"]
  assert got["AP"] == got["AR"] == 100
  assert set(got.values()) <= {100.0, None}


def test_at_least_the_twenty_best_poses_of_a_picture_count():
  (true,) = spread(1)
  wrong = spread(22, score=0.9)[2:]  # twenty, none at the person
  right = spread(1, score=0.1)
  assert measure([[true]], [[*wrong[:19], *right]])["AR"] == 100
  assert measure([[true]], [[*wrong, *right]])["AR"] == 0


def test_poses_are_ranked_by_the_mean_of_their_joints_scores():
  (true,) = spread(1)
  (right,) = spread(1, scores=[0.6] * 9 + [0.2] * 8, score=0.1)
  wrong = spread(3, scores=[0.4] * 17, score=0.9)[2]
  # 0.41 before 0.4, whatever the boxes' scores.
  assert measure([[true]], [[wrong, right]])["AP"] == 100
  # The scores of absent joints say nothing: 0.6 before 0.4.
  low = [0.6] * 9 + [0.1] * 8  # 0.36 of all
  less = person({j: true.joints[j] for j in range(9)}, scores=low)
  assert measure([[true]], [[wrong, less]])["AP50"] == 100
  # Without joint scores it is the person's: the wrong one comes first.
  (bare,) = spread(1, score=0.3)
  assert measure([[true]], [[wrong, bare]])["AP"] == 50
  (bare,) = spread(1, score=0.5)
  assert measure([[true]], [[wrong, bare]])["AP"] == 100


def test_ignore_regions_hide_joints_on_both_sides():
  first, second = spread(2)
  region = np.array([[90, -9], [170, -9], [170, 200], [90, 200.0]])
  # The second person and a stray pose are in it.
  best = spread(2, score=2.0)[1]
  got = measure([([first, second], [region])], [[best, first]])
  assert got["AP"] == got["AR"] == 100
  assert measure([[first, second]], [[best]])["AR"] == 50
  assert measure([([first, second], [region])], [[best]])["AR"] == 0
  assert set(measure([([second], [region])], [[best]]).values()) == {None}


def test_who_is_not_labelled_is_ignored_within_twice_the_box():
  (true,) = spread(1)
  unlabelled = person({}, (300, 0, 360, 130))
  stray = spread(4, score=2.0)[3]  # at the unlabelled one
  assert measure([[true, unlabelled]], [[stray, true]])["AP"] == 100
  far = spread(7, score=2.0)[6]
  assert measure([[true, unlabelled]], [[far, true]])["AP"] == 50
  # Without a box there is nothing to ignore.
  assert measure([[true, person({})]], [[stray, true]])["AP"] == 50


def test_the_area_is_the_joints_box_where_there_is_no_other():
  # 40 x 60 around the two joints: 0.64 and 1 as above.
  true = person({0: (30, 20), 11: (70, 80)})
  away = math.sqrt(-math.log(0.64) * 2 * 2400 * (2 * 0.107) ** 2)
  got = measure([[true]], [[person({0: (30, 20), 11: (70, 80 - away)})]])
  assert got["AP"] == got["AP_M"] == 70


def test_frames_without_anybody_do_not_count():
  people = spread(2)
  strays = spread(3, score=2.0)
  assert measure([people, []], [people, strays])["AP"] == 100
  got = measure([[]], [strays])
  assert got == dict.fromkeys(STATS)
  json.dumps(got, allow_nan=False)
  assert measure([people], [[]])["AP"] == 0


def test_nothing_is_printed(capsys):
  people = spread(1)
  measure([people], [people])
  assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
  "bad", [{"score": math.nan}, {"scores": [-np.inf] * 17}]
)
def test_scores_must_be_finite(bad):
  with pytest.raises(ValueError, match=r"a: a/000.jpg: .* score is"):
    measure([spread(1)], [spread(1, **bad)])


def test_joints_must_be_finite():
  pose = person({0: (math.nan, 3)})
  with pytest.raises(ValueError, match="a: a/000.jpg: a predicted joint is no"):
    measure([spread(1)], [[pose]])


def test_the_table_has_coco_s_columns():
  result = {"oks": dict.fromkeys(STATS, 100.0) | {"AP_L": None}}
  title, head, row = table.text(*oks.tables(result)).split("\n")
  assert title == "Object keypoint similarity, %"
  assert head.split() == STATS
  assert row.split() == ["OKS"] + ["100.0"] * 4 + ["-"] + ["100.0"] * 5
