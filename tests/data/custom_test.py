import json
import pathlib
import re

import numpy as np
import pytest

from diffpose_jax.data import custom, skeleton_file, strict_json

NAMES = {
  5: ["left_a", "right_a", "left_b", "right_b", "tip"],
  23: [f"point_{i}" for i in range(23)],
}


def write_root(root, count, **changes):
  """A root with skeleton.json of `count` joints and no annotations yet."""
  names = NAMES[count]
  record = {
    "name": f"own{count}",
    "joints": names,
    "pairs": [[n, n.replace("left", "right")] for n in names if "left" in n],
    "limbs": [[names[0], names[1]]],
  }
  root.mkdir(exist_ok=True)
  (root / custom.SKELETON).write_text(json.dumps(record | changes))
  (root / "annotations").mkdir(exist_ok=True)
  return skeleton_file.read(root / custom.SKELETON)


def content(names):
  """Two pictures of one folder, a person in each; joints (i, 100 + i)."""
  points = [v for i in range(len(names)) for v in (i, 100 + i, 1 + i % 2)]
  person = {"category_id": 7, "keypoints": points, "bbox": [1, 2, 3, 5]}
  return {
    "images": [
      {"id": 4, "file_name": "images/clip/10.jpg"},
      {"id": 3, "file_name": "images/clip/9.jpg"},
    ],
    "annotations": [
      person | {"id": 1, "image_id": 3, "track_id": 11},
      person | {"id": 2, "image_id": 4, "track_id": 13},
    ],
    "categories": [{"id": 7, "name": "robot", "keypoints": names}],
  }


def write(root, record, name="train.json"):
  path = root / "annotations" / name
  path.parent.mkdir(exist_ok=True)
  path.write_text(json.dumps(record))
  return path


def test_splits_are_files_and_folders(tmp_path):
  write_root(tmp_path, 5)
  for name in ("train.json", "val/a.json", "val/b.json", "test-1/a.json"):
    write(tmp_path, {}, name)
  (tmp_path / "annotations" / "empty").mkdir()
  (tmp_path / "annotations" / ".old.json").write_text("")
  (tmp_path / "annotations" / "readme.txt").write_text("")
  assert custom.splits(tmp_path) == ["test-1", "train", "val"]


def test_splits_say_what_was_looked_for(tmp_path):
  with pytest.raises(
    ValueError, match=r"no data root here; looked for .*split"
  ):
    custom.splits(tmp_path / "absent")
  with pytest.raises(ValueError, match=r"skeleton\.json: no such file; write"):
    custom.splits(tmp_path)
  write_root(tmp_path, 5)
  with pytest.raises(
    ValueError, match=r"no annotations; looked for .*\*\.json"
  ):
    custom.splits(tmp_path)


@pytest.mark.parametrize("name", ["all", "my set", "a.b"])
def test_split_has_a_name_that_prepared_data_can_have(tmp_path, name):
  write_root(tmp_path, 5)
  write(tmp_path, {}, f"{name}.json")
  with pytest.raises(ValueError, match=f"'{name}' is no name of a split"):
    custom.splits(tmp_path)


@pytest.mark.parametrize("count", [5, 23])
def test_joints_go_by_name_whatever_their_order(tmp_path, count):
  joints = write_root(tmp_path, count)
  shuffled = np.random.default_rng(count).permutation(NAMES[count]).tolist()
  write(tmp_path, content(shuffled))
  (video,) = custom.read_split(tmp_path, "train", skeleton=joints)
  assert video.name == "train"  # as the file: it is of one folder
  names = [frame.file_name for frame in video.frames]
  assert names == ["images/clip/9.jpg", "images/clip/10.jpg"]
  person = video.frames[0].people[0]
  at = [shuffled.index(name) for name in NAMES[count]]
  expected = np.array([(i, 100 + i) for i in at], np.float32)
  np.testing.assert_array_equal(person.joints, expected)
  assert person.labelled.all()
  assert person.track_id == 11
  np.testing.assert_array_equal(person.box, [1, 2, 4, 7])


