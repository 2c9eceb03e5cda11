"""Poses of the people in videos, one record for each decoded frame.

Frames stream through: what is in memory does not grow with a video's length,
but for the records of the people found.
"""

import contextlib
import dataclasses
import pathlib
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import tqdm
from absl import logging

from diffpose_jax.data import ahead, annotations, results, sources, video
from diffpose_jax.inference import (
  annotated,
  boxes_in,
  calibration,
  detectors,
  identities,
  propagation,
  shipped,
  stream,
)
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.pose import skeleton as skeletons

_LONGEST = 1280  # pixels of the annotated video; larger ones encode too slowly


@dataclasses.dataclass(frozen=True)
class Output:
  """What was written of a video."""

  poses: pathlib.Path  # PoseTrack18 JSON
  video: pathlib.Path  # annotated WebM
  frames: int
  people: int
  tracks: int  # different identities
  stages: dict[str, float]  # seconds


@dataclasses.dataclass(frozen=True)
class Way:
  """How people are followed, and their joints steadied."""

  follow: bool = False  # through frames without their boxes
  smooth: str = "none"


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
) -> list[Output]:
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
  boxes_in.check(boxes, detector)
  identities.check(smooth)
  found = sources.find(input, fps=fps)
  # Before the weights, which take longer.
  infos = [video.open_video(source) for source in found]
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
    supplies = boxes_in.of_file(
      pathlib.Path(str(boxes)),
      list(zip(found, infos, strict=True)),
      threshold=float(least if box_threshold is None else box_threshold),
    )
    _check_not_overwritten(pathlib.Path(str(boxes)), found, pathlib.Path(out))
  calibrated, warnings = calibration.find(weights, estimator.protocol())
  for warning in warnings:
    logging.warning(warning)
  outputs, failures = [], []
  for source, supply in zip(found, supplies, strict=True):
    try:
      output = write(
        source,
        supply,
        estimator,
        pathlib.Path(out),
        way=Way(follow, smooth),
        calibrated=calibrated,
      )
    except (ValueError, OSError) as error:
      if len(found) == 1:
        raise
      logging.error("%s", error)
      failures.append(source.name)
      continue
    outputs.append(output)
    print(_told(output), flush=True)
  if failures:
    raise ValueError(
      f"{len(failures)} of {len(found)} videos were not done "
      f"({', '.join(failures)}), for the reasons above; the others are in {out}"
    )
  return outputs


def write(
  source: sources.Source,
  supply: boxes_in.Supply,
  estimator: estimator_lib.Estimator,
  out: pathlib.Path,
  *,
  way: Way | None = None,
  calibrated: calibration.Calibration | None = None,
) -> Output:
  """Predicts one video with a loaded estimator; see `predict`."""
  way = way or Way()
  info = video.open_video(source)
  _check_not_overwritten(source.path, [source], out)
  out.mkdir(parents=True, exist_ok=True)
  target = out / f"{source.name}.webm"
  skeleton = estimator.skeleton
  stages = stream.Stages()
  protocol = estimator.protocol() | supply.protocol
  protocol |= {"decoded_by": info.backend, "smooth": way.smooth}
  protocol |= calibration.describe(calibrated)
  pose_stream = stream.Stream(
    estimator,
    # Not the name of its outputs, which depends on what is beside it.
    name=source.path.stem,
    calibrated=calibrated,
    shrink=_shrunk,
    stages=stages,
  )
  size = _drawn_size((info.height, info.width))
  progress = tqdm.tqdm(
    desc=source.name,
    total=info.count_hint or None,
    unit="frame",
    dynamic_ncols=True,
  )
  records, tracks = [], set()
  with (
    progress,
    video.Writer(target, fps=info.fps, size=size) as writer,
    _frames(source, info) as decoded,
  ):
    frames = stages.drawn_from("waiting for frames", decoded)
    if way.follow:
      follow = propagation.Propagation(joints=skeleton.evaluated)
      protocol |= follow.protocol()
      shown = pose_stream.followed(frames, supply.find, follow)
    else:
      shown = pose_stream.poses(frames, supply.find)
    if not supply.tracked:
      shown = identities.tracked(shown, skeleton)
      protocol["identities"] = "tracker"
    for frame in identities.smoothed(shown, skeleton, way.smooth):
      with stages("drawing"):
        writer.write(_drawn(frame, skeleton), time=frame.time)
      records.append(_record(frame, info))
      tracks |= {person.track_id for person in frame.people}
      progress.update()
    with stages("writing"):
      [poses] = results.write_posetrack(
        out,
        [annotations.Video(source.name, tuple(records))],
        skeleton=skeleton,
        protocol=protocol,
      )
  people = sum(len(frame.people) for frame in records)
  return Output(
    *(poses, target, len(records), people, len(tracks - {-1})),
    stages=dict(stages.seconds),
  )


