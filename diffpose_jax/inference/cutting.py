"""People cut out of the frames of a video."""

import collections
from typing import Any

import numpy as np

from diffpose_jax.data import warping
from diffpose_jax.inference import crops, flow, shared_boxes, token_bank
from diffpose_jax.pose import geometry


class Cutter:
  """Cuts out the people of one video's frames, in their order.

  Where people share their boxes, what a frame looks like is cut out once.
  """

  def __init__(self, job: flow.Job, config: Any):
    """`config` is the network's."""
    self._job = job
    self._config = config
    self._size: Any = tuple(config.data.size)
    # What frames look like, by frame and number of the box.
    self._seen: dict[int, dict[int, token_bank.Look]] = collections.defaultdict(
      dict
    )

  def __call__(self, frame: flow.Shown) -> list[flow.Asked]:
    """The people of a frame that has its window."""
    assert frame.window is not None
    if frame.views is None:
      return self._whole(frame, frame.window)
    asked = []
    for person, view in zip(frame.boxes, frame.views, strict=True):
      affine = crops.to_crop(view.box, self._config)
      looks = [self._look(one, view, affine) for one in frame.window]
      asked.append(flow.Asked(person, geometry.invert(affine), looks))
    for index in list(self._seen):
      if index < frame.index - self._config.data.span:
        del self._seen[index]
    return asked

  def _whole(
    self, frame: flow.Shown, window: list[flow.Timed]
  ) -> list[flow.Asked]:
    pictures = [picture for _, _, picture in window]
    asked = []
    for person in frame.boxes:
      box = np.asarray(person.box, np.float32)
      crop = crops.cut(pictures, box, self._config)
      asked.append(flow.Asked(person, crop.to_picture, crop.clip))
    return asked

  def _look(
    self, timed: flow.Timed, view: shared_boxes.View, affine: np.ndarray
  ) -> token_bank.Look:
    index, _, picture = timed
    seen = self._seen[index]
    if view.number not in seen:
      [crop] = warping.warp([picture], affine, self._size)
      key = (self._job.source.name, view.number, index)
      seen[view.number] = token_bank.Look(key, crop)
    return seen[view.number]
