import pathlib

from diffpose_jax.data import result_names


def once(*names):
  return [p.name for p in result_names.once(map(pathlib.Path, names))]


def test_one_file_of_each_video_is_kept():
  assert once("a.json", "a.poses.json", "a.coco.json") == ["a.json"]
  assert once("a.coco.json", "a.poses.json") == ["a.poses.json"]
  assert once("a.coco.json", "b.json") == ["a.coco.json", "b.json"]
  assert once("a.poses.json", "b.json", "b.poses.json") == [
    "a.poses.json",
    "b.json",
  ]
  assert once("a.json", "a.txt", "a.csv") == ["a.json", "a.txt", "a.csv"]


def test_a_video_is_called_as_its_file():
  assert result_names.video(pathlib.Path("p/walk.1.poses.json")) == "walk.1"
  assert result_names.video(pathlib.Path("p/renamed.json")) == "renamed"
