"""Poses of the people in a video, one record for each decoded frame.

Frames stream through: a window of 2δ + 1 of them, the clips that wait for a
full batch, and the pictures to which they belong are all that is in memory.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import cv2
import numpy as np
import tqdm
from absl import logging

from diffpose_jax.data import annotations, results, video, warping
from diffpose_jax.data import boxes as boxes_lib
from diffpose_jax.inference import calibration, draw
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.pose import geometry, uncertainty
from diffpose_jax.pose import skeleton as skeletons

WHOLE = "whole"  # instead of a file of boxes: one person fills the picture
_LONGEST = 1280  # pixels of the annotated video; larger ones encode too slowly


@dataclasses.dataclass(frozen=True)
class Output:
  """What was written."""

  poses: pathlib.Path  # PoseTrack18 JSON
  video: pathlib.Path  # annotated WebM
  frames: int
  people: int


@dataclasses.dataclass(frozen=True)
class Detection:
  """A person's box in one frame."""

  box: np.ndarray  # float32 (4,) xyxy edges, picture pixels
  score: float = 1.0
  track_id: int = -1  # -1: unknown


@dataclasses.dataclass
class _Shown:
  """A frame whose people are being found."""

  index: int
  time: float
  size: tuple[int, int]  # (height, width) of the frame itself
  picture: np.ndarray  # what to draw on
  people: list[annotations.Person] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class _Crop:
  """A person of a frame, on the way to the network."""

  frame: _Shown
  person: Detection
  clip: np.ndarray  # uint8 (t, h, w, 3)
  to_picture: np.ndarray  # affine (2, 3) from crop to picture


# A function from frame index and (height, width) to the people's boxes.
Detector = Callable[[int, tuple[int, int]], list[Detection]]


def predict(
  *,
  input: str | pathlib.Path,
  boxes: str | pathlib.Path,
  weights: pathlib.Path,
  out: pathlib.Path,
  box_threshold: float | None = None,
  **sampling: Any,
) -> Output:
  """Writes <out>/<name>.json and <out>/<name>.webm, and says where they are.

  Args:
    input: video file, or folder of JPEG or PNG frames of one size.
    boxes: `whole` (one person who fills the picture), or what
      `boxes.read_boxes` takes. A frame of a video is called <index>.jpg with
      six digits there, and its image id is its index, from 0.
    weights: workdir of a training run.
    out: folder, made where it is missing; files appear in it whole or not at
      all.
    box_threshold: boxes that score less are left out; the config's by default.
    **sampling: steps, samples, flip, seed and eta of `Estimator.load`.

  Raises:
    ValueError: anything wrong with input, boxes or weights, named with its
      remedy.
  """
  path = pathlib.Path(input)
  video.open_video(path)  # before the weights, which take longer
  if str(boxes) != WHOLE and not pathlib.Path(boxes).exists():
    raise ValueError(
      f"{boxes}: no such file of boxes; give one, or --boxes={WHOLE} for one "
      "person who fills the picture"
    )
  estimator = estimator_lib.Estimator.load(pathlib.Path(weights), **sampling)
  if box_threshold is None:
    config: Any = estimator.config
    box_threshold = float(config.evaluate.box_threshold)
  calibrated, warnings = calibration.find(
    pathlib.Path(weights), estimator.protocol()
  )
  for warning in warnings:
    logging.warning(warning)
  output = write(
    path,
    boxes,
    estimator,
    pathlib.Path(out),
    box_threshold=box_threshold,
    calibrated=calibrated,
  )
  print(
    f"{output.people} people in {output.frames} frames\n"
    f"poses: {output.poses}\nvideo: {output.video}"
  )
  return output