@pytest.mark.parametrize(
  ("names", "message"),
  [
    (NAMES[5][:4], "keypoints lacks tip;"),
    ([*NAMES[5], "tail"], "keypoints has the unknown tail;"),
    ([*NAMES[5][:4], "top"], "keypoints lacks tip and has the unknown top;"),
    (["x", "y"], "none of its joints"),
  ],
)
def test_other_joints_are_refused(tmp_path, names, message):
  joints = write_root(tmp_path, 5)
  path = write(tmp_path, content(names))
  with pytest.raises(ValueError, match=message) as caught:
    custom.read_split(tmp_path, "train", skeleton=joints)
  assert str(caught.value).startswith(f"{path}: categories[0]: ")


def test_a_folder_of_files_is_one_split(tmp_path):
  joints = write_root(tmp_path, 5)
  for name in ("b", "a"):
    record = content(NAMES[5])
    for image in record["images"]:
      image["file_name"] = f"images/{name}/{image['id']}.jpg"
    write(tmp_path, record, f"val/{name}.json")
  videos = custom.read_split(tmp_path, "val", skeleton=joints)
  assert [video.name for video in videos] == ["a", "b"]
  merged = content(NAMES[5])
  merged["images"][0]["file_name"] = "images/other/10.jpg"
  write(tmp_path, merged, "val/c.json")
  videos = custom.read_split(tmp_path, "val", skeleton=joints)
  assert [video.name for video in videos] == ["a", "b", "clip", "other"]


def test_videos_of_one_name_are_refused(tmp_path):
  joints = write_root(tmp_path, 5)
  record = content(NAMES[5])
  record["images"][0]["file_name"] = "images/a/10.jpg"
  write(tmp_path, record, "val/z.json")
  write(tmp_path, content(NAMES[5]), "val/a.json")
  with pytest.raises(ValueError, match="video 'a' is there 2 times"):
    custom.read_split(tmp_path, "val", skeleton=joints)


def test_a_split_is_one_file_or_one_folder(tmp_path):
  joints = write_root(tmp_path, 5)
  write(tmp_path, content(NAMES[5]))
  with pytest.raises(ValueError, match="no split 'val'; there is train"):
    custom.read_split(tmp_path, "val", skeleton=joints)
  write(tmp_path, content(NAMES[5]), "train/a.json")
  with pytest.raises(ValueError, match="is split 'train' too; keep one"):
    custom.read_split(tmp_path, "train", skeleton=joints)


def test_stills_are_videos_of_one_frame(tmp_path):
  joints = write_root(tmp_path, 5)
  record = content(NAMES[5]) | {"stills": True}
  write(tmp_path, record)
  videos = custom.read_split(tmp_path, "train", skeleton=joints)
  assert [video.name for video in videos] == ["images_clip_10", "images_clip_9"]
  assert [video.frames[0].image_id for video in videos] == [4, 3]
  write(tmp_path, record | {"stills": "yes"})
  with pytest.raises(ValueError, match=r"train\.json: stills is 'yes'"):
    custom.read_split(tmp_path, "train", skeleton=joints)


def test_people_without_tracks_have_track_minus_1(tmp_path):
  joints = write_root(tmp_path, 5)
  record = content(NAMES[5])
  for annotation in record["annotations"]:
    del annotation["track_id"]
  write(tmp_path, record)
  (video,) = custom.read_split(tmp_path, "train", skeleton=joints)
  assert [f.people[0].track_id for f in video.frames] == [-1, -1]
  record["annotations"][1]["track_id"] = 13
  write(tmp_path, record)
  with pytest.raises(
    ValueError, match=r"annotations\[0\]: no track_id, as 1 of"
  ):
    custom.read_split(tmp_path, "train", skeleton=joints)


def test_split_without_people_is_read(tmp_path):
  joints = write_root(tmp_path, 5)
  write(tmp_path, content(NAMES[5]) | {"annotations": []})
  (video,) = custom.read_split(tmp_path, "train", skeleton=joints)
  assert [frame.labelled for frame in video.frames] == [False, False]


