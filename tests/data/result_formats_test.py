import itertools
import os
import pathlib
import sys

import pytest

from diffpose_jax.data import result_formats
from diffpose_jax.data.result_formats import FORMATS


@pytest.fixture(params=FORMATS)
def name(request):
  """Each format, where it can be written."""
  if request.param == "hdf5":
    pytest.importorskip("h5py", reason="the extra `hdf5` is not installed")
  return request.param


def write(name, folder, recorded, frames=None, **how):
  paths = result_formats.paths(name, folder, "walk")
  frames = recorded.frames if frames is None else frames
  result_formats.write(name, paths[0], recorded.head, frames, **how)
  return paths


def test_files_are_called_as_the_format_says(name, tmp_path, recorded):
  paths = write(name, tmp_path / "new", recorded, samples=True)
  assert sorted(paths) == sorted((tmp_path / "new").iterdir())
  wanted = {
    "posetrack": ["walk.json"],
    "json": ["walk.poses.json"],
    "coco": ["walk.coco.json"],
    "csv": ["walk.csv", "walk.frames.csv"],
    "npz": ["walk.npz"],
    "hdf5": ["walk.h5"],
  }
  assert [path.name for path in paths] == wanted[name]


def test_the_same_poses_give_the_same_bytes(name, tmp_path, recorded):
  for folder in ("a", "b"):
    write(name, tmp_path / folder, recorded)
  for path in (tmp_path / "a").iterdir():
    assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


class Failing:
  """Frames that end in an error, whenever they are gone through."""

  def __init__(self, frames, error):
    self._frames, self._error = frames, error

  def __iter__(self):
    yield from self._frames
    raise self._error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError("broken")])
def test_what_is_not_finished_is_not_there(name, tmp_path, recorded, error):
  older = write(name, tmp_path, recorded, recorded.frames[:2])
  before = [path.read_bytes() for path in older]
  with pytest.raises(type(error) if isinstance(error, ValueError) else error):
    write(name, tmp_path, recorded, Failing(recorded.frames, error))
  assert sorted(tmp_path.iterdir()) == sorted(older)
  assert [path.read_bytes() for path in older] == before


def test_what_does_not_fit_on_the_disk_is_not_there(
  name, tmp_path, recorded, small_disk
):
  many = list(itertools.chain(*[recorded.frames] * 200))
  with (
    small_disk(30_000),
    pytest.raises(ValueError, match=r"walk[a-z.0-9]*: cannot be written"),
  ):
    write(name, tmp_path, recorded, many)
  assert os.listdir(tmp_path) == []


def test_nobody_is_written_too(name, tmp_path, recorded):
  for frames in ((), recorded.frames[:1]):
    assert all(p.exists() for p in write(name, tmp_path, recorded, frames))


def test_frames_are_gone_through_one_at_a_time(name, tmp_path, recorded):
  """At most as many are alive as are put into columns together."""
  alive, most = set(), 0

  class Counted(type(recorded.frames[0])):
    def __del__(self):
      alive.discard(id(self))

  class Frames:
    def __iter__(self):
      nonlocal most
      for i in range(97):
        frame = Counted(**(vars(recorded.frames[i % 7]) | {"image_id": i}))
        alive.add(id(frame))
        most = max(most, len(alive))
        yield frame

  write(name, tmp_path, recorded, Frames(), samples=True)
  assert 1 <= most <= 3


def test_formats_are_chosen_by_name(monkeypatch):
  assert result_formats.chosen("posetrack,json") == ("posetrack", "json")
  assert result_formats.chosen("csv, npz,csv") == ("csv", "npz")
  for text in ("posetrak", "json,", ""):
    with pytest.raises(ValueError, match=f"--formats={text}: no format '.*npz"):
      result_formats.chosen(text)
  monkeypatch.setitem(sys.modules, "h5py", None)
  with pytest.raises(ValueError, match=r"install 'diffpose-jax\[hdf5\]'"):
    result_formats.chosen("json,hdf5")


def test_a_place_that_cannot_be_is_named(name, tmp_path, recorded):
  (tmp_path / "file").write_text("")
  with pytest.raises(ValueError, match="cannot be written .*Not a directory"):
    write(name, pathlib.Path(tmp_path / "file" / "sub"), recorded)