def _told(output: Output) -> str:
  spent = sorted(output.stages.items(), key=lambda item: -item[1])
  times = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in spent)
  return (
    f"{output.people} people in {output.frames} frames, {output.tracks} "
    f"identities\nposes: {output.poses}\nvideo: {output.video}\ntime: {times}"
  )


def _check_not_overwritten(
  given: pathlib.Path, found: Sequence[sources.Source], out: pathlib.Path
) -> None:
  for source in found:
    for suffix in (".webm", ".json"):
      if given.resolve() == (out / f"{source.name}{suffix}").resolve():
        raise ValueError(
          f"{given}: would be overwritten by the prediction; give another --out"
        )


@contextlib.contextmanager
def _frames(
  source: sources.Source, info: video.VideoInfo
) -> Iterator[Iterable[stream.Timed]]:
  """The frames of a source, decoded beside their use; a camera's until Ctrl-C."""
  frames = video.read(source)
  if not info.live:
    with ahead.Ahead(frames) as decoded:
      yield decoded
    return
  with contextlib.closing(frames), _asked_to_stop() as asked:
    yield _until(frames, asked)


def _until(
  frames: Iterable[stream.Timed], asked: threading.Event
) -> Iterator[stream.Timed]:
  for frame in frames:
    if asked.is_set():
      return
    yield frame


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
  """An event that Ctrl-C sets, once; the second one ends as usual."""
  asked = threading.Event()
  if threading.current_thread() is not threading.main_thread():
    yield asked  # Python gives signals to the main thread alone.
    return
  before = signal.getsignal(signal.SIGINT)

  def ask(number: int, frame: Any) -> None:
    del number, frame
    asked.set()
    signal.signal(signal.SIGINT, before)

  signal.signal(signal.SIGINT, ask)
  try:
    yield asked
  finally:
    signal.signal(signal.SIGINT, before)


def _record(shown: stream.Shown, info: video.VideoInfo) -> annotations.Frame:
  names = info.names
  return annotations.Frame(
    file_name=names[shown.index] if names else f"{shown.index:06d}.jpg",
    image_id=shown.index,
    labelled=True,
    people=tuple(shown.people),
    height=shown.size[0],
    width=shown.size[1],
    time=shown.time,
  )


def _drawn_size(size: tuple[int, int]) -> tuple[int, int]:
  """(height, width) of the annotated video of frames of a size."""
  zoom = min(1.0, _LONGEST / max(size))
  return round(size[0] * zoom), round(size[1] * zoom)


def _shrunk(frame: np.ndarray) -> np.ndarray:
  height, width = _drawn_size(frame.shape[:2])
  if (height, width) == frame.shape[:2]:
    return frame
  return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)


def _drawn(shown: stream.Shown, skeleton: skeletons.Skeleton) -> np.ndarray:
  """The picture of a frame with its people's poses, boxes and identities."""
  return annotated.drawn(
    shown.picture,
    shown.people,
    frame=shown.size,
    skeleton=skeleton,
    options=annotated.Options(),
  )
