"""Every video is in one shard, whatever the order in which they are found."""

import os
import random

import pytest

from diffpose_jax.data import shards, sources


def _found(folder, sizes):
  for number, size in enumerate(sizes):
    (folder / f"v{number}.mp4").write_bytes(b"x" * size)
  return sources.find(folder)


def _names(found, count):
  return [
    [source.name for source in shards.of(found, shards.Shard(i, count))]
    for i in range(count)
  ]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_each_video_is_in_one_shard_of_any_order(tmp_path, count):
  rng = random.Random(count)
  found = _found(tmp_path, [rng.randrange(0, 4000) for _ in range(23)])
  parts = _names(found, count)
  names = [name for part in parts for name in part]
  assert sorted(names) == sorted(source.name for source in found)
  shuffled = rng.sample(found, len(found))
  again = _names(shuffled, count)
  assert [sorted(part) for part in again] == [sorted(part) for part in parts]


def test_shards_are_of_about_the_same_size(tmp_path):
  sizes = [900, 10, 400, 30, 300, 20, 200, 40]
  found = _found(tmp_path, sizes)
  loads = [
    sum(sizes[int(name.removeprefix("v"))] for name in part)
    for part in _names(found, 3)
  ]
  assert loads == [900, 500, 500]


def test_more_shards_than_videos(tmp_path):
  parts = _names(_found(tmp_path, [5, 6]), 4)
  assert [len(part) for part in parts] == [1, 1, 0, 0]


def test_a_folder_of_pictures_counts_by_all_of_them(tmp_path):
  for name, count in (("few", 1), ("many", 5), ("some", 3)):
    (tmp_path / name).mkdir()
    for number in range(count):
      (tmp_path / name / f"{number}.jpg").write_bytes(b"x" * 100)
  found = sources.find(tmp_path)
  assert _names(found, 2) == [["many"], ["few", "some"]]


def test_empty_files_are_divided_too(tmp_path):
  parts = _names(_found(tmp_path, [0] * 6), 3)
  assert [len(part) for part in parts] == [2, 2, 2]


def test_parse():
  assert shards.parse("3/12") == shards.Shard(3, 12)
  assert str(shards.Shard(3, 12)) == "3/12"


@pytest.mark.parametrize(
  "text", ["", "3", "4/4", "0/0", "-1/3", "1/3/4", "a/b", "1 / 3", "1/", "/3"]
)
def test_what_is_no_shard(text):
  with pytest.raises(ValueError, match=r"--shard=.*: give I/N, the number of"):
    shards.parse(text)


def test_a_camera_cannot_be_divided():
  with pytest.raises(ValueError, match="camera:0: a camera cannot be divided"):
    shards.of(sources.find("camera:0"), shards.Shard(0, 1))


def test_names_decide_between_equal_sizes(tmp_path):
  found = _found(tmp_path, [7, 7, 7, 7])
  for source in found:
    os.utime(source.path, (1, 1))
  assert _names(found, 2) == [["v0", "v2"], ["v1", "v3"]]
