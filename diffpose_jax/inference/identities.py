"""Identities for people who have none, and joints made steady along them."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from diffpose_jax.data import annotations
from diffpose_jax.inference import flow, one_euro, smoothing, tracker
from diffpose_jax.inference import stages as stages_lib
from diffpose_jax.pose import skeleton as skeletons

SMOOTH = ("none", "online", "lag")
_STAGE = "identities"  # whose time it is


def check(smooth: str) -> None:
  """Raises ValueError where there is no such way to smooth."""
  if smooth not in SMOOTH:
    raise ValueError(
      f"--smooth={smooth}: there are {', '.join(SMOOTH)}; online looks at what "
      "came before, lag also 0.2 s ahead"
    )


def tracked(
  frames: Iterable[flow.Shown],
  skeleton: skeletons.Skeleton,
  stages: stages_lib.Stages,
) -> Iterator[flow.Shown]:
  """The frames, their people with identities found by pose and motion."""
  finder = tracker.Tracker(tracker.Options(sigmas=skeleton.sigmas))
  joints = len(skeleton.joints)
  for frame in frames:
    people = frame.people
    with stages(_STAGE):
      ids = finder.update(
        frame.time,
        _stacked([person.box for person in people], (4,)),
        np.array([person.box_score for person in people], float),
        _stacked([person.joints for person in people], (joints, 2)),
        _stacked([person.scores for person in people], (joints,)),
      )
    frame.people = [
      dataclasses.replace(person, track_id=int(track))
      for person, track in zip(people, ids, strict=True)
    ]
    yield frame


def smoothed(
  frames: Iterable[flow.Shown],
  skeleton: skeletons.Skeleton,
  smooth: str,
  stages: stages_lib.Stages,
) -> Iterator[flow.Shown]:
  """The frames in order, with joints steadied along identities.

  `lag` gives each frame a fifth of a second later, when what follows is known.
  """
  if smooth == "none":
    yield from frames
    return
  online = one_euro.OneEuro() if smooth == "online" else None
  lagging = smoothing.FixedLag()
  waiting: collections.deque[flow.Shown] = collections.deque()
  for frame in frames:
    given = (frame.time, *_points(frame.people, len(skeleton.joints)))
    if online is not None:
      with stages(_STAGE):
        points = online.update(*given)
      yield _moved(frame, points)
      continue
    waiting.append(frame)
    weights = _stacked(
      [person.scores for person in frame.people], (len(skeleton.joints),)
    )
    with stages(_STAGE):
      ready = lagging.push(*given, weights=weights)
    for points in ready:
      yield _moved(waiting.popleft(), points)
  for points in lagging.finish():
    yield _moved(waiting.popleft(), points)


def _points(
  people: list[annotations.Person], joints: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Identities, joints and sizes."""
  boxes = _stacked([person.box for person in people], (4,))
  sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3)
  return (
    np.array([person.track_id for person in people], int),
    _stacked([person.joints for person in people], (joints, 2)),
    np.sqrt(sides.prod(axis=1)),
  )


def _moved(frame: flow.Shown, points: np.ndarray) -> flow.Shown:
  """The frame with joints where they were put; the others stay."""
  frame.people = [
    dataclasses.replace(
      person,
      joints=np.where(np.isfinite(new), new, person.joints).astype(np.float32),
    )
    for person, new in zip(frame.people, points, strict=True)
  ]
  return frame


def _stacked(rows: list, shape: tuple[int, ...]) -> np.ndarray:
  """Rows as one float array, also where there are none."""
  return np.array(rows, float).reshape(len(rows), *shape)
