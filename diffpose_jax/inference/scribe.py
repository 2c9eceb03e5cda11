"""Writes the files of poses in a process beside the prediction.

Text of numbers takes Python longer than a fast accelerator takes to find them;
in a process of its own it holds nobody up, and is all but done when the last
frame is. `Files` is what the prediction has of it, `main` the process: it
follows the spool by its descriptor, writes each format in a thread, and goes
with the prediction, however that ends.

Between them are lines of JSON: what is to be written; `[frames, over]` whenever
there are more; and back what was wrong, or that nothing was. A process that dies
says nothing, and the prediction writes the files itself. Once the lines end, so
does the process, and what is not whole goes with it.
"""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Any, TextIO

from absl import logging

from diffpose_jax.data import poses, result_formats, whole_file
from diffpose_jax.inference import spool as spool_lib
from diffpose_jax.inference import stages as stages_lib

# Frames after which it is worth its start, which takes two seconds.
FRAMES = 1000
_EVERY = 16  # frames, between two lines
_SECONDS = 10.0  # for it to end once nobody wants it any more
# It imports what the prediction would, whatever is installed or in its folder.
_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from diffpose_jax.inference import scribe
scribe.main()
"""


@dataclasses.dataclass(frozen=True)
class Task:
  """The files that are to be written."""

  head: poses.Head
  out: pathlib.Path
  formats: Sequence[str]
  samples: bool = False

  def paths(self, form: str) -> list[pathlib.Path]:
    """Those of a format, the one that is told of first."""
    return list(result_formats.paths(form, self.out, self.head.name))

  def write(self, form: str, frames: spool_lib.Spool | spool_lib.Tail) -> None:
    """Writes those of a format; ValueError as `result_formats.write`."""
    path, *_ = self.paths(form)
    result_formats.write(form, path, self.head, frames, samples=self.samples)


class Scribe:
  """The process, from its start to its end."""

  def __init__(self, spool: spool_lib.Spool, task: Task):
    """Starts it; raises OSError where none can be."""
    self._process = subprocess.Popen(
      [sys.executable, "-c", _START, json.dumps(sys.path)],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      pass_fds=[spool.fileno()],
      process_group=0,  # Ctrl-C is for the prediction, which closes the pipes
      env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    self._told = 0
    self._say(
      {
        "spool": spool.fileno(),
        "head": poses.record_of(task.head, str(task.out)),
        "out": str(task.out),
        "formats": list(task.formats),
        "samples": task.samples,
      }
    )

  def grown(self, count: int) -> None:
    """So many frames are in the spool."""
    if count >= self._told + _EVERY:
      self._told = count
      self._say([count, False])

  def finish(self, count: int) -> float | None:
    """Waits for the files; the process's own seconds, or None where it died.

    Raises ValueError for what is wrong with a frame, or a disk.
    """
    self._say([count, True])
    assert self._process.stdout is not None
    answer = self._process.stdout.readline()
    said: dict[str, Any] = json.loads(answer or "{}")
    if said.get("wrong") is not None:
      raise ValueError(said["wrong"])
    return said.get("seconds")

  def _say(self, record: Any) -> None:
    assert self._process.stdin is not None
    with contextlib.suppress(OSError):  # it died, as `finish` will find
      self._process.stdin.write(json.dumps(record) + "\n")
      self._process.stdin.flush()

  def close(self) -> None:
    """Ends the process; files that are not whole go with it."""
    process = self._process
    for pipe in (process.stdin, process.stdout):
      assert pipe is not None
      with contextlib.suppress(OSError):
        pipe.close()
    try:
      process.wait(_SECONDS)
    except subprocess.TimeoutExpired:
      process.kill()
      process.wait()


class Files:
  """The files of a video's poses, those of a long one written beside it."""

  def __init__(self, spool: spool_lib.Spool, task: Task):
    """Of what is, or comes, in the spool."""
    self._spool, self._task = spool, task
    self._asked = False  # for a process beside this one
    self._beside: Scribe | None = None

  def __enter__(self) -> "Files":
    return self

  def grown(self) -> None:
    """There is one more frame."""
    if not self._asked and len(self._spool) >= FRAMES:
      self._asked = True
      try:
        self._beside = Scribe(self._spool, self._task)
      except OSError as error:
        logging.warning("poses are written in the end: %s", error)
    if self._beside is not None:
      self._beside.grown(len(self._spool))

  def finish(self, stages: stages_lib.Stages) -> None:
    """Writes what is not yet; ValueError as `result_formats.write`."""
    if self._beside is not None:
      seconds = self._beside.finish(len(self._spool))
      if seconds is not None:
        stages.apart("files", seconds)
        return
      self._beside.close()
      self._clear()
    with stages("writing"):
      for form in self._task.formats:
        self._task.write(form, self._spool)

  def _clear(self) -> None:
    """Removes the drafts of a process that died, which could not."""
    for form in self._task.formats:
      for path in self._task.paths(form):
        for draft in whole_file.drafts(path):
          draft.unlink(missing_ok=True)

  def __exit__(self, kind, value, traceback) -> None:
    if self._beside is not None:
      self._beside.close()


def main(stdin: TextIO = sys.stdin, stdout: TextIO = sys.stdout) -> None:
  """Writes what the first line says, as it comes."""
  what = json.loads(stdin.readline())
  with os.fdopen(what["spool"], "rb") as file:
    tail = spool_lib.Tail(file)
    threading.Thread(target=_follow, args=(stdin, tail)).start()
    try:
      said = {"wrong": _written(what, tail), "seconds": time.process_time()}
    except Exception:
      traceback.print_exc()
      said = {}
  with contextlib.suppress(OSError):  # the prediction is gone
    print(json.dumps(said), file=stdout, flush=True)


def _follow(stdin: TextIO, tail: spool_lib.Tail) -> None:
  """Tells how the spool grows, and when nobody wants its files any more."""
  for line in stdin:
    tail.grown(*json.loads(line))
  tail.leave()


def _written(what: dict[str, Any], tail: spool_lib.Tail) -> str | None:
  """Writes each format in a thread; what is wrong with one, if anything is."""
  task = Task(
    poses.of_record(what["head"], what["out"]),
    pathlib.Path(what["out"]),
    what["formats"],
    what["samples"],
  )
  with concurrent.futures.ThreadPoolExecutor(len(task.formats)) as pool:
    jobs = [pool.submit(task.write, form, tail) for form in task.formats]
  for job in jobs:  # of the first format, as without it
    try:
      job.result()
    except ValueError as error:
      return str(error)
  return None
