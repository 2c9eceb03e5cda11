"""Shards of many videos: each done once, by whoever comes first."""

import contextlib
import csv
import json
import threading
import time

import pytest

from diffpose_jax.data import sources
from diffpose_jax.inference import claims, flow, many, predict, summary
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import journal as journal_lib

NAMES = ("a", "b", "c", "d", "e")


@pytest.fixture
def fakes(dots, monkeypatch):
  """The estimators that any weights give, one a call."""
  found = []

  def load(*_, **__):
    found.append(dots.Estimator())
    return found[-1]

  monkeypatch.setattr(estimator_lib.Estimator, "load", load)
  return found


@pytest.fixture
def folder(clip, tmp_path):
  """Five videos of a dot, and one that is none."""
  path = tmp_path / "in"
  path.mkdir()
  for name in NAMES:
    (path / f"{name}.webm").write_bytes(clip.read_bytes())
  (path / "bad.webm").write_bytes(b"nothing")
  return path


@pytest.fixture
def call(folder, tmp_path, fakes):
  """Predicts with a fake estimator; by default without annotated videos."""

  def predicted(out="out", **flags):
    flags = {"boxes": "whole", "video": "none", "input": folder} | flags
    return predict.predict(out=tmp_path / out, weights=tmp_path, **flags)

  return predicted


def _rows(path):
  with path.open(newline="") as file:
    return list(csv.DictReader(file, delimiter="\t"))


def _poses(folder):
  return {p.name: p.read_bytes() for p in sorted(folder.glob("[!.]*.json"))}


def test_shards_do_what_one_call_does(call, tmp_path):
  """Together they do each video once; what fails is told by its own shard."""
  names = []
  for index in range(2):
    names += [one.poses[0].stem for one in call(shard=f"{index}/3")]
  with pytest.raises(ValueError, match=r"1 of 2 .*\(bad\); .*-of-3.tsv says"):
    call(shard="2/3")
  assert names == ["a", "d", "b", "e"]
  with pytest.raises(ValueError, match=r"1 of 6 videos were not done \(bad\)"):
    call("together")
  assert _poses(tmp_path / "out") == _poses(tmp_path / "together")
  assert len(_poses(tmp_path / "out")) == 2 * len(NAMES)
  [bad, c] = _rows(tmp_path / "out" / "summary-2-of-3.tsv")
  assert (bad["video"], bad["state"]) == ("bad", "failed")
  assert "bad.webm: cannot be opened as video" in bad["why"]
  assert (c["video"], c["state"], c["frames"]) == ("c", "done", "11")


def test_what_is_done_is_not_done_again(call, fakes, tmp_path, folder):
  (folder / "bad.webm").unlink()
  first = call(shard="0/1")
  stamps = {p: p.stat().st_mtime_ns for one in first for p in one.files}
  again = call(shard="1/2") + call(shard="0/2")
  assert [len(fake.clips) for fake in fakes] == [55, 0, 0]
  assert sorted(map(str, again)) == sorted(map(str, first))
  assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
  # What was removed, other settings and another video are another matter.
  (tmp_path / "out" / "b.json").unlink()
  call(shard="0/1")
  call(shard="0/1", smooth="lag")
  (folder / "a.webm").write_bytes((folder / "a.webm").read_bytes() + b"\0")
  call(shard="0/1", smooth="lag")
  assert [len(fake.clips) for fake in fakes[3:]] == [11, 55, 11]


def test_what_is_whole_may_be_of_other_devices(
  call, fakes, folder, monkeypatch
):
  """A cluster has several kinds; but a video that goes on keeps to one."""
  (folder / "bad.webm").unlink()
  with monkeypatch.context() as patch:
    devices = [type("Device", (), {"platform": "gpu", "device_kind": "x"})]
    patch.setattr("jax.devices", lambda: devices)
    call(shard="0/2")
    _interrupted(patch, call, shard="1/2")
  call(shard="0/1")
  # Three were whole, one was begun.
  assert [len(fake.clips) for fake in fakes][::2] == [33, 22]