def write(
  path: pathlib.Path,
  boxes: str | pathlib.Path,
  estimator: estimator_lib.Estimator,
  out: pathlib.Path,
  *,
  box_threshold: float,
  calibrated: calibration.Calibration | None = None,
) -> Output:
  """Predicts with a loaded estimator; see `predict`."""
  info = video.open_video(path)
  detector, source = open_detector(path, info, boxes, threshold=box_threshold)
  name = path.resolve().name if path.is_dir() else path.stem
  target = out / f"{name}.webm"
  for given in (path, pathlib.Path(boxes)):
    if given.resolve() in (target.resolve(), (out / f"{name}.json").resolve()):
      raise ValueError(
        f"{given}: would be overwritten by the prediction; give another --out"
      )
  out.mkdir(parents=True, exist_ok=True)
  size = _drawn_size((info.height, info.width))
  protocol = estimator.protocol() | source | calibration.describe(calibrated)
  progress = tqdm.tqdm(
    desc=name, total=info.count_hint or None, unit="frame", dynamic_ncols=True
  )
  frames = []
  with progress, video.Writer(target, fps=info.fps, size=size) as writer:
    for shown in track_poses(
      path, detector, estimator, name=name, calibrated=calibrated
    ):
      writer.write(_drawn(shown, estimator.skeleton))
      frames.append(_record(shown, info))
      progress.update()
    [poses] = results.write_posetrack(
      out,
      [annotations.Video(name, tuple(frames))],
      skeleton=estimator.skeleton,
      protocol=protocol,
    )
  people = sum(len(frame.people) for frame in frames)
  return Output(poses, target, len(frames), people)


def open_detector(
  path: pathlib.Path,
  info: video.VideoInfo,
  boxes: str | pathlib.Path,
  *,
  threshold: float,
) -> tuple[Detector, dict[str, Any]]:
  """The boxes of each frame, and what the protocol says of them.

  A frame that has no box has no people. Raises what `boxes.read_boxes` does.
  """
  if str(boxes) == WHOLE:
    return _whole, {"boxes": WHOLE}
  named = annotations.Video(
    path.stem,
    tuple(
      annotations.Frame(
        file_name=name,
        image_id=index,
        labelled=False,
        height=info.height,
        width=info.width,
      )
      for index, name in enumerate(_frame_names(path, info))
    ),
  )
  found = boxes_lib.read_boxes(boxes, [named], threshold=threshold)
  people = collections.defaultdict(list)
  for frame, box, score, track_id in zip(
    found.frame, found.box, found.score, found.track_id, strict=True
  ):
    people[int(frame)].append(Detection(box, float(score), int(track_id)))
  if found.unknown_images:
    logging.warning(
      "%s: %d boxes are of pictures that are not in %s; left out",
      boxes,
      found.unknown_images,
      path,
    )
  if found.outside:
    logging.warning(
      "%s: %d boxes have no part in their pictures; left out",
      boxes,
      found.outside,
    )
  protocol = {"boxes": pathlib.Path(boxes).name, "box_threshold": threshold}
  return lambda index, size: people[index], protocol


def _whole(index: int, size: tuple[int, int]) -> list[Detection]:
  return [Detection(boxes_lib.whole(*size))]


def _frame_names(path: pathlib.Path, info: video.VideoInfo) -> list[str]:
  """What a file of boxes may call the frames."""
  if info.names:  # with the folder, as files that cover many folders do
    return [f"{path.resolve().name}/{name}" for name in info.names]
  # A header may be wrong about the number of frames, and boxes of a frame
  # that is not there must not go unnoticed: so count them.
  return [f"{i:06d}.jpg" for i in range(video.count(path))]


def windows(frames: Iterable[Any], span: int) -> Iterator[list[Any]]:
  """Each item in the middle of its 2·span + 1 neighbours, ends repeated."""
  ring = collections.deque(maxlen=2 * span + 1)
  item = None
  for item in frames:
    ring.extend([item] * (1 if ring else span + 1))
    if len(ring) == 2 * span + 1:
      yield list(ring)
  for _ in range(span if ring else 0):
    ring.append(item)
    if len(ring) == 2 * span + 1:
      yield list(ring)


