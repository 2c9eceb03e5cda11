"""Frames in, the same frames with the people's poses out, one after the other.

A window of 2δ + 1 frames, the clips that wait for a full batch, and the
pictures to which they belong are all that is in memory.
"""

import collections
import contextlib
import dataclasses
import time as clock
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from diffpose_jax.data import annotations, warping
from diffpose_jax.inference import boxes_in, calibration, propagation
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.pose import geometry, uncertainty

Timed = tuple[int, float, np.ndarray]  # index, seconds, RGB frame


class Stages:
  """Seconds of wall time by stage."""

  def __init__(self):
    self.seconds: dict[str, float] = collections.defaultdict(float)

  @contextlib.contextmanager
  def __call__(self, name: str) -> Iterator[None]:
    """A context whose time is that of a stage."""
    began = clock.perf_counter()
    try:
      yield
    finally:
      self.seconds[name] += clock.perf_counter() - began

  def drawn_from(self, name: str, items: Iterable[Any]) -> Iterator[Any]:
    """The items; the time of waiting for each is that of a stage."""
    iterator = iter(items)
    while True:
      with self(name):
        try:
          item = next(iterator)
        except StopIteration:
          return
      yield item


@dataclasses.dataclass
class Shown:
  """A frame whose people are being found."""

  index: int
  time: float  # seconds
  size: tuple[int, int]  # (height, width) of the frame itself
  picture: np.ndarray  # what to draw on
  people: list[annotations.Person] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class _Crop:
  """A person of a frame, on the way to the network."""

  frame: Shown
  person: boxes_in.Box
  clip: np.ndarray  # uint8 (t, h, w, 3)
  to_picture: np.ndarray  # affine (2, 3) from crop to picture


@dataclasses.dataclass(frozen=True)
class Found:
  """A person and the scores of the joints without that of the box."""

  person: annotations.Person
  scores: np.ndarray  # float32 (k,)


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


