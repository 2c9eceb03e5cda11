"""Flags say what is written, and nothing that is given is written over."""

import pytest

from diffpose_jax.data import sources, video
from diffpose_jax.inference import wanted


def test_flags_are_read():
  assert wanted.parse() == wanted.Wanted()
  found = wanted.parse(
    formats="csv,npz",
    keep_samples=True,
    video="none",
    draw="ellipses,crops",
    viewer=True,
    smooth="lag",
  )
  assert found.formats == ("csv", "npz") and found.samples and found.viewer
  assert found.draw.crops and not found.draw.skeleton
  assert (found.video, found.smooth) == ("none", "lag")
  # Crops and heatmaps cost, and no video is drawn.
  assert not found.views and wanted.parse(draw="crops").views


def test_files_are_named_by_the_video(tmp_path):
  files = wanted.Wanted(("csv", "json"), viewer=True)
  names = ["walk.csv", "walk.frames.csv", "walk.poses.json"]
  assert [path.name for path in files.poses("walk", tmp_path)] == names
  assert files.drawn("walk", tmp_path) == tmp_path / "walk.webm"
  assert files.page("walk", tmp_path) == tmp_path / "walk.html"
  assert files.plain("walk", tmp_path) == tmp_path / "walk.plain.webm"
  few = wanted.Wanted(video="none")
  assert few.drawn("walk", tmp_path) is few.page("walk", tmp_path) is None


def test_h264_without_its_package_is_told(monkeypatch):
  monkeypatch.setattr(video, "writable", lambda kind: kind == "webm")
  assert wanted.parse(video="webm").video == "webm"
  with pytest.raises(ValueError, match=r"H\.264 needs PyAV; pip install"):
    wanted.parse(video="mp4")


@pytest.mark.parametrize(
  "name",
  [
    *("walk.webm", "walk.json", "walk.frames.csv", "walk.html"),
    "walk.plain.webm",
  ],
)
def test_what_is_given_is_not_overwritten(tmp_path, name):
  source = sources.Source("walk", tmp_path / "walk.webm")
  elsewhere = sources.Source("run", tmp_path / "run.webm")
  given = tmp_path / "sub" / ".." / name
  files = wanted.Wanted(("posetrack", "csv"), viewer=True)
  with pytest.raises(ValueError, match=f"{name}: would be overwritten"):
    files.check_not_overwritten(given, [elsewhere, source], tmp_path)
  files.check_not_overwritten(given, [elsewhere], tmp_path)
  files.check_not_overwritten(given, [source], tmp_path / "other")
