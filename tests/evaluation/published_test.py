"""The papers' numbers: their own arithmetic, and whom they stand beside."""

import pytest

from diffpose_jax.evaluation import published

_DATASETS = ("posetrack17", "posetrack18", "posetrack21")
_ALL = [
  (dataset, row)
  for dataset in _DATASETS
  for boxes in (published.DETECTED, published.GROUND_TRUTH)
  for row in published.rows(dataset, boxes)
]
# Their source states a mean that the parts do not give.
_DEVIATING = {
  ("posetrack17", "DiffusionPose"),
  ("posetrack21", "DiffusionPose"),
}
_BESIDE = {
  "data": "posetrack18",
  "split": "val",
  "videos": 170,
  "boxes": "detections of a.json",
}


@pytest.mark.parametrize(("dataset", "row"), _ALL)
def test_means_are_over_fifteen_joints(dataset, row):
  """Three of the head and two of each other group."""
  values = row.values
  if any(value is None for value in values.values()):
    assert values["total"] is not None
    return
  parts = sum(v for k, v in values.items() if k not in ("head", "total"))
  mean = (3 * values["head"] + 2 * parts) / 15
  near = abs(mean - values["total"]) <= 0.2
  assert near != ((dataset, row.method) in _DEVIATING)


def test_the_papers_own_rows_are_there():
  for dataset, mean in zip(_DATASETS, (86.4, 83.0, 82.9), strict=True):
    rows = {row.method: row for row in published.rows(dataset, "detected")}
    assert rows["DiffPose"].values["total"] == mean
    means = [row.values["total"] for row in rows.values()]
    assert means == sorted(means, key=lambda value: -(value or 0))


def test_rows_are_of_the_same_boxes():
  detected = published.compare(_BESIDE)
  given = published.compare(_BESIDE | {"boxes": "ground truth"})
  assert {row.boxes for row in detected.rows} == {published.DETECTED}
  assert {row.boxes for row in given.rows} == {published.GROUND_TRUTH}
  assert "not measured here" in detected.note
  assert published.compare(_BESIDE | {"data": "PoseTrack2018"}).rows


@pytest.mark.parametrize(
  ("change", "why"),
  [
    ({"data": "jhmdb"}, "the data are jhmdb, not PoseTrack's"),
    ({"data": ""}, "the data are not named"),
    ({"split": "train"}, "not of 'train'"),
    ({"videos": 3}, r"3 videos are not the whole validation set \(74 or 170\)"),
    ({"boxes": ""}, "does not say whose boxes"),
  ],
)
def test_no_rows_where_nothing_may_be_compared(change, why):
  found = published.compare(_BESIDE | change)
  assert found.rows == ()
  with pytest.raises(AssertionError, match=why):
    raise AssertionError(found.note)
