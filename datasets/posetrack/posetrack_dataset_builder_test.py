"""The builder keeps order, bytes and labels, and needs no TensorFlow."""

import shutil
import sys

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from diffpose_jax.data import annotations, build, prepare, prepared
from diffpose_jax.pose import skeleton


def _frame(video, position, labelled):
  person = annotations.Person(
    box=np.array([3, 5, 20, 30], np.float32),
    joints=np.full((17, 2), 7.25, np.float32),
    labelled=np.arange(17) < 2,
    track_id=11,
  )
  return annotations.Frame(
    file_name=f"images/train/{video}/{position:06d}.jpg",
    image_id=10**12 + position,
    labelled=labelled,
    people=(person,) if labelled else (),
    ignore_regions=(np.array([[0, 0], [4, 0], [4, 3]], np.float32),),
    height=31,
    width=37,
  )


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  """Two videos of 13 and 3 frames; frame 1 of each is labelled, 2 missing."""
  folder = tmp_path_factory.mktemp("posetrack")
  for video, count in (("b_video", 13), ("a_video", 3)):
    frames = tuple(_frame(video, f, f == 1) for f in range(count))
    (folder / "annotations" / "train").mkdir(parents=True, exist_ok=True)
    (folder / "images" / "train" / video).mkdir(parents=True)
    annotations.write_video(
      folder / "annotations" / "train" / f"{video}.json",
      annotations.Video(video, frames),
      skeleton=skeleton.POSETRACK,
    )
    for position, frame in enumerate(frames):
      if position != 2:
        picture = np.full((31, 37, 3), 10 * position, np.uint8)
        cv2.imwrite(str(folder / frame.file_name), picture)
  return folder


@pytest.fixture(scope="module")
def builder(root, tmp_path_factory):
  module = build.load_builder("posetrack")
  data = tmp_path_factory.mktemp("data")
  result = module.Builder(data_dir=data, file_format="array_record")
  result.download_and_prepare(
    download_dir=data / "downloads",
    download_config=tfds.download.DownloadConfig(manual_dir=root),
  )
  return result


def test_info_is_complete(builder):
  assert builder.info.full_name == "posetrack/2018/1.0.0"
  assert builder.info.splits["train"].num_examples == 14
  assert "posetrack.net" in builder.info.description
  assert "2018" in builder.info.citation
  assert "tensorflow" not in sys.modules


def test_records_are_in_order_with_the_missing_frame_left_out(builder):
  records = list(builder.as_data_source("train"))
  order = [(r["video"].decode(), int(r["frame_index"])) for r in records]
  kept = [f for f in range(13) if f != 2]
  assert order == [("a_video", 0), ("a_video", 1)] + [
    ("b_video", f) for f in kept
  ]
  assert [int(r["num_frames"]) for r in records] == [3] * 2 + [13] * 12
  # JPEG keeps a flat grey to a level or two.
  for record, (_, position) in zip(records, order, strict=True):
    assert abs(int(record["image"][15, 15, 0]) - 10 * position) <= 2


def test_labels_are_kept(builder):
  record = builder.as_data_source("train")[1]
  assert bool(record["labelled"])
  assert int(record["image_id"]) == 10**12 + 1
  people = record["people"]
  np.testing.assert_array_equal(people["box"][0], [3, 5, 20, 30])
  assert np.isnan(people["head_box"][0]).all()
  np.testing.assert_array_equal(people["labelled"][0], np.arange(17) < 2)
  np.testing.assert_array_equal(people["joints"][0][0], [7.25, 7.25])
  assert int(people["track_id"][0]) == 11
  assert not people["occlusion_known"][0]
  np.testing.assert_array_equal(record["ignore_sizes"], [3])
  np.testing.assert_array_equal(record["ignore_points"][2], [4, 3])


@pytest.mark.parametrize(
  ("dataset", "folder", "other"),
  [
    ("posetrack18", "annotations", "posetrack21"),
    ("posetrack21", "posetrack_data", "posetrack18"),
  ],
)
def test_labels_of_the_other_release_are_never_taken(
  root, tmp_path, dataset, folder, other
):
  """Both have as many videos, of the same names and pictures."""
  source, out = tmp_path / "source", tmp_path / "out"
  shutil.copytree(root, source)
  (source / "annotations").rename(source / "wrong")
  labels = {"annotations": "posetrack_data", "posetrack_data": "annotations"}
  (source / "wrong").rename(source / labels[folder])
  with pytest.raises(ValueError, match=f"{labels[folder]}/; .*={other}$"):
    prepare.prepare(dataset=dataset, source=source, out=out)
  # Beside its own labels the others are passed over, and their splits.
  shutil.copytree(root / "annotations", source / folder)
  (source / folder / "train" / "b_video.json").unlink()
  (source / labels[folder] / "train").rename(source / labels[folder] / "val")
  prepare.prepare(dataset=dataset, source=source, out=out)
  assert prepared.split_names(out) == ["train"]
  assert prepared.open_split(out, "train").videos == ("a_video",)


def test_labels_of_2017_are_not_those_of_2018(root, tmp_path):
  with pytest.raises(ValueError, match=r"_video\.json.*annolist"):
    prepare.prepare(dataset="posetrack17", source=root, out=tmp_path / "out")