class Stream:
  """Finds the people of one video's frames."""

  def __init__(
    self,
    estimator: estimator_lib.Estimator,
    *,
    name: str,
    calibrated: calibration.Calibration | None = None,
    shrink: Callable[[np.ndarray], np.ndarray] = lambda frame: frame,
    stages: Stages | None = None,
  ):
    """Before the first frame.

    Args:
      estimator: network with a config; see `Estimator`.
      name: of the video; people's sampling noise depends on it and their track.
      calibrated: for the uncertainty of the joints; else it is the raw spread.
      shrink: makes of a frame the picture that is kept.
      stages: to which the time of `boxes`, `crops` and `network` is added.
    """
    self._estimator = estimator
    self._config: Any = estimator.config
    self._name = name
    self._calibrated = calibrated
    self._shrink = shrink
    self._stages = stages or Stages()

  def poses(
    self, frames: Iterable[Timed], find: boxes_in.Find
  ) -> Iterator[Shown]:
    """The frames in order, each with all its people.

    A joint's score is its heatmap's times its box's.
    """
    batch = self._config.evaluate.batch
    shown: collections.deque[Shown] = collections.deque()
    crops: list[_Crop] = []
    for window in windows(frames, self._config.data.span):
      frame, key_frame = self._begin(window)
      shown.append(frame)
      with self._stages("boxes"):
        people = find(frame.index, key_frame)
      for person in people:
        crops.append(self._crop(window, person, frame))
        if len(crops) == batch:
          self._add(crops)
          crops.clear()
      # Frames without people must not pile up behind a batch that does not
      # fill.
      if len(shown) >= batch and crops:
        self._add(crops)
        crops.clear()
      while shown and not crops:
        yield shown.popleft()
    if crops:
      self._add(crops)
    yield from shown

  def followed(
    self,
    frames: Iterable[Timed],
    find: boxes_in.Find,
    follow: propagation.Propagation,
  ) -> Iterator[Shown]:
    """As `poses`, but people are followed through frames without their boxes.

    Each frame needs the poses of the one before, so only the people of a frame
    share a batch.
    """
    batch = self._config.evaluate.batch
    for window in windows(frames, self._config.data.span):
      frame, key_frame = self._begin(window)
      with self._stages("boxes"):
        given = [
          propagation.Given(one.box, one.score, one.track_id)
          for one in find(frame.index, key_frame)
        ]
        people = follow.boxes(frame.time, frame.size, given)
      crops = [
        self._crop(
          window, boxes_in.Box(one.box, one.score, one.track_id), frame
        )
        for one in people
      ]
      found: list[Found] = []
      for first in range(0, len(crops), batch):
        found += self._estimate(crops[first : first + batch])
      count = len(self._estimator.skeleton.joints)
      seen = follow.update(
        frame.time,
        people,
        np.array([f.person.joints for f in found]).reshape(-1, count, 2),
        np.array([f.scores for f in found]).reshape(-1, count),
      )
      frame.people += [
        f.person for f, there in zip(found, seen, strict=True) if there
      ]
      yield frame

  def _begin(self, window: list[Timed]) -> tuple[Shown, np.ndarray]:
    index, time, frame = window[self._config.data.span]
    with self._stages("drawing"):
      picture = self._shrink(frame)
    return Shown(index, time, frame.shape[:2], picture), frame

  def _crop(
    self, window: list[Timed], person: boxes_in.Box, frame: Shown
  ) -> _Crop:
    with self._stages("crops"):
      size = tuple(self._config.data.size)
      box = geometry.enlarge(person.box, self._config.data.enlarge)
      affine = geometry.crop_affine(box, size)
      clip = warping.warp([f for _, _, f in window], affine, size)
      return _Crop(frame, person, clip, geometry.invert(affine))

  def _add(self, crops: list[_Crop]) -> None:
    """Adds the people of a batch of crops to their frames."""
    for crop, found in zip(crops, self._estimate(crops), strict=True):
      crop.frame.people.append(found.person)

  def _estimate(self, crops: list[_Crop]) -> list[Found]:
    """The people of a batch of crops."""
    with self._stages("network"):
      tracks = [crop.person.track_id for crop in crops]
      noise = [annotations.noise_id(self._name, track) for track in tracks]
      frames = np.stack([crop.clip for crop in crops])
      poses = self._estimator(frames, np.array(noise, np.uint32))
    to_picture = np.stack([crop.to_picture for crop in crops])
    joints = geometry.apply(to_picture, poses.joints).astype(np.float32)
    broken = ~np.isfinite(joints).all(axis=(1, 2))
    if broken.any():
      index = crops[int(np.argmax(broken))].frame.index
      raise ValueError(
        f"{self._name}: frame {index}: the network gives no finite pose; the "
        "weights are broken, take an earlier checkpoint"
      )
    boxes = np.stack([np.asarray(crop.person.box, float) for crop in crops])
    stated = calibration.state(
      np.stack([geometry.apply(to_picture, one) for one in poses.samples]),
      uncertainty.carried(to_picture[:, None, :, :2], poses.shape),
      (boxes[:, 2:] - boxes[:, :2]).max(axis=1),
      self._calibrated,
    )
    # Other channels (PoseTrack's ears) never saw a label: what they say is no
    # joint.
    skeleton = self._estimator.skeleton
    known = np.isin(np.arange(joints.shape[1]), skeleton.evaluated)
    result = []
    for i, (crop, where) in enumerate(zip(crops, joints, strict=True)):
      person = crop.person
      own = np.where(known, poses.score[i], 0).astype(np.float32)
      result.append(
        Found(
          annotations.Person(
            box=np.asarray(person.box, np.float32),
            joints=where,
            labelled=known,
            track_id=person.track_id,
            scores=(own * person.score).astype(np.float32),
            box_score=person.score,
            scale=stated.scale[i],
            within=None if stated.within is None else stated.within[i],
          ),
          own,
        )
      )
    return result