def track_poses(
  path: pathlib.Path,
  detector: Detector,
  estimator: estimator_lib.Estimator,
  *,
  name: str,
  calibrated: calibration.Calibration | None = None,
) -> Iterator[_Shown]:
  """The frames of a video in order, each with all its people.

  Args:
    path: video file or folder.
    detector: the boxes of a frame.
    estimator: network with a config; see `Estimator`.
    name: of the video; people's sampling noise depends on it and their track.
    calibrated: for the uncertainty of the joints; else it is the raw spread.

  A joint's score is its heatmap's times its box's.
  """
  config: Any = estimator.config
  data, batch = config.data, config.evaluate.batch
  shown: collections.deque[_Shown] = collections.deque()
  crops: list[_Crop] = []
  for window in windows(video.read(path), data.span):
    index, time, key_frame = window[data.span]
    size = key_frame.shape[:2]
    frame = _Shown(index, time, size, _shrunk(key_frame))
    shown.append(frame)
    for person in detector(index, size):
      crops.append(_crop([f for _, _, f in window], person, frame, data))
      if len(crops) == batch:
        _estimate(estimator, crops, name, calibrated)
        crops.clear()
    # Frames without people must not pile up behind a batch that does not fill.
    if len(shown) >= batch and crops:
      _estimate(estimator, crops, name, calibrated)
      crops.clear()
    while shown and not crops:
      yield shown.popleft()
  if crops:
    _estimate(estimator, crops, name, calibrated)
  yield from shown


def _crop(
  frames: list[np.ndarray], person: Detection, frame: _Shown, data: Any
) -> _Crop:
  size = tuple(data.size)
  box = geometry.enlarge(person.box, data.enlarge)
  affine = geometry.crop_affine(box, size)
  clip = warping.warp(frames, affine, size)
  return _Crop(frame, person, clip, geometry.invert(affine))


def _estimate(
  estimator: estimator_lib.Estimator,
  crops: list[_Crop],
  name: str,
  calibrated: calibration.Calibration | None,
) -> None:
  """Adds the people of a batch of crops to their frames."""
  noise = [annotations.noise_id(name, crop.person.track_id) for crop in crops]
  frames = np.stack([crop.clip for crop in crops])
  poses = estimator(frames, np.array(noise, np.uint32))
  to_picture = np.stack([crop.to_picture for crop in crops])
  joints = geometry.apply(to_picture, poses.joints).astype(np.float32)
  broken = ~np.isfinite(joints).all(axis=(1, 2))
  if broken.any():
    index = crops[int(np.argmax(broken))].frame.index
    raise ValueError(
      f"{name}: frame {index}: the network gives no finite pose; the weights "
      "are broken, take an earlier checkpoint"
    )
  boxes = np.stack([np.asarray(crop.person.box, float) for crop in crops])
  stated = calibration.state(
    np.stack([geometry.apply(to_picture, one) for one in poses.samples]),
    uncertainty.carried(to_picture[:, None, :, :2], poses.shape),
    (boxes[:, 2:] - boxes[:, :2]).max(axis=1),
    calibrated,
  )
  # Other channels (PoseTrack's ears) never saw a label: what they say is no
  # joint.
  known = np.isin(np.arange(joints.shape[1]), estimator.skeleton.evaluated)
  for i, (crop, where) in enumerate(zip(crops, joints, strict=True)):
    person, score = crop.person, poses.score[i]
    scores = np.where(known, score * person.score, 0).astype(np.float32)
    crop.frame.people.append(
      annotations.Person(
        box=np.asarray(person.box, np.float32),
        joints=where,
        labelled=known,
        track_id=person.track_id,
        scores=scores,
        box_score=person.score,
        scale=stated.scale[i],
        within=None if stated.within is None else stated.within[i],
      )
    )


def _record(shown: _Shown, info: video.VideoInfo) -> annotations.Frame:
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


def _drawn(shown: _Shown, skeleton: skeletons.Skeleton) -> np.ndarray:
  """The picture of a frame with its people's poses, boxes and identities."""
  picture = shown.picture
  zoom = picture.shape[0] / shown.size[0]
  # Of pixel centres: the first pixel's centre moves when pixels shrink.
  shift = (zoom - 1) / 2
  for person in shown.people:
    assert person.box is not None
    assert person.scores is not None
    label = "" if person.track_id < 0 else str(person.track_id)
    edges = person.box * zoom + shift
    joints = person.joints * zoom + shift
    picture = draw.box(picture, edges, label=label)
    picture = draw.pose(picture, joints, person.scores, skeleton=skeleton)
  return picture