def _interrupted(patch, call, **flags):
  """Ctrl-C in the middle of a call."""
  add, count = journal_lib.Journal.add, 0

  def stop(self, frame):
    nonlocal count
    add(self, frame)
    count += 1
    if count == 4:
      raise KeyboardInterrupt

  patch.setattr(journal_lib.Journal, "add", stop)
  with pytest.raises(KeyboardInterrupt):
    call(**flags)
  patch.setattr(journal_lib.Journal, "add", add)


def test_an_interrupted_shard_goes_on(call, tmp_path, monkeypatch, folder):
  (folder / "bad.webm").unlink()
  _interrupted(monkeypatch, call, shard="0/1")
  states = {s.name for s in (tmp_path / "out").iterdir()}
  assert states == {".a.journal"}  # and no claim
  call(shard="0/1")
  call("together")
  assert _poses(tmp_path / "out") == _poses(tmp_path / "together")


def test_a_failure_is_forgotten_once_the_video_is_done(call, folder, tmp_path):
  with pytest.raises(ValueError, match="1 of 6"):
    call(shard="0/1")
  note = tmp_path / "out" / ".bad.failed"
  assert "cannot be opened" in json.loads(note.read_text())["why"]
  (folder / "bad.webm").write_bytes((folder / "a.webm").read_bytes())
  assert len(call(shard="0/1")) == 6
  assert not note.exists()


def test_more_shards_than_videos(call, tmp_path, fakes, capsys):
  assert call(shard="8/9") == [] == fakes  # nothing is loaded
  assert "shard 8/9: none of the 6 videos is in it" in capsys.readouterr().out
  assert _rows(tmp_path / "out" / "summary-8-of-9.tsv") == []


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ({"shard": "6/6"}, "--shard=6/6: give I/N"),
    ({"shard": "0/2", "input": "camera:0"}, "a camera cannot be divided"),
    ({"shard": "0/2", "input": "none.mp4"}, "none.mp4: no such file"),
  ],
)
def test_refusals(call, flags, message, fakes):
  with pytest.raises(ValueError, match=message):
    call(**flags)
  assert fakes == []


def test_another_process_is_waited_for(
  call, fakes, tmp_path, folder, monkeypatch
):
  """Its video comes last, and is not done again where it was whole by then."""
  (folder / "bad.webm").unlink()
  monkeypatch.setattr(claims, "_NAP", 0.02)
  whole, out = tmp_path / "whole", tmp_path / "out"
  call("whole", shard="0/1")
  out.mkdir()
  claimed = threading.Event()

  def work():
    with claims.claimed(out / ".b.claim") as mine:
      assert mine
      claimed.set()
      while not (out / "e.json").exists():
        time.sleep(0.01)
      for path in [*whole.glob("b.*"), whole / ".b.journal"]:
        path.rename(out / path.name)

  other = threading.Thread(target=work)
  other.start()
  assert claimed.wait(30)
  written = call(shard="0/1")
  other.join()
  assert [one.poses[0].stem for one in written] == list(NAMES)
  assert [len(fake.clips) for fake in fakes] == [55, 44]


@pytest.mark.parametrize("together", [1, 2, 16])
def test_boxes_of_a_file_are_of_the_videos_that_all_have(
  call, dots, tmp_path, folder, monkeypatch, together
):
  """Not of the only one in a shard, whose frames have the same numbers."""
  monkeypatch.setattr(many, "_TOGETHER", together)
  rows = ["video,frame_index,x,y,width,height,score"]
  for name in ("a", "c", "elsewhere"):
    for index in (0, 3):
      x, y, width, height = dots.around(index)["bbox"]
      rows.append(f"{name},{index},{x},{y},{width},{height},0.9")
  boxes = tmp_path / "boxes.csv"
  boxes.write_text("\n".join(rows))
  found = []
  for index in range(6):
    with contextlib.suppress(ValueError):  # of the shard with the bad one
      found += call(boxes=str(boxes), shard=f"{index}/6")
  assert {one.poses[0].stem: one.people for one in found} == {
    **dict.fromkeys(NAMES, 0),
    **{"a": 2, "c": 2},
  }
  with pytest.raises(ValueError, match="1 of 6"):
    call("together", boxes=str(boxes))
  assert _poses(tmp_path / "out") == _poses(tmp_path / "together")