@pytest.mark.parametrize(
  ("key", "value", "message"),
  [
    ("iscrowd", 1, r"annotations\[1\]: iscrowd is set"),
    ("bbox", [1, 2, 0, 0], r"annotations\[1\] \(id 2\): bbox: box .* no area"),
    ("keypoints", [1, 2, 1], "expected 15 numbers, found 3"),
    ("bbox", [1, 2, 1e9, 3], r"annotations\[1\] \(id 2\): bbox: .* beyond"),
    ("bbox", "1 2 3 4", "bbox: expected a list"),
    ("keypoints", [3, 4, 5] * 5, "visibility of left_a is 5"),
    ("keypoints", [1e30, 4, 1] * 5, "left_a is at .* beyond"),
    ("track_id", None, r"annotations\[1\]: no track_id, as 1 of 2"),
    ("category_id", 1, "category_id is 1"),
    ("image_id", 99, "image_id 99 is no image"),
  ],
)
def test_unsound_people_are_refused(tmp_path, key, value, message):
  joints = write_root(tmp_path, 5)
  record = content(NAMES[5])
  record["annotations"][1][key] = value
  path = write(tmp_path, record)
  with pytest.raises(ValueError, match=message) as caught:
    custom.read_split(tmp_path, "train", skeleton=joints)
  assert str(caught.value).startswith(str(path))
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("key", "value", "message"),
  [
    ("file_name", "images/clip/../../../9.jpg", r"images\[1\]: .*leaves"),
    ("file_name", "/images/clip/9.jpg", r"images\[1\]: .*leaves"),
    ("file_name", "images/clip/10.jpg", r"images\[1\]: .*used twice"),
    ("id", 4, r"images\[1\]: image id 4 is used twice"),
    ("id", 2**63, r"images\[1\]: id: expected a whole number"),
    ("height", 0, r"images\[1\]: height is 0"),
  ],
)
def test_unsound_images_are_refused(tmp_path, key, value, message):
  joints = write_root(tmp_path, 5)
  record = content(NAMES[5])
  record["images"][1][key] = value
  path = write(tmp_path, record)
  with pytest.raises(ValueError, match=message) as caught:
    custom.read_split(tmp_path, "train", skeleton=joints)
  assert str(caught.value).startswith(str(path))
  assert "\n" not in str(caught.value)


def test_two_people_of_one_track_in_a_frame_are_refused(tmp_path):
  joints = write_root(tmp_path, 5)
  record = content(NAMES[5])
  record["annotations"][1] |= {"image_id": 3, "track_id": 11}
  write(tmp_path, record)
  with pytest.raises(
    ValueError,
    match=r"train\.json: annotations\[1\] \(id 2\): track_id 11 is twice in "
    r"frame 'images/clip/9\.jpg', before at .*annotations\[0\] \(id 1\)",
  ):
    custom.read_split(tmp_path, "train", skeleton=joints)


def test_a_file_is_parsed_once(tmp_path, monkeypatch):
  joints = write_root(tmp_path, 5)
  path = write(tmp_path, content(NAMES[5]))
  load, loaded = strict_json.load, []
  monkeypatch.setattr(
    strict_json, "load", lambda path, **_: loaded.append(path) or load(path)
  )
  custom.read_split(tmp_path, "train", skeleton=joints)
  assert loaded == [path]


def test_the_skeleton_in_the_readme_is_one(tmp_path):
  folder = pathlib.Path(__file__).resolve().parents[2] / "datasets" / "custom"
  text = (folder / "README.md").read_text()
  (block,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
  (tmp_path / "s.json").write_text(block)
  joints = skeleton_file.read(tmp_path / "s.json")
  assert joints.pairs == ((1, 2),)
  assert [name for name, _ in joints.groups] == [
    "nose",
    "ear",
    "tail_base",
    "tail_tip",
  ]
  assert f"{joints.sigmas[0]:.3f}" in text
