"""From the boxes that are given to those that people are cut out by."""

import collections
import dataclasses
from collections.abc import Iterator

import numpy as np

from diffpose_jax.inference import (
  boxes_in,
  flow,
  one_euro,
  shared_boxes,
  smoothing,
  tracker,
)

_HELD = 256 << 20  # bytes of the pictures that may wait for the end of a window

Frames = Iterator[flow.Shown]


def identities(frames: Frames, tracked: bool) -> Iterator[tuple]:
  """(frame, whose its boxes are): those of a file, or found by the boxes.

  Boxes tell people apart less well than poses do, so these identities are used
  before there are poses only.
  """
  finder = tracker.Tracker()
  for frame in frames:
    if tracked:
      found = [one.track_id for one in frame.boxes]
      # An identity that is there twice is nobody's.
      yield frame, [one if found.count(one) == 1 else -1 for one in found]
      continue
    scores = np.array([one.score for one in frame.boxes], float)
    ids = finder.update(frame.time, stacked(frame.boxes), scores)
    yield frame, ids.tolist()


def steadied(frames: Frames, how: str, tracked: bool) -> Frames:
  """The frames in order, with boxes that tremble less along identities.

  `online` looks back only, `lag` also 0.2 s ahead, for which frames wait.
  """
  online, lagging = one_euro.OneEuro(), smoothing.FixedLag()
  waiting: collections.deque[flow.Shown] = collections.deque()
  for frame, ids in identities(frames, tracked):
    boxes = stacked(frame.boxes)
    sizes = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    given = (frame.time, ids, smoothing.corners(boxes), sizes)
    if how == "online":
      yield _moved(frame, online.update(*given))
      continue
    waiting.append(frame)
    for points in lagging.push(*given):
      yield _moved(waiting.popleft(), points)
  for points in lagging.finish():
    yield _moved(waiting.popleft(), points)


def _moved(frame: flow.Shown, points: np.ndarray) -> flow.Shown:
  """The frame with boxes of other corners."""
  boxes = smoothing.boxes_of(points, stacked(frame.boxes).astype(np.float32))
  frame.boxes = [
    dataclasses.replace(one, box=box)
    for one, box in zip(frame.boxes, boxes, strict=True)
  ]
  return frame


def shared(
  frames: Frames, options: shared_boxes.Options, tracked: bool
) -> Frames:
  """The frames in order, with views that people share along identities."""
  share = None
  waiting: collections.deque[flow.Shown] = collections.deque()

  def ready(found: list[list[shared_boxes.View]]) -> Frames:
    for views in found:
      frame = waiting.popleft()
      frame.views = views
      yield frame

  for frame, ids in identities(frames, tracked):
    if share is None:
      share = shared_boxes.SharedBoxes(_fitting(options, frame.size))
    waiting.append(frame)
    yield from ready(share.push(ids, stacked(frame.boxes)))
  if share is not None:
    yield from ready(share.finish())


def _fitting(
  options: shared_boxes.Options, size: tuple[int, int]
) -> shared_boxes.Options:
  """Windows of no more frames than memory allows."""
  most = max(1, _HELD // (3 * size[0] * size[1]))
  return dataclasses.replace(options, most=min(options.most, most))


def stacked(boxes: list[boxes_in.Box]) -> np.ndarray:
  """Edges (n, 4), float64."""
  return np.array([one.box for one in boxes], float).reshape(-1, 4)
