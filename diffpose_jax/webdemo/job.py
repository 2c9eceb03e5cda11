"""A job: the poses of a clip, and what the page shows of them."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from diffpose_jax import config as config_lib
from diffpose_jax.data import sources, video
from diffpose_jax.inference import (
  averaged,
  boxes_in,
  calibration,
  detectors,
  run,
  stream,
)
from diffpose_jax.inference import wanted as wanted_lib
from diffpose_jax.webdemo import estimators, request, summary

FORMATS = "json,posetrack,csv,npz"


@dataclasses.dataclass
class Poses:
  """Jobs of some weights, as what a `worker.Worker` does."""

  weights: pathlib.Path
  detector: str  # as `predict --detector`

  def prepare(self) -> None:
    """Compiles the network as the page has it at first.

    For somebody who is followed, and for a few people at once; what else is
    asked for is compiled then.
    """
    first = self._estimators(**defaults(self.weights))
    config: Any = first.config
    shape = (1, config_lib.frames(config), *config.data.size, 3)
    for size in {first.ladder[0], first.sizes[0]}:
      blank = np.zeros(shape, np.uint8), np.zeros(1, np.uint32)
      first.start(*blank, size=size).poses()

  def __call__(
    self, asked: dict[str, Any], told: Callable[[int, int], None]
  ) -> dict[str, Any]:
    """A `Done` of a `Request`, both in JSON types."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
      done = do(
        request.Request.of(asked),
        self._estimators,
        self.weights,
        detector=self.detector,
        told=told,
      )
    return dataclasses.asdict(done)

  @property
  def _estimators(self) -> estimators.Estimators:
    # Made in the process that uses them, to which this is sent.
    if "known" not in self.__dict__:
      self.__dict__["known"] = estimators.Estimators(self.weights)
    return self.__dict__["known"]


@dataclasses.dataclass(frozen=True)
class Done:
  """What there is of a clip, in JSON types; files by their names in `out`."""

  video: str
  page: str  # to look into the poses
  files: tuple[str, ...]  # all of them, those of poses first
  frames: int
  people: int  # records of somebody in a frame
  tracks: int
  notes: tuple[str, ...]  # what a visitor must know
  uncertainty: tuple[dict[str, Any], ...]  # `summary.Person` of each

  @classmethod
  def of(cls, record: dict[str, Any]) -> "Done":
    """What `dataclasses.asdict` gave, by way of JSON."""
    given: dict[str, Any] = dict(record)
    for name in ("files", "notes", "uncertainty"):
      given[name] = tuple(given[name])
    return cls(**given)


def do(
  asked: request.Request,
  known: estimators.Estimators,
  weights: pathlib.Path,
  *,
  detector: str = "hog",
  told: Callable[[int, int], None] = lambda done, count: None,
) -> Done:
  """Finds the poses in a clip and writes them.

  It does what `predict` does, with a network that may be loaded already.

  Args:
    asked: what is to be done.
    known: the networks.
    weights: of which these are.
    detector: for people who are to be found.
    told: is called with the frames that were looked at, and how many there are.

  Raises:
    ValueError: as `predict` does.
  """
  source = sources.of(pathlib.Path(asked.path))
  info = video.open_video(source)
  estimator = known(asked.steps, asked.samples)
  calibrated, notes = calibration.find(weights, estimator.protocol())
  supply = _counted(_supply(asked, detector), asked.frames, told)
  wanted = wanted_lib.parse(formats=FORMATS, video="webm", viewer=True)
  # Who is drawn is in the first frame alone; who is found may be missed.
  way = stream.Way(follow=asked.way != request.WHOLE)
  out = pathlib.Path(asked.out)
  (output,) = run.run(
    [run.Video(source, info, supply)],
    estimator,
    out,
    way=way,
    wanted=wanted,
    calibrated=calibrated,
  )
  assert output.video is not None and output.page is not None
  nobody = "nobody was found in it"
  if asked.way == request.FOUND:
    weak = "; the detector is weak: draw boxes"
    nobody += (
      weak if detector == "hog" else "; if somebody is there, draw boxes"
    )
  return Done(
    video=output.video.name,
    page=output.page.name,
    files=tuple(path.name for path in output.files),
    frames=output.frames,
    people=output.people,
    tracks=output.tracks,
    notes=(
      *([] if output.people else [nobody]),
      *([_uncalibrated(notes)] if notes else []),
      *output.notes,
    ),
    uncertainty=tuple(
      dataclasses.asdict(person) for person in summary.of_file(output.poses[0])
    ),
  )


def defaults(weights: pathlib.Path) -> dict[str, int]:
  """Steps and samples as the config of weights says."""
  from_config: Any = averaged.find(weights).config.evaluate
  return {"steps": from_config.steps, "samples": from_config.samples}


def _supply(asked: request.Request, detector: str) -> boxes_in.Supply:
  """Where the boxes of the people come from."""
  if asked.way == request.WHOLE:
    return boxes_in.whole()
  if asked.way == request.FOUND:
    return boxes_in.detected(detectors.open_detector(detector))
  people = [
    boxes_in.Box(np.array(box, np.float32), track_id=number)
    for number, box in enumerate(asked.boxes)
  ]
  return boxes_in.Supply(
    lambda index, frame: people if index == 0 else [],
    {"boxes": "drawn on the first frame"},
    tracked=True,
  )


def _counted(
  supply: boxes_in.Supply, count: int, told: Callable[[int, int], None]
) -> boxes_in.Supply:
  """The same, telling of each frame whose boxes are asked for."""

  def find(index: int, frame: np.ndarray) -> list[boxes_in.Box]:
    told(index + 1, count)
    return supply.find(index, frame)

  return dataclasses.replace(supply, find=find)


def _uncalibrated(notes: list[str]) -> str:
  """Why there is no calibration, without the path of the weights."""
  reason = notes[0].rsplit(": ", 1)[-1].partition(";")[0]
  return f"The uncertainty is not calibrated: the calibration {reason}."
