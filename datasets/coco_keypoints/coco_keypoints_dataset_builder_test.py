"""COCO goes from its files to an open split in its own joints."""

import json

import cv2
import numpy as np
import pytest

from diffpose_jax.data import prepare, prepared
from diffpose_jax.pose import skeleton

COCO = skeleton.COCO


@pytest.fixture
def root(tmp_path):
  """Two pictures; one has a person of two joints, the other a crowd."""
  folder = tmp_path / "coco"
  (folder / "annotations").mkdir(parents=True)
  (folder / "val2017").mkdir()
  for name, shape in ((7, (31, 37, 3)), (9, (41, 43))):  # the second is grey
    picture = np.full(shape, 90, np.uint8)
    cv2.imwrite(str(folder / "val2017" / f"{name:012d}.jpg"), picture)
  points = np.zeros((17, 3), int)
  points[0], points[16] = (3, 5, 2), (11, 13, 1)
  person = {
    "id": 1,
    "image_id": 7,
    "category_id": 1,
    "iscrowd": 0,
    "num_keypoints": 2,
    "keypoints": points.reshape(-1).tolist(),
    "bbox": [2, 3, 19, 23],
  }
  crowd = person | {
    "id": 2,
    "image_id": 7,
    "iscrowd": 1,
    "num_keypoints": 0,
    "keypoints": [0] * 51,
    "bbox": [0, 0, 5, 7],
  }
  record = {
    "images": [
      {"id": 7, "file_name": f"{7:012d}.jpg", "height": 31, "width": 37},
      {"id": 9, "file_name": f"{9:012d}.jpg", "height": 41, "width": 43},
    ],
    "annotations": [person, crowd, person | {"id": 3, "image_id": 9}],
    "categories": [{"id": 1, "name": "person", "keypoints": list(COCO.joints)}],
  }
  path = folder / "annotations" / "person_keypoints_val2017.json"
  path.write_text(json.dumps(record))
  return folder


def test_a_picture_is_a_video_of_one_frame(root, tmp_path, capsys):
  out = prepare.prepare(dataset="coco", source=root, out=tmp_path / "out")
  table = capsys.readouterr().out.splitlines()[-1].split(None, 7)
  assert table[:7] == ["val", "2", "2", "2", "2", "4", "0"]
  assert table[7] == "subset of 2 videos (2346 in COCO 2017)"
  split = prepared.open_split(out, "val")
  assert split.skeleton == COCO
  assert split.videos == (f"{7:012d}", f"{9:012d}")
  np.testing.assert_array_equal(split.people.box, [[2, 3, 21, 26]] * 2)
  np.testing.assert_array_equal(
    split.people.labelled, [np.isin(np.arange(17), (0, 16))] * 2
  )
  assert split.people.occluded[0].tolist() == [False] * 16 + [True]
  assert split.regions.frame.tolist() == [0]


def test_in_posetracks_joints(root, tmp_path):
  out = prepare.prepare(dataset="coco", source=root, out=tmp_path / "out")
  split = prepared.open_split(out, "val", skeleton=skeleton.POSETRACK)
  found = np.flatnonzero(split.people.labelled[0])
  names = [skeleton.POSETRACK.joints[i] for i in found]
  assert names == ["nose", "right_ankle"]
  np.testing.assert_array_equal(
    split.people.joints[0][found], [[3, 5], [11, 13]]
  )


def test_another_year_is_called_by_its_name(root, tmp_path):
  folder = root / "annotations"
  old, new = (f"person_keypoints_val{year}.json" for year in (2017, 2014))
  (folder / old).rename(folder / new)
  (root / "val2017").rename(root / "val2014")
  out = prepare.prepare(dataset="coco", source=root, out=tmp_path / "out")
  labels = prepared.open_split(out, "val").labels
  assert labels.startswith("COCO 2014, not 2017: ")
