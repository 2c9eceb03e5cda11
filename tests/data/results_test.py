import dataclasses
import json
import os

import numpy as np
import pytest

from diffpose_jax.data import (
  result_formats,
  result_json,
  results,
  strict_json,
)
from diffpose_jax.data.annotations import Frame, Person, Video
from diffpose_jax.pose import skeleton

SKELETON = skeleton.POSETRACK


def video(name, seed):
  rng = np.random.default_rng(seed)
  labelled = np.ones(17, bool)
  labelled[[3, 4]] = False
  person = Person(
    box=np.array([3, 5, 70.25, 110.5], np.float32),
    joints=np.where(labelled[:, None], rng.uniform(1, 99, (17, 2)), 0).astype(
      np.float32
    ),
    labelled=labelled,
    track_id=11,
    scores=rng.random(17).astype(np.float32),
    box_score=0.5,
  )
  frames = [
    Frame(f"images/{name}/{i:06}.jpg", 100 + i, i > 0, (person,) * i)
    for i in range(3)
  ]
  return Video(name, tuple(frames))


def test_predictions_come_back_as_written(tmp_path):
  videos = [video("b", 0), video("a", 1)]
  protocol = {"boxes": "ground truth", "steps": 4}
  paths = results.write_posetrack(
    tmp_path / "out", videos, skeleton=SKELETON, protocol=protocol
  )
  assert [path.name for path in paths] == ["b.json", "a.json"]
  read = results.read_poses(tmp_path / "out", skeleton=SKELETON).videos
  assert [v.name for v in read] == ["a", "b"]
  for got, want in zip(read, reversed(videos), strict=True):
    assert [f.image_id for f in got.frames] == [100, 101, 102]
    assert [f.file_name for f in got.frames] == [
      f.file_name for f in want.frames
    ]
    assert [len(f.people) for f in got.frames] == [0, 1, 2]
    a, b = got.frames[1].people[0], want.frames[1].people[0]
    for key in ("box", "joints", "labelled", "scores"):
      np.testing.assert_array_equal(getattr(a, key), getattr(b, key))
    assert (a.track_id, a.box_score) == (11, 0.5)


def test_file_is_posetrack18_with_the_protocol(tmp_path):
  (path,) = results.write_posetrack(
    tmp_path, [video("a", 1)], skeleton=SKELETON, protocol={"steps": 4}
  )
  record = json.loads(path.read_text())
  assert set(record) == {"images", "annotations", "categories", "protocol"}
  assert record["protocol"] == {"steps": 4}
  assert record["categories"][0]["keypoints"] == list(SKELETON.joints)
  annotation = record["annotations"][0]
  assert annotation["image_id"] == 101
  assert annotation["bbox"] == [3, 5, 67.25, 105.5]
  assert len(annotation["keypoints"]) == 51
  assert annotation["keypoints"][9:15] == [0] * 6
  assert len(annotation["scores"]) == 17
  assert len({a["id"] for a in record["annotations"]}) == 3
  results.write_posetrack(
    tmp_path, [video("a", 1)], skeleton=SKELETON, protocol=None
  )
  assert "protocol" not in json.loads(path.read_text())


def test_bytes_are_those_of_the_whole_record_at_once(tmp_path):
  """Frame by frame or not: the same text, in the order that it always had."""
  (path,) = results.write_posetrack(
    tmp_path, [video("a_1", 1)], skeleton=SKELETON, protocol={"boxes": "é"}
  )
  text = path.read_text()
  record = json.loads(text)
  assert text == json.dumps(record)
  assert list(record) == ["images", "annotations", "categories", "protocol"]
  assert [(i["nframes"], i["vid_id"]) for i in record["images"]] == [
    (3, "a")
  ] * 3
  ids = [(a["id"], a["image_id"]) for a in record["annotations"]]
  assert ids == [(0, 101), (1, 102), (2, 102)]


def test_a_number_that_is_not_finite_is_refused(tmp_path):
  broken = video("a", 1)
  broken.frames[2].people[1].joints[7] = np.nan
  with pytest.raises(ValueError, match=r"a\.json: not written: Out of"):
    results.write_posetrack(
      tmp_path, [broken], skeleton=SKELETON, protocol=None
    )
  assert os.listdir(tmp_path) == []


def test_third_number_of_a_prediction_may_be_a_score(tmp_path):
  (path,) = results.write_posetrack(
    tmp_path, [video("a", 1)], skeleton=SKELETON, protocol=None
  )
  record = json.loads(path.read_text())
  record["annotations"][0]["keypoints"][:6] = [7, 8, 0.9, 9, 10, 0]
  strict_json.dump(path, record)
  (got,) = results.read_poses(tmp_path, skeleton=SKELETON).videos
  person = got.frames[1].people[0]
  assert person.labelled[[0, 1, 3]].tolist() == [True, True, False]
  np.testing.assert_array_equal(person.joints[:2], [[7, 8], [9, 10]])


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b"])
def test_names_that_are_no_file_are_refused(tmp_path, name):
  with pytest.raises(ValueError, match="cannot be a file's name"):
    results.write_posetrack(
      tmp_path, [Video(name, ())], skeleton=SKELETON, protocol=None
    )


def test_nothing_is_written_for_two_videos_of_one_name(tmp_path):
  with pytest.raises(ValueError, match="'a' is there 2 times"):
    results.write_posetrack(
      tmp_path,
      [video("b", 0), video("a", 0), video("a", 1)],
      skeleton=SKELETON,
      protocol=None,
    )
  assert os.listdir(tmp_path) == []


def test_own_json_is_known_by_its_content(tmp_path, recorded):
  result_json.write(
    tmp_path / "walk.poses.json", recorded.head, recorded.frames, samples=True
  )
  read = results.read_poses(tmp_path, skeleton=SKELETON, complete=True)
  assert (read.form, read.protocol) == (results.OWN, recorded.head.protocol)
  (video,) = read.videos
  assert video.name == "walk"  # as the file, whatever the head says
  recorded.check(video.frames)
  (tmp_path / "walk.poses.json").rename(tmp_path / "b.json")
  assert results.read_poses(tmp_path, skeleton=SKELETON).videos[0].name == "b"


def test_files_that_say_the_same_are_read_once(tmp_path, recorded):
  for name in ("posetrack", "json", "coco", "csv"):
    path, *_ = result_formats.paths(name, tmp_path, "walk")
    result_formats.write(name, path, recorded.head, recorded.frames)
  read = results.read_poses(tmp_path, skeleton=SKELETON)
  assert [path.name for path in read.paths] == ["walk.json"]
  assert read.form == "PoseTrack18 JSON"
  (tmp_path / "walk.json").unlink()
  again = results.read_poses(tmp_path, skeleton=SKELETON)
  assert [path.name for path in again.paths] == ["walk.poses.json"]
  (tmp_path / "walk.poses.json").unlink()
  with pytest.raises(ValueError, match="walk.coco.json: expected an object"):
    results.read_poses(tmp_path, skeleton=SKELETON)


def test_own_json_must_be_complete_too(tmp_path, recorded):
  skeleton_ = dataclasses.replace(
    SKELETON, joints=(*SKELETON.joints[:-1], "right_ankel")
  )
  head = dataclasses.replace(recorded.head, skeleton=skeleton_)
  result_json.write(tmp_path / "a.poses.json", head, recorded.frames)
  with pytest.raises(
    ValueError, match="joints names 'right_ankel', .*'right_a"
  ):
    results.read_poses(tmp_path, skeleton=SKELETON, complete=True)
