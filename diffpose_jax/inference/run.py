"""One call: several videos, one after the other, with what was done before."""

import contextlib
import dataclasses
import functools
import math
import pathlib
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from absl import logging

from diffpose_jax.data import poses, sources, video
from diffpose_jax.inference import (
  boxes_in,
  calibration,
  canvas,
  fingerprint,
  flow,
  identities,
  outputs,
  reading,
  stream,
)
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import journal as journal_lib
from diffpose_jax.inference import stages as stages_lib
from diffpose_jax.inference import wanted as wanted_lib


@dataclasses.dataclass(frozen=True)
class Video:
  """A video and where the boxes of its people come from."""

  source: sources.Source
  info: video.VideoInfo
  supply: boxes_in.Supply


@dataclasses.dataclass(frozen=True)
class _Task:
  """A video of a call."""

  job: flow.Job
  journal: journal_lib.Journal | None  # None for what is live
  protocol: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Result:
  """What became of the videos of a call, by name."""

  outputs: dict[str, outputs.Output]
  failed: dict[str, ValueError | OSError]


def run(
  videos: Sequence[Video],
  estimator: estimator_lib.Estimator,
  out: pathlib.Path,
  *,
  way: stream.Way | None = None,
  wanted: wanted_lib.Wanted | None = None,
  calibrated: calibration.Calibration | None = None,
  failures: Sequence[str] = (),
) -> list[outputs.Output]:
  """Predicts videos with a loaded estimator; see `predict`.

  What was interrupted goes on where it stopped; of several videos, those that
  were done are not done again (`journal`). `failures` are names of others that
  could not even be opened.
  """
  count = len(videos) + len(failures)
  result = attempt(
    videos,
    estimator,
    out,
    way=way,
    wanted=wanted,
    calibrated=calibrated,
    noted=count > 1,
  )
  if count == 1:
    for error in result.failed.values():
      raise error
  failed = [*failures, *result.failed]
  if failed:
    raise ValueError(
      f"{len(failed)} of {count} videos were not done ({', '.join(failed)}), "
      f"for the reasons above; the others are in {out}, and the same command "
      "does not do them again"
    )
  for one in videos:
    journal_lib.path_of(one.source.name, out).unlink(missing_ok=True)
  return [result.outputs[one.source.name] for one in videos]


def attempt(
  videos: Sequence[Video],
  estimator: estimator_lib.Estimator,
  out: pathlib.Path,
  *,
  way: stream.Way | None = None,
  wanted: wanted_lib.Wanted | None = None,
  calibrated: calibration.Calibration | None = None,
  noted: bool = True,
) -> Result:
  """Predicts videos as `run` does, and gives what was wrong with some.

  Where it is `noted`, what is wrong is told at once, and journals of what is
  done stay, so that it is not done again.
  """
  wanted = wanted or wanted_lib.Wanted()
  for one in videos:
    wanted.check_not_overwritten(one.source.path, [one.source], out)
  way = dataclasses.replace(way or stream.Way(), views=wanted.views)
  camera = any(one.info.live for one in videos)
  if camera and way.live == "none":
    way = dataclasses.replace(way, live="lag")
  call = _Call(estimator, out, way, wanted, calibrated)
  failed: dict[str, ValueError | OSError] = {}
  with reading.asked_to_stop(camera) as asked:
    tasks = [call.task(one, asked) for one in videos]
    left = [task for task in tasks if not call.is_done(task)]
    jobs = [task.job for task in left]
    with contextlib.closing(call.stream(jobs)) as items:
      for task in left:
        try:
          call.do(task, flow.of(task.job, items), noted=noted)
        except flow.BrokenError:
          raise
        except (ValueError, OSError) as error:
          failed[task.job.source.name] = error
          if noted:
            logging.error("%s", error)
          if task is not left[-1]:
            flow.skip(task.job, items)
  print(f"time: {call.stages}", flush=True)
  return Result(call.done, failed)


