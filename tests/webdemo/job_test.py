"""A job, in this process: what is written, and that it is what predict writes."""

import csv
import dataclasses
import json
import pathlib

import numpy as np
import pytest

from diffpose_jax.inference import predict
from diffpose_jax.webdemo import estimators, job, request

COUNT = 9


@pytest.fixture(scope="module")
def known(tiny_run):
  return estimators.Estimators(tiny_run)


@pytest.fixture
def ask(clip_file, tmp_path, known, tiny_run):
  """Does a job, by what differs from the usual one."""

  def run(told=lambda done, count: None, detector="hog", **given):
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    usual = request.Request(
      path=str(clip_file),
      frames=COUNT,
      out=str(out),
      way=request.WHOLE,
      boxes=(),
      steps=1,
      samples=2,
    )
    asked = dataclasses.replace(usual, **given)
    return job.do(asked, known, tiny_run, detector=detector, told=told), out

  return run


def test_there_is_a_record_for_each_frame_in_all_files(ask):
  told = []
  done, out = ask(told=lambda *given: told.append(given))
  assert told == [(i + 1, COUNT) for i in range(COUNT)]
  assert (done.frames, done.people, done.tracks) == (COUNT, COUNT, 1)
  assert sorted(done.files) == sorted(path.name for path in out.iterdir())
  assert (out / done.video).stat().st_size > 1000
  assert "<script" in (out / done.page).read_text()
  own = json.loads((out / "walk.poses.json").read_text())
  assert [frame["index"] for frame in own["frames"]] == list(range(COUNT))
  posetrack = json.loads((out / "walk.json").read_text())
  assert len(posetrack["images"]) == COUNT
  with (out / "walk.frames.csv").open() as file:
    assert len(list(csv.DictReader(file))) == COUNT
  with np.load(out / "walk.npz") as arrays:
    assert len(arrays["time_s"]) == COUNT
  # It goes through JSON on its way to the page.
  record = json.loads(json.dumps(dataclasses.asdict(done)))
  assert job.Done.of(record).files == done.files


def test_poses_are_those_of_predict(ask, clip_file, tiny_run, tmp_path):
  _, out = ask()
  other = tmp_path / "predicted"
  predict.predict(
    input=clip_file,
    out=other,
    weights=tiny_run,
    boxes="whole",
    steps=1,
    samples=2,
    video="none",
  )
  one, two = (
    json.loads((folder / "walk.poses.json").read_text())
    for folder in (out, other)
  )
  assert one["frames"] == two["frames"]


def test_who_is_drawn_is_followed_by_an_own_identity(ask):
  boxes = ((5.0, 10.0, 75.0, 110.0), (60.0, 10.0, 150.0, 110.0))
  done, out = ask(way=request.DRAWN, boxes=boxes)
  frames = json.loads((out / "walk.poses.json").read_text())["frames"]
  people = frames[0]["people"]
  assert [one["track_id"] for one in people] == [0, 1]
  assert [one["box"] for one in people] == [list(box) for box in boxes]
  assert done.frames == COUNT
  assert {one["track_id"] for one in frames[1]["people"]} <= {0, 1}
  protocol = json.loads((out / "walk.poses.json").read_text())["protocol"]
  assert protocol["boxes"] == "drawn on the first frame"


def test_it_says_that_nobody_was_found(ask):
  done, _ = ask(way=request.FOUND)  # there is nobody in it
  assert done.people == 0 and done.frames == COUNT
  assert done.notes[0] == (
    "nobody was found in it; the detector is weak: draw boxes"
  )
  assert done.uncertainty == ()


def test_a_clip_that_is_gone_is_a_line(ask, tmp_path):
  with pytest.raises(ValueError, match=r"gone\.webm: no such file"):
    ask(path=str(tmp_path / "gone.webm"))


def test_the_first_numbers_are_those_of_the_weights(tiny_run):
  assert job.defaults(tiny_run) == {"steps": 2, "samples": 3}


def test_the_shipped_weights_say_for_what_they_are_not_calibrated():
  notes = ["uncertainty is not calibrated: /a/b.st: was fitted with steps 2, "]
  notes[0] += "not 3; calibrate with that, or remove it"
  said = job._uncalibrated(notes)
  assert "the calibration was fitted with steps 2, not 3." in said
  assert "/a" not in said


def test_as_a_workers_work(clip_file, tiny_run, tmp_path, capsys):
  work = job.Poses(pathlib.Path(tiny_run), "hog")
  asked = request.Request(
    str(clip_file), COUNT, str(tmp_path), request.WHOLE, (), 1, 2
  )
  found = work(dataclasses.asdict(asked), lambda done, count: None)
  assert found["frames"] == COUNT
  assert capsys.readouterr().out == ""
