import contextlib
import dataclasses
import io
import json
from typing import Any

import numpy as np
import pytest
from pycocotools import coco

from diffpose_jax.data import result_coco


@pytest.fixture
def records(tmp_path, recorded):
  result_coco.write(tmp_path / "a.coco.json", recorded.head, recorded.frames)
  return json.loads((tmp_path / "a.coco.json").read_text())


def test_each_person_is_there_as_coco_has_it(records, recorded):
  people = [(f.image_id, p) for f in recorded.frames for p in f.people]
  assert len(records) == len(people) == 7
  for record, (frame, person) in zip(records, people, strict=True):
    assert (record["image_id"], record["category_id"]) == (frame, 1)
    points = np.array(record["keypoints"]).reshape(17, 3)
    known = person.labelled
    np.testing.assert_array_equal(
      points[known].astype(np.float32),
      np.column_stack([person.joints, person.scores])[known],
    )
    np.testing.assert_array_equal(points[~known], 0)
    # The mean over the 15 of 17 joints that are predicted.
    mean = sum(float(s) for s in person.scores) / 15
    assert record["score"] == pytest.approx(mean, abs=1e-12)
    x, y, width, height = record["bbox"]
    assert [x, y, x + width, y + height] == person.box.tolist()
    assert record.get("track_id", -1) == person.track_id


def test_pycocotools_takes_it(tmp_path, records):
  truth = coco.COCO()
  content: Any = {
    "images": [{"id": i} for i in range(7)],
    "categories": [{"id": 1, "name": "person"}],
    "annotations": [],
  }
  truth.dataset = content
  with contextlib.redirect_stdout(io.StringIO()):
    truth.createIndex()
    found = truth.loadRes(str(tmp_path / "a.coco.json"))
  assert [len(found.getAnnIds(i)) for i in range(7)] == [0, 2, 0, 1, 3, 1, 0]
  first: Any = found.loadAnns(found.getAnnIds(4)[2])[0]
  assert first["keypoints"] == records[5]["keypoints"]
  assert first["area"] == pytest.approx(87.2 * 180.6, rel=1e-5)


def test_without_a_box_it_is_that_around_the_joints(tmp_path, recorded):
  frame = recorded.frames[3]
  person = dataclasses.replace(frame.people[0], box=None)
  nobody = dataclasses.replace(person, labelled=np.zeros(17, bool))
  frame = dataclasses.replace(frame, people=(person, nobody))
  path = tmp_path / "a.coco.json"
  result_coco.write(path, recorded.head, [frame])
  first, second = json.loads(path.read_text())
  joints = person.joints[person.labelled].astype(float)
  x, y, width, height = first["bbox"]
  assert [x, y] == joints.min(axis=0).tolist()
  assert [x + width, y + height] == joints.max(axis=0).tolist()
  assert (second["bbox"], second["score"]) == ([0, 0, 0, 0], 0)
  assert second["keypoints"] == [0] * 51


def test_nobody_is_an_empty_list(tmp_path, recorded):
  path = tmp_path / "a.coco.json"
  result_coco.write(path, recorded.head, recorded.frames[:1])
  assert json.loads(path.read_text()) == []
