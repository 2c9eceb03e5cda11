"""Many videos by Ray: what dies is done by another worker, to the same bits.

Ray runs for real, on this machine, by the command as a user gives it.
"""

import csv
import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import types

import pytest

from diffpose_jax.data import sources, video
from diffpose_jax.inference import (
  engine,
  flow,
  predict,
  stream,
  summary,
  wanted,
)
from diffpose_jax.inference import request as request_lib

REPO = pathlib.Path(__file__).resolve().parents[2]
# Frames of each video: more people than fit into a small batch, and of one so
# many that it can be caught at work.
FRAMES = {"a": 9, "b": 12, "c": 10, "long": 100}
WAY = ("--boxes=whole", "--video=none", "--steps=1", "--samples=1")


@pytest.fixture(scope="module")
def folder(dots, tmp_path_factory):
  """Videos of a dot, and one that is none."""
  path = tmp_path_factory.mktemp("many") / "in"
  path.mkdir()
  for name, count in FRAMES.items():
    with video.Writer(
      path / f"{name}.webm", fps=10.0, size=dots.SIZE
    ) as writer:
      for index in range(count):
        writer.write(dots.frame(index % 11))
  (path / "bad.webm").write_bytes(b"nothing")
  return path


@pytest.fixture(scope="module")
def start(folder):
  """Starts the command on them; with the shipped weights, and its own home."""
  environment = dict(os.environ)
  environment |= {"HOME": str(folder.parent), "PYTHONPATH": str(REPO)}
  environment["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
  for name in ("RAY_ADDRESS", "JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
    environment.pop(name, None)

  def started(out, *flags):
    return subprocess.Popen(
      [
        *(sys.executable, "-m", "diffpose_jax.main", "predict"),
        *(f"--input={folder}", f"--out={folder.parent / out}", *WAY, *flags),
      ],
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  return started


def _ended(process):
  try:
    said, error = process.communicate(timeout=400)
  finally:
    process.kill()
  return process.returncode, said, error


def _files(out):
  return {p.name: p.read_bytes() for p in sorted(out.glob("[!.]*.json"))}


def _rows(out):
  with (out / "summary.tsv").open(newline="") as file:
    return {row["video"]: row for row in csv.DictReader(file, delimiter="\t")}


def _killed_in_the_middle(out, process):
  """Kills what is at the long video, between two looks at its journal."""
  journal, claim = out / ".long.journal", out / ".long.claim"
  end = time.monotonic() + 300
  while time.monotonic() < end and process.poll() is None:
    try:
      pid = json.loads(claim.read_text())["pid"]
      os.kill(pid, signal.SIGSTOP)  # so that it cannot come to its end
      lines = journal.read_bytes().splitlines() if journal.exists() else []
      if len(lines) > 3:
        os.kill(pid, signal.SIGKILL)
        return len(lines) - 1
      os.kill(pid, signal.SIGCONT)
    except (OSError, ValueError):  # not yet
      pass
    time.sleep(0.005)
  raise AssertionError(f"it was never at work: {_ended(process)}")


@pytest.mark.slow
@pytest.mark.skipif(
  importlib.util.find_spec("ray") is None,
  reason="Ray is not installed: pip install 'diffpose-jax[ray]'",
)
def test_a_worker_that_is_killed_changes_nothing(start, folder):
  """Nor does a second call; and a video that is none stops no other."""
  plain, out = folder.parent / "plain", folder.parent / "out"
  code, _, error = _ended(start("plain"))
  assert code == 2 and "1 of 5 videos were not done (bad)" in error
  expected = _files(plain)
  assert len(expected) == 2 * len(FRAMES)

  process = start("out", "--engine=ray", "--workers=2")
  assert 3 <= _killed_in_the_middle(out, process) < FRAMES["long"]
  code, said, error = _ended(process)
  assert code == 2, error
  assert "long: its worker died; tried again" in error
  assert "5 videos: 4 done, 1 failed, 0 begun, 0 missing" in said
  assert _files(out) == expected
  rows = _rows(out)
  assert {name: int(rows[name]["frames"]) for name in FRAMES} == FRAMES
  assert rows["bad"]["state"] == "failed"
  assert "bad.webm: cannot be opened as video" in rows["bad"]["why"]
  assert not list(out.glob(".*.claim"))

  stamps = {p: p.stat().st_mtime_ns for p in out.glob("[!.]*.json")}
  (folder / "bad.webm").unlink()
  code, said, error = _ended(start("out", "--engine=ray"))
  assert code == 0, error
  assert "4 videos: 4 done, 0 failed" in said
  assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
  assert _files(out) == expected


class FakeRay:
  """Workers in this process, which do what a test says at each call."""

  class exceptions:  # noqa: N801 - as in Ray
    class RayError(Exception):
      pass

    class RayTaskError(RayError):
      def __init__(self, cause):
        super().__init__(str(cause))
        self.cause = cause

  def __init__(self, loads=(), does=(), gpus=0, nodes=1):
    self.loads, self.does = list(loads), list(does)
    self.made, self.killed, self.asked, self.options = 0, 0, [], {}
    self._gpus, self._nodes = gpus, nodes

  def cluster_resources(self):
    return {"GPU": float(self._gpus)} if self._gpus else {}

  def nodes(self):
    return [{}] * self._nodes

  def remote(self, **options):
    self.options = options
    return lambda kind: types.SimpleNamespace(remote=self._worker)

  def _worker(self, request):
    self.made += 1
    method = lambda call: types.SimpleNamespace(remote=call)  # noqa: E731
    return types.SimpleNamespace(
      load=method(lambda: ("load", object())), do=method(self._do)
    )

  def _do(self, source, ready):
    self.asked.append(source.name)
    return ("do", object(), source)

  def wait(self, refs):
    return refs[:1], refs[1:]

  def get(self, ref):
    results = self.loads if ref[0] == "load" else self.does
    result = results.pop(0) if results else None
    if isinstance(result, Exception):
      raise result
    if ref[0] == "load":
      return "here", engine.version()
    return summary.Row(ref[2].name, "done", 1, 1, 1, "", "", "")

  def kill(self, worker):
    self.killed += 1


DEAD = FakeRay.exceptions.RayError("SIGKILL")


def _told(cause):
  return FakeRay.exceptions.RayTaskError(cause)


@pytest.fixture
def fleet(tmp_path):
  """Does three videos, a, b and c, by a fake of Ray."""
  request = request_lib.Request(
    *(tmp_path, tmp_path, stream.Way(), wanted.Wanted(), "whole", None, None),
    sampling={},
  )
  found = [sources.Source(name, tmp_path / name) for name in "abc"]

  def do(ray, **options):
    given = engine.Options(**options)
    return engine._Fleet(ray, request, given).do(found, None)

  return do


def _states(rows):
  return {name: row.state for name, row in rows.items()}


def test_a_video_whose_worker_dies_is_tried_so_often(fleet, caplog):
  ray = FakeRay(does=[DEAD, DEAD, DEAD])
  rows = fleet(ray, retries=2)
  assert ray.asked == ["a", "a", "a", "b", "c"]
  assert _states(rows) == {"a": "failed", "b": "done", "c": "done"}
  assert rows["a"].why == "its worker died, 3 times: SIGKILL"
  assert (ray.made, ray.killed) == (4, 3)
  assert caplog.text.count("a: its worker died; tried again") == 2


def test_each_video_has_its_own_tries(fleet):
  ray = FakeRay(does=[DEAD, None, DEAD, None, DEAD, None])
  assert set(_states(fleet(ray, retries=1)).values()) == {"done"}


def test_a_bug_is_noted_and_the_worker_stays(fleet):
  ray = FakeRay(does=[_told(TypeError("no such thing"))])
  rows = fleet(ray)
  assert _states(rows) == {"a": "failed", "b": "done", "c": "done"}
  assert rows["a"].why == "TypeError: no such thing"
  assert (ray.made, ray.killed) == (1, 0)


@pytest.mark.parametrize(
  "ray",
  [
    FakeRay(loads=[_told(ValueError("weights: damaged"))]),
    FakeRay(does=[None, _told(flow.BrokenError("weights: damaged"))]),
  ],
)
def test_what_is_wrong_with_all_videos_ends_the_call(fleet, ray):
  with pytest.raises(ValueError, match="weights: damaged"):
    fleet(ray)


def test_workers_that_never_load(fleet):
  ray = FakeRay(loads=[DEAD] * 9)
  with pytest.raises(ValueError, match="3 workers in a row died .*: SIGKILL"):
    fleet(ray)
  assert ray.made == 3


def test_one_that_loads_after_all(fleet):
  ray = FakeRay(loads=[DEAD, DEAD, None])
  assert len(fleet(ray)) == 3 and ray.made == 3


@pytest.mark.parametrize(
  ("cluster", "options", "workers", "gpus"),
  [
    ({}, {}, 1, 0),
    ({"nodes": 2}, {}, 2, 0),
    ({"gpus": 2}, {}, 2, 1),
    ({"gpus": 4}, {"gpus": 2}, 2, 2),
    ({"gpus": 8}, {}, 3, 1),  # as many as there are videos
    ({"gpus": 8}, {"workers": 2}, 2, 1),
    ({"gpus": 8}, {"gpus": 0}, 1, 0),
  ],
)
def test_how_many_workers_there_are(fleet, cluster, options, workers, gpus):
  ray = FakeRay(**cluster)
  fleet(ray, **options)
  assert (ray.made, ray.options["num_gpus"]) == (workers, gpus)


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ({"engine": "beam"}, "--engine=beam: there is ray"),
    ({"workers": 2}, "--workers is for --engine"),
    ({"gpus": 1}, "--gpus is for --engine"),
    ({"retries": 0}, "--retries is for --engine"),
    ({"engine": "ray", "input": "camera:0"}, "a camera needs no --engine"),
    (
      {"engine": "ray", "shard": "0/2"},
      "--shard and --engine: one of them divides the videos",
    ),
  ],
)
def test_refusals(tmp_path, clip, flags, message, monkeypatch):
  monkeypatch.setitem(sys.modules, "ray", types.ModuleType("ray"))
  given = {"input": clip, "boxes": "whole", "out": tmp_path / "out"}
  with pytest.raises(ValueError, match=message):
    predict.predict(**given | flags)
  assert not (tmp_path / "out").exists()


def test_without_ray_it_says_what_to_do(tmp_path, clip, monkeypatch):
  monkeypatch.setitem(sys.modules, "ray", None)
  with pytest.raises(ValueError, match=r"not installed; pip install .*\[ray\]"):
    predict.predict(
      input=clip, out=tmp_path / "out", boxes="whole", engine="ray"
    )


def test_another_version_on_a_node_is_refused():
  engine._check_version("here", engine.version())
  with pytest.raises(ValueError, match="node7 has another version .*code 1; "):
    engine._check_version("node7", "code 1")
