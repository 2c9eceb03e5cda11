"""Folders in PoseTrack18's layout are read for what they hold."""

import os

import pytest

from diffpose_jax.data import annotations, layout
from diffpose_jax.pose import skeleton


def _video(root, split="train"):
  videos = annotations.read_split(root, split, skeleton=skeleton.POSETRACK)
  return videos[0]


def test_splits_are_the_folders_with_json(tmp_path, scene):
  scene.write(tmp_path, "val", videos=1, frames=1)
  scene.write(tmp_path, "train", videos=1, frames=1)
  (tmp_path / "annotations" / "empty").mkdir()
  (tmp_path / "results.json").write_text("{}")
  (tmp_path / "annotations" / "synthetic.json").write_text("{}")
  assert layout.splits(tmp_path) == ["train", "val"]


def test_splits_of_the_2021_layout(tmp_path, scene):
  scene.write(tmp_path, "val", videos=1, frames=1)
  (tmp_path / "annotations").rename(tmp_path / "posetrack_data")
  assert layout.splits(tmp_path) == ["val"]


@pytest.mark.parametrize(
  ("name", "state"), [("absent", "does not exist"), (".", "is empty")]
)
def test_root_without_annotations_says_how_to_get_them(tmp_path, name, state):
  with pytest.raises(ValueError, match=f"{state}.*https://posetrack.net"):
    layout.splits(tmp_path / name)


def test_missing_unlabelled_pictures_are_passed_over(tmp_path, scene):
  scene.write(
    tmp_path, "train", labelled=lambda f: f == 3, missing=(0, 5), videos=1
  )
  assert layout.present(tmp_path, _video(tmp_path)) == [1, 2, 3, 4, 6]


def test_a_missing_labelled_picture_is_named(tmp_path, scene):
  scene.write(tmp_path, "train", missing=(4,), videos=1)
  with pytest.raises(ValueError, match=r"000004\.jpg: picture of a labelled"):
    layout.present(tmp_path, _video(tmp_path))


def test_a_video_without_any_picture_is_refused(tmp_path, scene):
  scene.write(
    tmp_path,
    "train",
    frames=2,
    missing=(0, 1),
    labelled=lambda f: False,
    videos=1,
  )
  with pytest.raises(ValueError, match="none of the 2 pictures"):
    layout.present(tmp_path, _video(tmp_path))


def test_fingerprint_sees_pictures_and_labels_only(tmp_path, scene):
  scene.write(tmp_path, "train", videos=1, frames=2)
  first = layout.fingerprint(tmp_path)
  (tmp_path / "notes.txt").write_text("hello")
  (tmp_path / "results.json").write_text("{}")
  (tmp_path / "annotations" / "synthetic.json").write_text("{}")
  assert layout.fingerprint(tmp_path) == first
  picture = next(tmp_path.rglob("000001.jpg"))
  os.utime(picture, ns=(0, 12345))
  second = layout.fingerprint(tmp_path)
  assert second != first
  labels = next(tmp_path.rglob("000000_train.json"))
  os.utime(labels, ns=(0, 12345))
  third = layout.fingerprint(tmp_path)
  assert third not in (first, second)
  picture.unlink()
  assert layout.fingerprint(tmp_path) not in (first, second, third)
