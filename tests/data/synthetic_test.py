"""Rendered splits: layout, determinism, resuming, refusals."""

import json
import pathlib

import cv2
import numpy as np
import pytest

from diffpose_jax.data import synthetic

_SIZE = (101, 131)


def _render(root, videos=3, **changes):
  options = {
    "split": "val",
    "frames": 3,
    "size": _SIZE,
    "seed": 7,
    "difficulty": "hard",
    "progress": False,
  }
  synthetic.render_split(root, videos=videos, **(options | changes))


def _contents(root):
  return {
    str(path.relative_to(root)): path.read_bytes()
    for path in sorted(pathlib.Path(root).rglob("*"))
    if path.is_file()
  }


@pytest.fixture(scope="module")
def split(tmp_path_factory):
  root = tmp_path_factory.mktemp("synthetic")
  _render(root)
  return root


@pytest.fixture(scope="module")
def records(split):
  paths = sorted((split / "annotations" / "val").glob("*.json"))
  return [json.loads(path.read_text()) for path in paths]


def test_bytes_do_not_depend_on_workers(split, tmp_path):
  _render(tmp_path, workers=2)
  assert _contents(tmp_path) == _contents(split)
  assert len(_contents(split)) == 3 * 3 + 3 + 1


def test_seed_split_and_index_change_the_pictures(split, tmp_path):
  _render(tmp_path, videos=1, seed=8)
  name = "images/val/600000_synthetic_val/000000.jpg"
  assert (tmp_path / name).read_bytes() != (split / name).read_bytes()
  other = name.replace("600000", "600001")
  assert (split / other).read_bytes() != (split / name).read_bytes()
  _render(tmp_path, videos=1, split="train", seed=7)
  train = "images/train/500000_synthetic_train/000000.jpg"
  assert (tmp_path / train).read_bytes() != (split / name).read_bytes()


def test_interrupted_call_finishes_only_what_is_missing(split, tmp_path):
  _render(tmp_path, videos=2)
  kept = tmp_path / "annotations/val/600000_synthetic_val.json"
  lost = tmp_path / "annotations/val/600001_synthetic_val.json"
  lost.unlink()
  (tmp_path / "images/val/600001_synthetic_val/000002.jpg").unlink()
  before = kept.stat().st_mtime_ns
  _render(tmp_path, videos=3)
  assert kept.stat().st_mtime_ns == before
  assert _contents(tmp_path) == _contents(split)


def test_layout_is_posetrack18s(split, records):
  identities = set()
  for record in records:
    assert set(record) == {"images", "annotations", "categories"}
    joints = record["categories"][0]["keypoints"]
    assert joints[:3] == ["nose", "head_bottom", "head_top"]
    assert joints[15:] == ["left_ankle", "right_ankle"]
    assert len(record["images"]) == 3
    for number, image in enumerate(record["images"]):
      video = f"{image['vid_id']}_synthetic_val"
      assert image["file_name"] == f"images/val/{video}/{number:06d}.jpg"
      assert image["id"] == int(f"1{image['vid_id']}{number:04d}")
      assert image["id"] == image["frame_id"]
      assert image["nframes"] == 3
      assert image["is_labeled"]
      assert len(image["ignore_regions_x"]) == len(image["ignore_regions_y"])
      pixels = cv2.imread(str(split / image["file_name"]))
      assert pixels is not None
      assert pixels.shape == (*_SIZE, 3)
      assert (image["height"], image["width"]) == _SIZE
      identities.add(image["id"])
  assert len(identities) == 9


def test_keys_are_those_of_real_annotations(shared_data, records):
  path = shared_data / "jhmdb/annotations/val/910001_jhmdb_val.json"
  real = json.loads(path.read_text())
  ours = records[0]
  assert set(ours["images"][0]) == set(real["images"][0])
  extra = {"occluded", "blur", "speed"}
  derived = {"bbox_head_derived"}
  assert set(ours["annotations"][0]) - extra == (
    set(real["annotations"][0]) - derived
  )
  assert ours["categories"] == real["categories"]


def test_annotations_are_consistent(records):
  people = [person for record in records for person in record["annotations"]]
  assert len(people) >= 9
  assert len({person["id"] for person in people}) == len(people)
  for person in people:
    joints = np.array(person["keypoints"]).reshape(17, 3)
    labelled = joints[:, 2] == 1
    assert person["num_keypoints"] == labelled.sum() >= 3
    np.testing.assert_array_equal(joints[~labelled], 0)
    assert not labelled[3:5].any()  # ears are never annotated
    x, y, w, h = person["bbox"]
    low, high = np.array([x, y]), np.array([x + w, y + h])
    assert (joints[labelled, :2] >= low - 0.01).all()
    assert (joints[labelled, :2] <= high + 0.01).all()
    assert (low >= 0).all()
    assert (high <= np.array([_SIZE[1] - 1, _SIZE[0] - 1])).all()
    assert len(person["occluded"]) == 17
    assert not np.array(person["occluded"])[~labelled].any()
    assert person["blur"] >= 0
    assert person["speed"] >= 0
    hx, hy, hw, hh = person["bbox_head"]
    for joint in (0, 1, 2):
      if labelled[joint]:
        assert hx - 0.01 <= joints[joint, 0] <= hx + hw + 0.01
        assert hy - 0.01 <= joints[joint, 1] <= hy + hh + 0.01


def test_tracks_are_people(records):
  for record in records:
    for image in record["images"]:
      tracks = [
        person["track_id"]
        for person in record["annotations"]
        if person["image_id"] == image["id"]
      ]
      assert len(tracks) == len(set(tracks))
      assert image["has_labeled_person"] == bool(tracks)


def test_root_with_other_settings_is_refused(split):
  before = _contents(split)
  with pytest.raises(ValueError, match="seed 7 there, 9 asked"):
    _render(split, seed=9)
  with pytest.raises(ValueError, match="difficulty hard there, easy asked"):
    _render(split, difficulty="easy")
  assert _contents(split) == before


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"difficulty": "medium"}, "choose one of: simple, hidden, front, easy"),
    ({"videos": 0}, "videos must be"),
    ({"frames": 0}, "frames per video"),
    ({"size": (16, 64)}, "at least 32 x 32"),
    ({"split": "../val"}, "plain word"),
  ],
)
def test_bad_settings_are_refused(tmp_path, change, message):
  with pytest.raises(ValueError, match=message):
    _render(tmp_path, **change)
  assert not any(tmp_path.iterdir())


def test_broken_manifest_is_named(tmp_path):
  (tmp_path / "annotations").mkdir()
  (tmp_path / "annotations" / "synthetic.json").write_text("{")
  with pytest.raises(ValueError, match=r"synthetic\.json is not JSON"):
    _render(tmp_path)


def test_contact_sheet_shows_people(split):
  sheet = synthetic.contact_sheet(split, "val", rows=2, columns=3, cell=53)
  assert sheet.shape == (106, 159, 3)
  assert sheet.dtype == np.uint8
  assert sheet[:53, :53].std() > 3
  assert sheet[53:, 53:106].std() > 3
  with pytest.raises(ValueError, match="no annotations of split 'train'"):
    synthetic.contact_sheet(split, "train", rows=1, columns=1)
