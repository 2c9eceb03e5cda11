"""Data of one's own, with joints of one's own, becomes an open split."""

import json

import cv2
import numpy as np
import pytest

from diffpose_jax.data import prepare, prepared
from diffpose_jax.pose import skeleton

JOINTS = ["left_paw", "right_paw", "tail"]


@pytest.fixture
def root(tmp_path):
  """One clip of two PNG frames, an animal of three joints in the second."""
  folder = tmp_path / "own"
  (folder / "annotations").mkdir(parents=True)
  (folder / "clip").mkdir()
  for i in range(2):
    picture = np.full((23, 29, 3), 50 * i, np.uint8)
    cv2.imwrite(str(folder / "clip" / f"{i}.png"), picture)
  names = {"name": "cat", "joints": JOINTS, "limbs": [["left_paw", "tail"]]}
  names["pairs"] = [["left_paw", "right_paw"]]
  (folder / "skeleton.json").write_text(json.dumps(names))
  animal = {
    "id": 1,
    "image_id": 2,
    "category_id": 1,
    "track_id": 5,
    "keypoints": [20, 5, 2, 3, 7, 2, 0, 0, 0],
    "bbox": [1, 2, 19, 17],
  }
  record = {
    "images": [
      {"id": 1, "file_name": "clip/0.png"},
      {"id": 2, "file_name": "clip/1.png"},
    ],
    "annotations": [animal],
    "categories": [{"id": 1, "name": "cat", "keypoints": JOINTS}],
  }
  (folder / "annotations" / "train.json").write_text(json.dumps(record))
  return folder


def test_any_joints_are_prepared(root, tmp_path):
  out = prepare.prepare(dataset="custom", source=root, out=tmp_path / "out")
  prepare.verify(out)
  split = prepared.open_split(out, "train")
  assert list(split.skeleton.joints) == JOINTS
  assert split.skeleton.pairs == ((0, 1),)
  np.testing.assert_array_equal(
    split.people.joints, [[[20, 5], [3, 7], [0, 0]]]
  )
  assert split.people.labelled.tolist() == [[True, True, False]]
  assert split.frames.labelled.tolist() == [False, True]
  assert split.jpeg(1) == (root / "clip" / "1.png").read_bytes()


def test_another_skeleton_of_other_joints_is_refused(root, tmp_path):
  out = prepare.prepare(dataset="custom", source=root, out=tmp_path / "out")
  with pytest.raises(ValueError, match="has none of the joints of posetrack"):
    prepared.open_split(out, "train", skeleton=skeleton.POSETRACK)


def test_a_root_without_a_skeleton_says_so(root, tmp_path):
  (root / "skeleton.json").unlink()
  with pytest.raises(ValueError, match=r"skeleton\.json"):
    prepare.prepare(dataset="custom", source=root, out=tmp_path / "out")
  assert not (tmp_path / "out").exists()
