import json
import zipfile

import numpy as np
import pytest

from diffpose_jax.data import annotations, poses, result_json, results
from diffpose_jax.data.annotations import Frame, Person, Video
from diffpose_jax.evaluation import submission
from diffpose_jax.pose import skeleton

SKELETON = skeleton.POSETRACK


def _video(name, frames=3, **person):
  how = {"box": None, "track_id": 7, "scores": np.linspace(0, 1, 17)} | person
  people = (Person(joints=np.ones((17, 2)), labelled=np.ones(17, bool), **how),)
  return Video(
    name,
    tuple(
      Frame(f"images/{name}/{i}.jpg", i, True, people) for i in range(frames)
    ),
  )


@pytest.fixture
def write(tmp_path):
  def write_(side, *videos):
    results.write_posetrack(
      tmp_path / side, videos, skeleton=SKELETON, protocol=None
    )
    return tmp_path / side

  return write_


def test_the_zip_holds_the_files_as_they_are_and_is_the_same_again(
  write, tmp_path
):
  pred = write("pred", _video("b"), _video("a"))
  first, second = tmp_path / "new" / "a.zip", tmp_path / "b.zip"
  assert submission.write(pred, first) == 2
  assert submission.write(pred, second) == 2
  assert first.read_bytes() == second.read_bytes()
  with zipfile.ZipFile(first) as archive:
    assert archive.namelist() == ["a.json", "b.json"]
    for name in archive.namelist():
      assert archive.read(name) == (pred / name).read_bytes()


def test_the_videos_and_frames_must_be_those_of_the_split(write, tmp_path):
  gt = write("gt", _video("a"), _video("b"))
  out = tmp_path / "out.zip"
  with pytest.raises(ValueError, match="b has no prediction"):
    submission.write(write("one", _video("a")), out, gt=gt)
  short = write("short", _video("a"), _video("b", frames=2))
  with pytest.raises(ValueError, match=r"b: 1 frame\(s\) .*2\.jpg has no pred"):
    submission.write(short, out, gt=gt)
  assert submission.write(write("both", _video("a"), _video("b")), out, gt=gt)


def test_frames_without_people_are_listed_too(tmp_path, write):
  """Test labels are hidden: their files list frames and nobody."""
  nobody = [Frame(f"images/a/{i}.jpg", i, True) for i in range(3)]
  gt = tmp_path / "gt"
  annotations.write_video(
    gt / "a.json", Video("a", tuple(nobody)), skeleton=SKELETON
  )
  out = tmp_path / "out.zip"
  with pytest.raises(ValueError, match="a: 2 frames are predicted, but .* 3"):
    submission.write(write("short", _video("a", frames=2)), out, gt=gt)
  assert not out.exists()
  submission.write(write("pred", _video("a")), out, gt=gt)


@pytest.mark.parametrize(
  ("person", "message"),
  [
    ({"track_id": -1}, r"a: images/a/0\.jpg: person 0 has track_id -1"),
    ({"track_id": 1000}, "track_id 1000; servers take 0 to 999"),
    ({"scores": None}, "person 0 has no scores"),
  ],
)
def test_what_a_server_would_refuse_is_named(write, tmp_path, person, message):
  pred = write("pred", _video("a", **person))
  with pytest.raises(ValueError, match=message):
    submission.write(pred, tmp_path / "out.zip")
  assert [path.name for path in tmp_path.iterdir()] == ["pred"]


def test_a_track_twice_in_a_frame_and_joints_without_name(write, tmp_path):
  pred = write("pred", _video("a"))
  path = pred / "a.json"
  record = json.loads(path.read_text())
  record["annotations"].append(record["annotations"][0] | {"id": 99})
  path.write_text(json.dumps(record))
  with pytest.raises(
    ValueError, match="person 1 has track_id 7, which is taken"
  ):
    submission.write(pred, tmp_path / "out.zip")
  record["categories"][0]["keypoints"][1] = "neck"
  path.write_text(json.dumps(record))
  with pytest.raises(ValueError, match="names 'neck', which is no joint"):
    submission.write(pred, tmp_path / "out.zip")


def test_own_json_is_not_what_servers_read(write, tmp_path):
  pred = write("pred", _video("a", box=np.array([0, 0, 9, 9], np.float32)))
  video = results.read_poses(pred, skeleton=SKELETON).videos[0]
  head = poses.Head("a", "a.mp4", 25.0, 90, 90, SKELETON, {})
  result_json.write(pred / "a.poses.json", head, video.frames)
  out = tmp_path / "out.zip"
  assert submission.write(pred, out) == 1  # a.json, which says the same
  with zipfile.ZipFile(out) as archive:
    assert archive.namelist() == ["a.json"]
  (pred / "a.json").unlink()
  with pytest.raises(ValueError, match="own JSON, which servers do not read"):
    submission.write(pred, out)
