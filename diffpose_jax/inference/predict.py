"""Poses of the people in videos, one record for each decoded frame.

Frames stream through: what is in memory does not grow with a video's length,
but for the records of the people found.
"""

import contextlib
import dataclasses
import functools
import pathlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from absl import logging

from diffpose_jax.data import sources, video
from diffpose_jax.inference import (
  canvas,
  boxes_in,
  calibration,
  detectors,
  flow,
  identities,
  outputs,
  propagation,
  reading,
  shipped,
  stream,
)
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import stages as stages_lib


@dataclasses.dataclass(frozen=True)
class Way:
  """How people are followed, and their joints steadied."""

  follow: bool = False  # through frames without their boxes
  smooth: str = "none"


@dataclasses.dataclass(frozen=True)
class Video:
  """A video and where the boxes of its people come from."""

  source: sources.Source
  info: video.VideoInfo
  supply: boxes_in.Supply


def predict(  # noqa: PLR0913 - one flat call for the command line
  *,
  input: str | pathlib.Path | Sequence[str | pathlib.Path],
  out: pathlib.Path,
  weights: pathlib.Path | None = None,
  boxes: str | pathlib.Path | None = None,
  detector: str | None = None,
  follow: bool = False,
  smooth: str = "none",
  fps: float = video.DEFAULT_FPS,
  box_threshold: float | None = None,
  **sampling: Any,
) -> list[outputs.Output]:
  """Writes <out>/<name>.json and <out>/<name>.webm of each video.

  Args:
    input: what `sources.find` takes: a video, a folder of pictures or of
      videos, a pattern, a list, `camera:0`.
    out: folder, made where it is missing; files appear in it whole or not at
      all.
    weights: workdir of a training run, or a file of `pack`; by default those
      that come with the package.
    boxes: `whole` (one person who fills the picture), or what
      `boxes.read_boxes` takes. A frame of a video is called <index>.jpg with
      six digits there, and its image id is its index, from 0.
    detector: what `detectors.open_detector` takes, instead of boxes.
    follow: whether people are followed by their poses through the frames that
      have no box for them.
    smooth: `none`; `online` (One-Euro); or `lag`, looking 0.2 s ahead too.
    fps: of pictures.
    box_threshold: boxes that score less are left out; by default the config's,
      for a detector its own.
    **sampling: steps, samples, flip, seed and eta of `Estimator.load`.

  Raises:
    ValueError: anything wrong with input, boxes or weights, named with its
      remedy; of several videos the others are done first.
  """
  out = pathlib.Path(out)
  boxes_in.check(boxes, detector)
  identities.check(smooth)
  # Before the weights, which take longer.
  found, failures = _opened(sources.find(input, fps=fps))
  finder = None
  if detector is not None:
    finder = detectors.open_detector(detector, threshold=box_threshold)
  weights = shipped.find(weights)
  estimator = estimator_lib.Estimator.load(weights, **sampling)
  if finder is not None:
    supplies = [boxes_in.detected(finder)] * len(found)
  elif str(boxes) == boxes_in.WHOLE:
    supplies = [boxes_in.whole()] * len(found)
  else:
    config: Any = estimator.config
    least = config.evaluate.box_threshold
    file = pathlib.Path(str(boxes))
    supplies = boxes_in.of_file(
      file,
      found,
      threshold=float(least if box_threshold is None else box_threshold),
    )
    outputs.check_not_overwritten(file, [source for source, _ in found], out)
  calibrated, warnings = calibration.find(weights, estimator.protocol())
  for warning in warnings:
    logging.warning(warning)
  videos = [
    Video(source, info, supply)
    for (source, info), supply in zip(found, supplies, strict=True)
  ]
  return run(
    videos,
    estimator,
    out,
    way=Way(follow, smooth),
    calibrated=calibrated,
    failures=failures,
  )


def _opened(
  found: Sequence[sources.Source],
) -> tuple[list[tuple[sources.Source, video.VideoInfo]], list[str]]:
  """The videos that can be opened, and the names of the others.

  Raises ValueError where none of them can.
  """
  opened, failures = [], []
  for source in found:
    try:
      opened.append((source, video.open_video(source)))
    except (ValueError, OSError) as error:
      if len(found) == len(failures) + 1:
        raise
      logging.error("%s", error)
      failures.append(source.name)
  return opened, failures


def run(
  videos: Sequence[Video],
  estimator: estimator_lib.Estimator,
  out: pathlib.Path,
  *,
  way: Way | None = None,
  calibrated: calibration.Calibration | None = None,
  failures: Sequence[str] = (),
) -> list[outputs.Output]:
  """Predicts videos with a loaded estimator; see `predict`.

  `failures` are names of others that could not even be opened.
  """
  for one in videos:
    outputs.check_not_overwritten(one.source.path, [one.source], out)
  live = any(one.info.live for one in videos)
  maker = _Maker(estimator, out, way or Way(), calibrated)
  done, failed, count = [], list(failures), len(videos) + len(failures)
  with reading.asked_to_stop(live) as asked:
    jobs = [maker.job(one, asked) for one in videos]
    with contextlib.closing(maker.stream(live)(jobs)) as items:
      for job in jobs:
        try:
          done.append(maker.write(job, flow.of(job, items)))
          print(done[-1], flush=True)
        except flow.BrokenError:
          raise
        except (ValueError, OSError) as error:
          if count == 1:
            raise
          logging.error("%s", error)
          failed.append(job.source.name)
          flow.skip(job, items)
  print(f"time: {maker.stages}", flush=True)
  if failed:
    raise ValueError(
      f"{len(failed)} of {count} videos were not done ({', '.join(failed)}), "
      f"for the reasons above; the others are in {out}"
    )
  return done


class _Maker:
  """Makes the outputs of videos."""

  def __init__(
    self,
    estimator: estimator_lib.Estimator,
    out: pathlib.Path,
    way: Way,
    calibrated: calibration.Calibration | None,
  ):
    self.stages = stages_lib.Stages()
    self._estimator = estimator
    self._skeleton = estimator.skeleton
    self._out = out
    self._way = way
    self._calibrated = calibrated

  def job(self, one: Video, asked: threading.Event) -> flow.Job:
    """What is to be done of a video, of a camera until `asked` is set."""
    frames = functools.partial(
      reading.opened, one.source, one.info, self.stages, asked
    )
    return flow.Job(one.source, one.info, one.supply, frames)

  def stream(self, live: bool) -> stream.Stream:
    """What finds people; live, without a frame that waits for another."""
    return stream.Stream(
      self._estimator,
      calibrated=self._calibrated,
      follow=self._follow if self._way.follow else None,
      singly=live,
      shrink=canvas.shrunk,
      stages=self.stages,
    )

  def _follow(self) -> propagation.Propagation:
    return propagation.Propagation(joints=self._skeleton.evaluated)

  def write(
    self, job: flow.Job, frames: Iterator[flow.Shown]
  ) -> outputs.Output:
    """Finishes the frames of a video and writes what there is of it."""
    smooth = self._way.smooth
    protocol = self._estimator.protocol() | job.supply.protocol
    protocol |= {"decoded_by": job.info.backend, "smooth": smooth}
    protocol |= calibration.describe(self._calibrated)
    if self._way.follow:
      protocol |= self._follow().protocol()
    if not job.supply.tracked:
      frames = identities.tracked(frames, self._skeleton, self.stages)
      protocol["identities"] = "tracker"
    frames = identities.smoothed(frames, self._skeleton, smooth, self.stages)
    return outputs.write(
      job,
      frames,
      self._out,
      skeleton=self._skeleton,
      protocol=protocol,
      stages=self.stages,
    )