def test_a_broken_network_is_no_fault_of_a_video(call, monkeypatch, tmp_path):
  def broken(*_, **__):
    raise flow.BrokenError("the network gives NaN")

  monkeypatch.setattr("diffpose_jax.inference.run._Call.do", broken)
  with pytest.raises(ValueError, match="the network gives NaN"):
    call(shard="0/1")
  assert not (tmp_path / "out" / ".a.failed").exists()


def test_files_of_all_kinds_are_recalled(call, folder):
  (folder / "bad.webm").unlink()
  first = call(shard="0/1", video="webm", formats="csv,json", viewer=True)
  assert (
    call(shard="0/1", video="webm", formats="csv,json", viewer=True) == first
  )
  assert all(path.is_file() for one in first for path in one.files)


def test_summary_of_all(call, folder, tmp_path, monkeypatch, capsys):
  out = tmp_path / "out"
  with pytest.raises(ValueError, match="1 of 6"):
    call(shard="0/1")
  call(shard="1/3", smooth="lag")  # b and e
  with monkeypatch.context() as patch:
    (folder / "f.webm").write_bytes((folder / "a.webm").read_bytes())
    _interrupted(patch, call, input=folder / "f.webm", shard="0/1")
  (folder / "g.webm").write_bytes((folder / "a.webm").read_bytes())
  (out / "c.json").unlink()
  (folder / "d.webm").write_bytes(b"other")
  capsys.readouterr()
  assert summary.main(input=str(folder), out=out) == 1
  said = capsys.readouterr().out.splitlines()
  assert said[0] == "8 videos: 3 done, 1 failed, 1 begun, 3 missing"
  assert said[1].startswith("not all were done in the same way: 2 as ")
  assert said[2].startswith("failed: bad: ") and "cannot be opened" in said[2]
  assert said[3:] == [
    "missing: c: its outputs were changed or removed",
    "missing: d: the video is another one now",
    "begun: f",
    "missing: g",
    f"table: {out / 'summary.tsv'}",
  ]
  rows = {row["video"]: row for row in _rows(out / "summary.tsv")}
  assert [rows[n]["state"] for n in "abe"] == ["done"] * 3
  assert rows["a"]["people"] == rows["a"]["frames"] == "11"
  assert rows["a"]["settings"] != rows["b"]["settings"] != ""
  assert rows["b"]["settings"] == rows["e"]["settings"]
  assert rows["g"]["path"] == str(folder / "g.webm")


def test_summary_where_all_is_done(call, folder, tmp_path, capsys):
  (folder / "bad.webm").unlink()
  call(shard="0/1")
  assert summary.main(input=str(folder), out=tmp_path / "out") == 0
  said = capsys.readouterr().out
  assert "5 videos: 5 done, 0 failed, 0 begun, 0 missing\ntable: " in said


def test_summary_of_nothing(tmp_path, folder):
  with pytest.raises(ValueError, match="none: no such folder; give the --out"):
    summary.main(input=str(folder), out=tmp_path / "none")


def test_a_damaged_note_is_told(call, folder, tmp_path):
  out = tmp_path / "out"
  out.mkdir()
  (out / ".a.failed").write_text("{")
  (out / ".b.journal").write_text("no journal")
  [source] = sources.find(folder / "a.webm")
  row = summary.row(source, out)
  assert row.state == "failed" and "cannot be read" in row.why
  [source] = sources.find(folder / "b.webm")
  row = summary.row(source, out)
  assert row.state == "missing"


def test_many_that_are_not_done_are_not_all_named():
  rows = [
    summary.Row(f"v{i}", "missing", None, None, None, "", "", "p")
    for i in range(30)
  ]
  said = summary.told(rows).splitlines()
  assert len(said) == 22 and said[-1] == "... and 10 more"
