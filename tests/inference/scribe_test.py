"""Files that are written beside a prediction are those that it would write."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from diffpose_jax.data import annotations, poses, result_formats
from diffpose_jax.inference import flow, outputs, scribe, wanted
from diffpose_jax.inference import spool as spool_lib
from diffpose_jax.inference import stages as stages_lib
from diffpose_jax.pose.skeleton import POSETRACK

K = len(POSETRACK.joints)
FORMATS = tuple(result_formats.FORMATS)
HEAD = poses.Head(
  name="walk",
  source="walk.mp4",
  fps=30000 / 1001,
  height=240,
  width=320,
  skeleton=POSETRACK,
  protocol={"steps": 4, "boxes": {"from": "a file \N{SNOWMAN}"}},
  tail=5.5,
)


def _people(index):
  rng = np.random.default_rng(index)
  for track in range(index % 3):
    joints = rng.uniform(0, 200, (K, 2)).astype(np.float32)
    yield annotations.Person(
      box=np.array([1, 2, 150, 160], np.float32) / 3,
      joints=joints,
      labelled=np.isin(np.arange(K), POSETRACK.evaluated),
      track_id=track - 1,
      scores=rng.random(K).astype(np.float32),
      box_score=float(rng.random()),
      scale=np.tile(np.eye(2), (K, 1, 1)) * rng.random(),
      within=rng.random(K),
      samples=joints + rng.normal(0, 20, (3, K, 2)).astype(np.float32),
    )


def _frame(index):
  return annotations.Frame(
    file_name=f'"nframes": null {index:06d}.jpg',
    image_id=index,
    labelled=True,
    people=tuple(_people(index)),
    height=240,
    width=320,
    time=index / 30,
  )


def _shown(dots, count, broken=None):
  """Frames of a prediction; a joint of the `broken` one is not a number."""
  job = dots.job([])
  for index in range(count):
    people = list(_people(index))
    if index == broken:
      people[0].joints[0] = np.nan
    picture = np.zeros((240, 320, 3), np.uint8)
    yield flow.Shown(job, index, index / 30, (240, 320), picture, people=people)


def _write(dots, out, frames):
  stages = stages_lib.Stages()
  outputs.write(
    dots.job([]),
    frames,
    out,
    head=HEAD,
    wanted=wanted.Wanted(FORMATS, samples=True, video="none"),
    stages=stages,
  )
  return stages


@pytest.fixture
def at_once(monkeypatch):
  """Even short videos are written beside."""
  monkeypatch.setattr(scribe, "FRAMES", 2)


def _files(out):
  return {path.name: path.read_bytes() for path in out.iterdir()}


def _same(found, wanted):
  """All but HDF5's, which may have the time in it."""
  assert found.keys() == wanted.keys()
  for name in found:
    if not name.endswith(".h5"):
      assert found[name] == wanted[name], name


def test_every_format_has_the_same_bytes(dots, tmp_path, at_once, monkeypatch):
  stages = _write(dots, tmp_path / "beside", _shown(dots, 50))
  assert stages.wall["files"] == stages.cpu["files"] > 0
  monkeypatch.setattr(scribe, "FRAMES", 51)
  assert "files" not in _write(dots, tmp_path / "here", _shown(dots, 50)).wall
  _same(_files(tmp_path / "beside"), _files(tmp_path / "here"))


def test_what_is_wrong_is_said_in_the_same_words(
  dots, tmp_path, at_once, monkeypatch
):
  said = []
  for frames in (2, 99):
    monkeypatch.setattr(scribe, "FRAMES", frames)
    with pytest.raises(ValueError) as raised:
      _write(dots, tmp_path, _shown(dots, 50, broken=44))
    said.append(str(raised.value))
  assert said[0] == said[1] and "44" in said[0]
  assert not [name for name in _files(tmp_path) if name.endswith(".tmp")]


def test_a_process_that_is_killed_costs_nothing_but_time(
  dots, tmp_path, at_once, monkeypatch
):
  started, real = [], subprocess.Popen

  def watched(*args, **keywords):
    started.append(real(*args, **keywords))
    return started[-1]

  monkeypatch.setattr(subprocess, "Popen", watched)

  def frames():
    for position, frame in enumerate(_shown(dots, 50)):
      if position == 40:
        while not any((tmp_path / "out").glob(".*.tmp")):
          time.sleep(0.05)  # so that there is something to leave behind
        os.kill(started[0].pid, signal.SIGKILL)
      yield frame

  _write(dots, tmp_path / "out", frames())
  assert started[0].returncode == -signal.SIGKILL
  _write(dots, tmp_path / "again", _shown(dots, 50))
  _same(_files(tmp_path / "out"), _files(tmp_path / "again"))


