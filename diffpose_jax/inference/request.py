"""What a call of `predict` asks for, and what it loads to do it."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

from diffpose_jax.data import sources
from diffpose_jax.data import video as videos
from diffpose_jax.inference import (
  boxes_in,
  calibration,
  detection,
  detectors,
  run,
  shipped,
  stream,
)
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import wanted as wanted_lib

Opened = tuple[sources.Source, videos.VideoInfo]


@dataclasses.dataclass(frozen=True)
class Request:
  """All that is the same for each video; plain, so that it can be sent."""

  out: pathlib.Path
  weights: str | pathlib.Path | None  # as `shipped.find` takes them
  way: stream.Way
  wanted: wanted_lib.Wanted
  boxes: str | pathlib.Path | None
  detector: str | None
  box_threshold: float | None
  sampling: Mapping[str, Any]

  @property
  def boxes_file(self) -> pathlib.Path | None:
    """The file of boxes, or folder of such, where there is one."""
    if self.boxes is None or str(self.boxes) == boxes_in.WHOLE:
      return None
    return pathlib.Path(self.boxes)


class Loaded:
  """Weights and detector of a request."""

  def __init__(self, request: Request):
    """Loads them; ValueError where they cannot be used."""
    self.request = request
    self._finder: detection.Detector | None = None
    # Before the weights, which take longer.
    if request.detector is not None:
      self._finder = detectors.open_detector(
        request.detector, threshold=request.box_threshold
      )
    weights = shipped.find(request.weights)
    self.estimator = estimator_lib.Estimator.load(weights, **request.sampling)
    self.calibrated, warnings = calibration.find(
      weights, self.estimator.protocol()
    )
    for warning in warnings:
      logging.warning(warning)

  def video(self, source: sources.Source, info: videos.VideoInfo) -> run.Video:
    """A video whose boxes are in no file."""
    if self._finder is None:
      return run.Video(source, info, boxes_in.whole())
    return run.Video(source, info, boxes_in.detected(self._finder))


def with_boxes(
  request: Request, found: Sequence[Opened], config: Any
) -> list[run.Video]:
  """The videos with their boxes in the request's file, by the weights' config.

  A file may name pictures in several ways, of which all the videos of the call
  decide.
  """
  file = request.boxes_file
  assert file is not None
  threshold = request.box_threshold
  if threshold is None:
    threshold = config.evaluate.box_threshold
  supplies = boxes_in.of_file(file, found, threshold=float(threshold))
  named = [source for source, _ in found]
  request.wanted.check_not_overwritten(file, named, request.out)
  return [
    run.Video(source, info, supply)
    for (source, info), supply in zip(found, supplies, strict=True)
  ]


def opened(
  found: Sequence[sources.Source],
) -> tuple[list[Opened], dict[str, ValueError | OSError]]:
  """The videos that can be opened, and what is wrong with the others."""
  whole, broken = [], {}
  for source in found:
    try:
      whole.append((source, videos.open_video(source)))
    except (ValueError, OSError) as error:
      broken[source.name] = error
  return whole, broken