class _Call:
  """What the videos of a call have in common."""

  def __init__(
    self,
    estimator: estimator_lib.Estimator,
    out: pathlib.Path,
    way: stream.Way,
    wanted: wanted_lib.Wanted,
    calibrated: calibration.Calibration | None,
  ):
    self.stages = stages_lib.Stages()
    self._estimator = estimator
    self._skeleton = estimator.skeleton
    self._out = out
    self._way = way
    self._wanted = wanted
    self._calibrated = calibrated
    self.done: dict[str, outputs.Output] = {}  # by name

  def task(self, one: Video, asked: threading.Event) -> _Task:
    """What is to be done of a video, of a camera until `asked` is set."""
    frames = functools.partial(
      reading.opened, one.source, one.info, self.stages, asked
    )
    job = flow.Job(one.source, one.info, one.supply, frames)
    protocol = self._protocol(one)
    if one.info.live:
      return _Task(job, None, protocol)
    of = fingerprint.of(
      *(one.source, one.info, one.supply, self._estimator),
      dataclasses.asdict(self._way),
    )
    path = journal_lib.path_of(one.source.name, self._out)
    journal = journal_lib.Journal(path, of)
    job.known, job.size = journal.known, journal.size
    return _Task(job, journal, protocol)

  def _protocol(self, one: Video) -> dict[str, Any]:
    protocol = self._estimator.protocol() | one.supply.protocol
    protocol |= {"decoded_by": one.info.backend, "smooth": self._wanted.smooth}
    protocol |= self._way.protocol(self._skeleton)
    protocol |= calibration.describe(self._calibrated)
    if not one.supply.tracked:
      protocol["identities"] = "tracker"
    return protocol

  def stream(
    self, jobs: Sequence[flow.Job]
  ) -> Generator[flow.Item, None, None]:
    """The frames of videos with their people."""
    finder = stream.Stream(
      self._estimator,
      way=self._way,
      calibrated=self._calibrated,
      shrink=canvas.shrunk,
      stages=self.stages,
    )
    return finder(jobs)

  def is_done(self, task: _Task) -> bool:
    """Whether a video was done before; says so, or what else there is of it."""
    name, journal = task.job.source.name, task.journal
    if journal is None:
      return False
    if journal.why:
      logging.warning("%s: %s; starts over", journal.path, journal.why)
    if journal.frames:
      print(f"{name}: {journal.frames} frames are known from before")
    if journal.done is None:
      return False
    output = None
    if {k: journal.done.get(k) for k in ("protocol", "wanted")} == self._what(
      task
    ):
      output = outputs.recalled(journal.done, self._out)
    if output is None:
      logging.warning("%s: its files are other ones; starts over", journal.path)
      return False
    print(f"{name}: done before; to do it again, remove {journal.path}")
    self.done[name] = output
    return True

  def do(
    self, task: _Task, frames: Iterator[flow.Shown], *, noted: bool
  ) -> None:
    """Writes what there is of a video."""
    try:
      output = self._write(task, frames)
    except KeyboardInterrupt:
      self._tell_where(task)
      raise
    finally:
      if task.journal is not None:
        task.journal.close()
    self.done[task.job.source.name] = output
    late = task.job.supply.beyond(output.frames)
    if late:
      logging.warning(
        "%s: %d boxes are of frames from %d on, which did not come; left out",
        *(task.job.source.path, late, output.frames),
      )
    if task.journal is not None and noted:
      what = self._what(task) | {"size": task.journal.size}
      task.journal.finish(output.record() | what)
    print(output, flush=True)
    if task.journal is None:
      print(task.job.latency, flush=True)

  def _what(self, task: _Task) -> dict[str, Any]:
    """What is asked for of a video, beside its poses; as it is read back."""
    wanted = dataclasses.asdict(self._wanted)
    return journal_lib.plain({"protocol": task.protocol, "wanted": wanted})

  def _head(self, task: _Task) -> poses.Head:
    """What is said once of a video's poses."""
    source, info, tail = task.job.source, task.job.info, math.inf
    if self._calibrated is not None:
      tail = self._calibrated.factors[self._calibrated.best].tail
    return poses.Head(
      name=source.name,
      source=source.path.name,
      fps=info.fps,
      height=info.height,
      width=info.width,
      skeleton=self._skeleton,
      protocol=task.protocol,
      tail=tail,
    )

  def _write(self, task: _Task, frames: Iterator[flow.Shown]) -> outputs.Output:
    if task.journal is not None:
      frames = _noted(frames, task.journal)
    if not task.job.supply.tracked:
      frames = identities.tracked(frames, self._skeleton, self.stages)
    return outputs.write(
      task.job,
      identities.smoothed(
        frames, self._skeleton, self._wanted.smooth, self.stages
      ),
      self._out,
      head=self._head(task),
      wanted=self._wanted,
      stages=self.stages,
    )

  def _tell_where(self, task: _Task) -> None:
    if task.journal is not None and task.journal.frames:
      print(
        f"{task.job.source.name}: stopped after {task.journal.frames} frames; "
        "the same command goes on from there",
        file=sys.stderr,
      )


def _noted(
  frames: Iterator[flow.Shown], journal: journal_lib.Journal
) -> Iterator[flow.Shown]:
  """The frames, each written to the journal first."""
  for frame in frames:
    journal.add(frame)
    yield frame