def test_a_process_that_fails_costs_nothing_either(
  dots, tmp_path, at_once, monkeypatch, capfd
):
  real = poses.record_of
  monkeypatch.setattr(
    poses, "record_of", lambda *given: real(*given) | {"version": "none"}
  )
  with monkeypatch.context() as patch:
    patch.setattr(result_formats, "write", lambda *_, **__: None)
    stages = _write(dots, tmp_path, _shown(dots, 5))
  assert "writing" in stages.wall and "files" not in stages.wall
  assert "version: expected a whole number" in capfd.readouterr().err


def test_no_process_can_be_started(dots, tmp_path, at_once, monkeypatch):
  monkeypatch.setattr(sys, "executable", "/no/such/python")
  stages = _write(dots, tmp_path, _shown(dots, 5))
  assert "files" not in stages.wall and len(_files(tmp_path)) == 7


def test_nothing_stays_of_a_prediction_that_ends_in_an_error(
  dots, tmp_path, at_once
):
  def frames():
    yield from _shown(dots, 30)
    raise ValueError("damaged")

  with pytest.raises(ValueError, match="damaged"):
    _write(dots, tmp_path, frames())
  assert _files(tmp_path) == {}


def test_nor_of_one_that_is_stopped_in_the_end(tmp_path):
  with spool_lib.Spool(tmp_path) as spool:
    for index in range(400):
      spool.append(_frame(index))
    found = scribe.Scribe(spool, scribe.Task(HEAD, tmp_path, FORMATS))
    found._say([400, True])
    found.close()
  assert _files(tmp_path) == {}


def test_nor_of_one_that_is_killed(tmp_path):
  code = f"""
    import os, pathlib, sys, time
    sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
    import scribe_test as t
    out = pathlib.Path({str(tmp_path)!r})
    spool = t.spool_lib.Spool(out)
    found = t.scribe.Scribe(spool, t.scribe.Task(t.HEAD, out, t.FORMATS))
    for index in range(20):
      spool.append(t._frame(index))
    found.grown(20)
    while not any(path.stat().st_size for path in out.glob("*.tmp")):
      time.sleep(0.1)
    print(found._process.pid, flush=True)
    os.kill(os.getpid(), 9)
  """
  run = subprocess.run(
    [sys.executable, "-c", textwrap.dedent(code)],
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert run.returncode == -signal.SIGKILL, run.stderr
  end = time.monotonic() + 20
  while list(tmp_path.iterdir()) and time.monotonic() < end:
    time.sleep(0.1)
  assert list(tmp_path.iterdir()) == []


@contextlib.contextmanager
def _tail(folder):
  """A spool, and a tail of it by another descriptor."""
  with (
    spool_lib.Spool(folder) as spool,
    os.fdopen(os.dup(spool.fileno()), "rb") as file,
  ):
    yield spool, spool_lib.Tail(file)


def test_a_tail_waits_for_frames_and_ends_with_them(tmp_path):
  with _tail(tmp_path) as (spool, tail):
    seen = []
    reader = threading.Thread(
      target=lambda: seen.extend(frame.image_id for frame in tail)
    )
    reader.start()
    for index in range(6):
      spool.append(_frame(index))
      if index == 3:
        tail.grown(4)
    reader.join(0.2)
    assert reader.is_alive() and len(seen) <= 4
    tail.grown(6, over=True)
    reader.join(10)
    assert seen == [*range(6)] == [frame.image_id for frame in tail]


def test_who_waits_for_frames_that_do_not_come_is_told(tmp_path):
  with _tail(tmp_path) as (spool, tail):
    spool.append(_frame(0))
    tail.grown(1)
    frames = iter(tail)
    next(frames)
    threading.Timer(0.1, tail.leave).start()
    with pytest.raises(BrokenPipeError):
      next(frames)


def test_nor_are_those_given_that_are_there(tmp_path):
  with _tail(tmp_path) as (spool, tail):
    for index in range(3):
      spool.append(_frame(index))
    tail.grown(3)
    frames = iter(tail)
    next(frames)
    tail.leave()
    with pytest.raises(BrokenPipeError):
      next(frames)
