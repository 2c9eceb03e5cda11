import csv
import dataclasses
import io
import math

import numpy as np
import pytest
from scipy import stats

from diffpose_jax.data import result_csv
from diffpose_jax.pose import skeleton


@pytest.fixture
def write(tmp_path, recorded):
  def write_(frames=None, **head):
    path = tmp_path / "walk.csv"
    result_csv.write(
      path,
      dataclasses.replace(recorded.head, **head),
      recorded.frames if frames is None else frames,
    )
    return path

  return write_


def rows(path):
  return list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))


@pytest.mark.parametrize("tail", [1.2, 3.5, math.inf])
def test_poses_come_back(write, recorded, tail):
  path = write(tail=tail)
  frames = result_csv.read(path, skeleton=skeleton.POSETRACK, tail=tail)
  # Errors are roots and ratios in float32 there: a few steps of 6e-8.
  recorded.check(frames, samples=False, sizes=False, error_rtol=1e-6)


def test_rows_are_those_of_all_joints_in_order(write, recorded):
  found = rows(write())
  assert tuple(found[0]) == result_csv.HEADER
  people = [
    (frame, i, person)
    for frame in recorded.frames
    for i, person in enumerate(frame.people)
  ]
  assert len(found) == 17 * len(people)
  for n, row in enumerate(found):
    frame, i, person = people[n // 17]
    assert (row["frame"], row["person"]) == (str(frame.image_id), str(i))
    assert float(row["time_s"]) == frame.time
    assert int(row["track_id"]) == person.track_id
    assert row["joint"] == skeleton.POSETRACK.joints[n % 17]
    if "ear" in row["joint"]:
      assert float(row["score"]) == 0 and row["modes"] == "0"
      for name in ("x_px", "y_px", "error68_x_px", "within_half_head"):
        assert row[name] == ""
    else:
      assert row["modes"] == ("2" if row["joint"] == "left_wrist" else "1")
      assert np.float32(row["x_px"]) == person.joints[n % 17, 0]


def test_errors_are_the_interval_of_a_standard_deviation(write, recorded):
  """By SciPy's own Student distribution; Gaussian: by hand."""
  share = math.erf(1 / math.sqrt(2))
  scale = recorded.frames[1].people[0].scale[9]
  for tail in (1.2, 3.5, math.inf):
    row = rows(write(tail=tail))[9]
    for axis, name in enumerate(("error68_x_px", "error68_y_px")):
      sd = math.sqrt(scale[axis, axis])
      low, high = (-float(row[name]), float(row[name]))
      inside = stats.t(tail, scale=sd).cdf(high) - stats.t(tail, scale=sd).cdf(
        low
      )
      assert inside == pytest.approx(share, abs=1e-6)
      if math.isinf(tail):
        assert high == pytest.approx(sd, rel=1e-6)
    wanted = scale[0, 1] / math.sqrt(scale[0, 0] * scale[1, 1])
    assert float(row["error_correlation"]) == pytest.approx(wanted, rel=1e-6)


def test_frames_are_all_in_their_own_table(write, recorded):
  found = rows(result_csv.frames_path(write()))
  assert [row["people"] for row in found] == list("0201310")
  for row, frame in zip(found, recorded.frames, strict=True):
    assert int(row["frame"]) == frame.image_id
    assert float(row["time_s"]) == frame.time
    assert row["file_name"] == frame.file_name


def test_pandas_keeps_whole_numbers_and_merges(write):
  pandas = pytest.importorskip("pandas", reason="pandas is absent")
  path = write()
  joints = pandas.read_csv(path)
  frames = pandas.read_csv(result_csv.frames_path(path))
  for name in ("frame", "person", "track_id", "modes"):
    assert joints[name].dtype == np.int64
  merged = frames.merge(joints, how="left")
  assert len(merged) == 17 * 7 + 3
  assert set(merged[merged.joint.isna()].frame) == {0, 2, 6}


def test_a_frame_without_a_time_and_nobody_at_all(tmp_path, write, recorded):
  frame = dataclasses.replace(recorded.frames[0], time=math.nan)
  path = write([frame])
  assert rows(path) == []
  (got,) = result_csv.read(path, skeleton=skeleton.POSETRACK)
  assert math.isnan(got.time) and got.people == ()


@pytest.mark.parametrize(
  ("file", "change", "message"),
  [
    (
      "walk.csv",
      ("x_px", "x"),
      "no column x_px, .*; the file is of another kind",
    ),
    (
      "walk.csv",
      (",left_wrist,", ",wrist,"),
      "line 2: a person with 17 joints",
    ),
    ("walk.csv", ("\n1,0.0417", "\n9,0.0417"), "frame 9 is not in"),
    (
      "walk.csv",
      (",left_wrist,", ",left_wrist,?"),
      "line 11: could not convert",
    ),
    ("walk.frames.csv", ("1,0.04", "0,0.04"), "line 3: frame 0 is there twice"),
    ("walk.frames.csv", ("\n1,", "\n1.5,"), "frame is '1.5'; give a whole"),
    ("walk.frames.csv", ("000001", "../1"), "leaves the data root"),
  ],
)
def test_a_table_that_is_not_sound_is_refused(write, file, change, message):
  path = write().with_name(file)
  path.write_text(path.read_text().replace(*change))
  with pytest.raises(ValueError, match=message):
    result_csv.read(path.with_name("walk.csv"), skeleton=skeleton.POSETRACK)


def test_both_tables_are_needed(write):
  path = write()
  result_csv.frames_path(path).unlink()
  with pytest.raises(
    ValueError, match=r"frames\.csv: no such file; .* two fil"
  ):
    result_csv.read(path, skeleton=skeleton.POSETRACK)
