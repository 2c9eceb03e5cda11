"""Prepared tables hold what the annotation files say, unchanged."""

import json
import shutil

import numpy as np
import pytest

from diffpose_jax.data import annotations, images, prepare, prepared
from diffpose_jax.pose import skeleton

POSETRACK = skeleton.POSETRACK


def _open(folder, split="train"):
  return prepared.open_split(folder, split, skeleton=POSETRACK)


def _assert_same(found, expected):
  """Videos agree field by field, arrays bit for bit."""
  assert [video.name for video in found] == [video.name for video in expected]
  for a, b in zip(found, expected, strict=True):
    assert len(a.frames) == len(b.frames)
    for one, other in zip(a.frames, b.frames, strict=True):
      assert (one.file_name, one.image_id) == (other.file_name, other.image_id)
      assert one.labelled == other.labelled
      assert len(one.people) == len(other.people)
      assert len(one.ignore_regions) == len(other.ignore_regions)
      for x, y in zip(one.ignore_regions, other.ignore_regions, strict=True):
        np.testing.assert_array_equal(x, y)
      for x, y in zip(one.people, other.people, strict=True):
        for name in ("box", "joints", "labelled", "head_box", "occluded"):
          a_value, b_value = getattr(x, name), getattr(y, name)
          assert (a_value is None) == (b_value is None), name
          if a_value is not None:
            np.testing.assert_array_equal(a_value, b_value)
        assert x.track_id == y.track_id
        np.testing.assert_allclose((x.blur, x.speed), (y.blur, y.speed))


def test_records_stand_in_video_and_frame_order(dots):
  split = _open(dots)
  assert split.videos == ("000000_train", "000001_train")
  assert split.frames.video.tolist() == [0] * 7 + [1] * 7
  assert split.frames.frame_index.tolist() == [*range(7)] * 2
  assert set(split.frames.num_frames) == {7}
  assert split.people.frame.tolist() == list(range(14))


def test_labels_survive_the_way_through_records(dots):
  source = dots.parent / "source"
  for name in ("train", "val"):
    expected = annotations.read_split(source, name, skeleton=POSETRACK)
    _assert_same(prepared.to_videos(_open(dots, name)), expected)


def test_tables_from_records_are_those_from_the_file(dots, tmp_path):
  bare = shutil.copytree(dots, tmp_path / "bare")
  (bare / "tables-train.npz").unlink()
  (bare / "prepared.json").unlink()
  one, other = _open(dots), _open(bare)
  assert one.videos == other.videos
  for table in ("frames", "people", "regions"):
    for name, value in vars(getattr(one, table)).items():
      found = getattr(getattr(other, table), name)
      assert found.dtype == value.dtype
      np.testing.assert_array_equal(found, value)


def test_pictures_keep_the_bytes_of_their_files(dots):
  split = _open(dots)
  for row in (0, 8, 13):
    path = dots.parent / "source" / split.frames.file_name[row]
    assert split.jpeg(row) == path.read_bytes()


def test_optional_fields_survive(tmp_path, scene):
  occluded = np.arange(17) % 3 == 0
  scene.write(
    tmp_path / "source",
    "val",
    videos=1,
    frames=2,
    occluded=occluded,
    blur=2.5,
    speed=7.25,
    box=None,
    head_box=None,
  )
  out = prepare.prepare(
    dataset="posetrack18", source=tmp_path / "source", out=tmp_path / "out"
  )
  (video,) = prepared.to_videos(_open(out, "val"))
  person = video.frames[1].people[0]
  np.testing.assert_array_equal(person.occluded, occluded)
  assert (person.blur, person.speed) == (2.5, 7.25)
  assert person.box is None
  assert person.head_box is None


def test_a_split_without_people_opens(tmp_path, scene):
  scene.write(
    tmp_path / "source", "test", videos=1, frames=2, labelled=lambda f: False
  )
  out = prepare.prepare(
    dataset="posetrack18", source=tmp_path / "source", out=tmp_path / "out"
  )
  split = _open(out, "test")
  assert split.people.joints.shape == (0, 17, 2)
  assert len(prepared.to_videos(split)[0].frames) == 2


def test_missing_folder_and_split_are_explained(dots, tmp_path):
  with pytest.raises(ValueError, match=r"no prepared data here.*prepare"):
    _open(tmp_path)
  with pytest.raises(ValueError, match="no split 'test'; there is train, val"):
    _open(dots, "test")


def test_damaged_folder_is_explained(dots, tmp_path):
  copy = shutil.copytree(dots, tmp_path / "copy")
  (copy / "prepared.json").unlink()  # so that damage is met while reading
  (copy / "dataset_info.json").write_text("{")
  with pytest.raises(ValueError, match="is damaged"):
    _open(copy)
  info = json.loads((dots / "dataset_info.json").read_text())
  (copy / "dataset_info.json").write_text(json.dumps(info))
  (copy / "tables-train.npz").write_bytes(b"PK")
  with pytest.raises(ValueError, match=r"tables-train\.npz"):
    _open(copy)


def test_tables_of_another_build_are_refused(dots, tmp_path):
  copy = shutil.copytree(dots, tmp_path / "copy")
  (copy / "prepared.json").unlink()
  shutil.copy(copy / "tables-val.npz", copy / "tables-train.npz")
  with pytest.raises(ValueError, match="14 records but 3 rows"):
    _open(copy)


def test_real_sets_come_through(shared_data, tmp_path):
  for name, split, counts in (
    ("jhmdb_mini", "train", (2, None)),
    ("posetrack18_mini", "val", (3, 14)),
  ):
    source = shared_data / name
    out = prepare.prepare(dataset="jhmdb", source=source, out=tmp_path / name)
    found = _open(out, split)
    expected = annotations.read_split(source, split, skeleton=POSETRACK)
    _assert_same(prepared.to_videos(found), expected)
    assert len(found.videos) == counts[0]
    assert counts[1] in (None, len(found.people))
    picture = images.decode(found.jpeg(0), place="first")
    size = (int(found.frames.height[0]), int(found.frames.width[0]))
    assert picture.shape == (*size, 3)


def test_identity_is_of_pictures_and_labels(tmp_path, scene):
  """Not of when, where or how often they were prepared."""

  def identity(name, **changes):
    source = tmp_path / f"{name}-source"
    scene.write(source, "train", videos=1, frames=3, **changes)
    scene.write(source, "val", videos=1, frames=2)
    out = prepare.prepare(
      dataset="posetrack18", source=source, out=tmp_path / name
    )
    splits = [prepared.open_split(out, split) for split in ("train", "val")]
    return [prepared.identity(split) for split in splits], source

  first, _ = identity("a")
  again, other = identity("b")
  assert first == again and first[0] != first[1]
  changed, _ = identity("c", track_id=6)
  assert changed[0] != first[0] and changed[1] == first[1]
  # Another picture under the same labels.
  picture = next(other.glob("images/train/*/*.jpg"))
  following = sorted(picture.parent.iterdir())[-1]
  picture.write_bytes(following.read_bytes())
  out = prepare.prepare(dataset="posetrack18", source=other, out=tmp_path / "d")
  split = prepared.open_split(out, "train")
  assert prepared.identity(split) != first[0]
