"""Proposals become people: one box each, in the picture, in one order."""

import numpy as np
import pytest

from diffpose_jax.inference import detection

SIZE = (101, 211)  # (height, width)


def plain_iou(a, b):
  width = min(a[2], b[2]) - max(a[0], b[0])
  height = min(a[3], b[3]) - max(a[1], b[1])
  common = max(width, 0) * max(height, 0)
  areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
  return common / (sum(areas) - common), common / areas[1]


def plain_suppress(boxes, overlap, cover):
  """One pair at a time, as the definition says."""
  kept = []
  for i, box in enumerate(boxes):
    pairs = [plain_iou(boxes[j], box) for j in kept]
    if all(iou <= overlap and part <= cover for iou, part in pairs):
      kept.append(i)
  return kept


def some_boxes(seed, count=83):
  rng = np.random.default_rng(seed)
  low = rng.uniform(0, 100, (count, 2))
  return np.concatenate([low, low + rng.uniform(5, 60, (count, 2))], axis=1)


@pytest.mark.parametrize("overlap", [0.1, 0.45, 0.65])
@pytest.mark.parametrize("cover", [0.6, 1.0])
def test_suppression_agrees_with_the_plain_one(overlap, cover):
  for seed in range(7):
    boxes = some_boxes(seed)
    keep = detection.suppress(boxes, overlap=overlap, cover=cover)
    assert np.flatnonzero(keep).tolist() == plain_suppress(
      boxes, overlap, cover
    )


def test_suppression_by_hand():
  # 10x10; the second shares half of its area: IoU 50 / 150 = 1/3.
  boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [40, 0, 50, 10.0]])
  assert detection.suppress(boxes, overlap=0.34).tolist() == [True, True, True]
  assert detection.suppress(boxes, overlap=0.33).tolist() == [
    *(True, False, True)
  ]
  # One that went takes nobody with it.
  chain = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10.0]])
  assert detection.suppress(chain, overlap=0.4).tolist() == [True, False, True]


def test_the_order_of_proposals_does_not_matter():
  boxes = some_boxes(3)
  scores = np.round(np.random.default_rng(5).uniform(0, 1, len(boxes)), 1)
  wanted = detection.select(
    boxes, scores, size=SIZE, threshold=0.2, overlap=0.5
  )
  assert len(wanted.scores) > 10
  assert (np.diff(wanted.scores) <= 0).all()
  for seed in range(5):
    order = np.random.default_rng(seed).permutation(len(boxes))
    found = detection.select(
      boxes[order], scores[order], size=SIZE, threshold=0.2, overlap=0.5
    )
    np.testing.assert_array_equal(found.boxes, wanted.boxes)
    np.testing.assert_array_equal(found.scores, wanted.scores)


def test_boxes_end_at_the_picture_and_scores_at_one():
  boxes = np.array(
    [
      [-30, -20, 50, 40],
      [190, 90, 400, 400],
      [211, 5, 250, 50],  # beyond the right edge
      [210, 60, 250, 90],  # half a pixel is left of it
      [10, 50, 20, 50.5],
    ]
  )
  scores = np.array([0.9, 1.2, 0.8, 0.7, 0.6])
  found = detection.select(boxes, scores, size=SIZE, threshold=0.1, overlap=0.5)
  np.testing.assert_array_equal(
    found.boxes, [[190, 90, 210.5, 100.5], [-0.5, -0.5, 50, 40]]
  )
  np.testing.assert_array_equal(found.scores, np.array([1, 0.9], np.float32))
  assert found.boxes.dtype == found.scores.dtype == np.float32


def test_the_threshold_itself_is_enough():
  boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10.0]])
  scores = np.array([0.7, 0.69999], np.float32)
  found = detection.select(boxes, scores, size=SIZE, threshold=0.7, overlap=0.5)
  np.testing.assert_array_equal(found.scores, np.array([0.7], np.float32))


@pytest.mark.parametrize("count", [0, 3])
def test_nobody(count):
  found = detection.select(
    np.tile([0.0, 0, 10, 10], (count, 1)),
    np.full(count, 0.1),
    size=SIZE,
    threshold=0.2,
    overlap=0.5,
  )
  assert found.boxes.shape == (0, 4)
  assert found.scores.shape == (0,)


def test_a_crowd_is_bounded():
  count = 1201
  x = np.arange(count) * 20.0
  boxes = np.stack([x, 0 * x, x + 10, 0 * x + 10], axis=1)
  scores = np.linspace(0.9, 0.5, count)
  found = detection.select(
    boxes, scores, size=(11, 30011), threshold=0.2, overlap=0.5
  )
  assert len(found.scores) == detection.MOST
  np.testing.assert_array_equal(
    found.boxes[:, 0], x[: detection.MOST].astype(np.float32)
  )


@pytest.mark.parametrize(
  ("box", "score", "match"),
  [
    ([0, 0, np.nan, 10], 0.9, "not finite"),
    ([0, 0, np.inf, 10], 0.9, "not finite"),
    ([0, 0, 10, 10], np.nan, "not numbers"),
  ],
)
def test_numbers_that_are_none(box, score, match):
  with pytest.raises(ValueError, match=match):
    detection.select(
      np.array([box], float),
      np.array([score]),
      size=SIZE,
      threshold=0.2,
      overlap=0.5,
    )


def test_what_scores_too_little_may_be_anything():
  found = detection.select(
    np.array([[np.nan] * 4, [1, 2, 13, 14]]),
    np.array([0.1, 0.5]),
    size=SIZE,
    threshold=0.2,
    overlap=0.5,
  )
  np.testing.assert_array_equal(found.boxes, [[1, 2, 13, 14]])
