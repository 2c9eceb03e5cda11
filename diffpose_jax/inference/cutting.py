"""People cut out of the frames of a video."""

import collections
from typing import Any

import numpy as np

from diffpose_jax.data import pyramid
from diffpose_jax.inference import (
  boxes_in,
  crops,
  flow,
  shared_boxes,
  token_bank,
)
from diffpose_jax.pose import geometry


class Cutter:
  """Cuts out the people of one video's frames, in their order.

  Where people share their boxes, what a frame looks like is cut out once.
  """

  def __init__(self, job: flow.Job, config: Any, *, crops: bool = False):
    """`config` is the network's; `crops` are kept, to be drawn."""
    self._job = job
    self._crops = crops
    self._config = config
    self._size: Any = tuple(config.data.size)
    self._pyramids: dict[int, pyramid.Pyramid] = {}  # by frame
    # What frames look like, by frame and number of the box.
    self._seen: dict[int, dict[int, token_bank.Look]] = collections.defaultdict(
      dict
    )

  def __call__(self, frame: flow.Shown) -> list[flow.Asked]:
    """The people of a frame that has its window."""
    assert frame.window is not None
    self._forget(frame.index - self._config.data.span)
    window = [(one[0], self._pyramid(one)) for one in frame.window]
    if frame.views is None:
      return [self._whole(person, window) for person in frame.boxes]
    return [
      self._shared(person, view, window)
      for person, view in zip(frame.boxes, frame.views, strict=True)
    ]

  def again(self, frame: flow.Shown) -> None:
    """Cuts out what is drawn of people whose poses are known from before."""
    assert frame.window is not None
    self._forget(frame.index - self._config.data.span)
    key = self._pyramid(frame.window[self._config.data.span])
    for one in frame.asked:
      affine = geometry.invert(one.to_picture)
      [one.crop] = pyramid.cut([key], affine, self._size)

  def _forget(self, first: int) -> None:
    """Drops what is before a frame."""
    for kept in (self._pyramids, self._seen):
      for index in [index for index in kept if index < first]:
        del kept[index]

  def _pyramid(self, timed: flow.Timed) -> pyramid.Pyramid:
    index, _, picture = timed
    if index not in self._pyramids:
      files = self._job.source.pictures
      file = files[index] if files else None
      self._pyramids[index] = pyramid.Pyramid(picture, file)
    return self._pyramids[index]

  def _whole(
    self,
    person: boxes_in.Box,
    window: list[tuple[int, pyramid.Pyramid]],
  ) -> flow.Asked:
    """Somebody by the own box."""
    box = np.asarray(person.box, np.float32)
    crop = crops.cut([frame for _, frame in window], box, self._config)
    key = crop.clip[self._config.data.span].copy() if self._crops else None
    return flow.Asked(person, crop.to_picture, crop.clip, key)

  def _shared(
    self,
    person: boxes_in.Box,
    view: shared_boxes.View,
    window: list[tuple[int, pyramid.Pyramid]],
  ) -> flow.Asked:
    """Somebody by a shared box, of which each look is cut out once."""
    affine = crops.to_crop(view.box, self._config)
    looks = []
    for index, frame in window:
      seen = self._seen[index]
      if view.number not in seen:
        [crop] = pyramid.cut([frame], affine, self._size)
        key = (self._job.source.name, view.number, index)
        seen[view.number] = token_bank.Look(key, crop)
      looks.append(seen[view.number])
    key = looks[self._config.data.span].crop if self._crops else None
    return flow.Asked(person, geometry.invert(affine), looks, key)
