"""Frames of videos in, the same frames with the people's poses out, in order.

Each stage is a generator in a thread of its own, with a short queue to the next
(`ahead.Ahead`): frames are decoded, people are cut out of them, batches of clips
are handed to the devices, poses are read back. The end of one video shares a
batch with the beginning of the next: noise is a person's own, and in batches of
one size a pose does not depend on what is beside it.

In memory are a window of 2δ + 1 frames, what waits in the queues, and the
pictures of the frames of which a batch is under way.
"""

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from diffpose_jax.data import ahead, annotations
from diffpose_jax.inference import (
  batches,
  boxes_in,
  calibration,
  crops,
  flow,
  propagation,
)
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import stages as stages_lib

_QUEUE = 8  # frames that may wait between stages


class Stream:
  """Finds the people of videos, one after the other."""

  def __init__(
    self,
    estimator: estimator_lib.Estimator,
    *,
    calibrated: calibration.Calibration | None = None,
    follow: Callable[[], propagation.Propagation] | None = None,
    singly: bool = False,
    shrink: Callable[[np.ndarray], np.ndarray] = lambda frame: frame,
    stages: stages_lib.Stages | None = None,
  ):
    """Before the first frame.

    Args:
      estimator: network with a config; see `Estimator`.
      calibrated: for the uncertainty of the joints; else it is the raw spread.
      follow: gives what follows people through the frames of a video that have
        no box for them. Each frame then needs the poses of the one before, so
        that only the people of a frame share a batch.
      singly: whether they share none either way, so that no frame waits for
        another: for what is live.
      shrink: makes of a frame the picture that is kept.
      stages: to which the time of each stage is added.
    """
    self._estimator = estimator
    self._config: Any = estimator.config
    self._calibrated = calibrated
    self._follow = follow
    self._singly = singly
    self._queue = 1 if singly else _QUEUE
    self._shrink = shrink
    self._stages = stages or stages_lib.Stages()
    self._batches = batches.Batches(estimator, self._stages)

  def __call__(
    self, jobs: Sequence[flow.Job]
  ) -> Generator[flow.Item, None, None]:
    """The frames of each video in order, with all their people, and its end.

    A joint's score is its heatmap's times its box's. What is wrong with a video
    comes with its `End`, and the next one follows.

    Raises BrokenError where the network gives no finite pose.
    """
    with contextlib.ExitStack() as stack:

      def beside(items: Iterable[Any], most: int) -> Iterator[Any]:
        return stack.enter_context(ahead.Ahead(items, most, decodes=False))

      if self._follow is not None:
        follow = self._follow
        found = flow.each(jobs, lambda job: self._followed(job, follow()))
      elif self._singly:
        found = flow.each(jobs, self._alone)
      else:
        cut = beside(flow.each(jobs, self._cut), self._queue)
        sizes = [job.size for job in jobs if job.size is not None]
        sent = beside(self._batches.sent(cut, max(sizes, default=None)), 1)
        found = self._peopled(self._batches.read(sent))
      yield from beside(found, self._queue)

  def _cut(self, job: flow.Job) -> Iterator[flow.Shown]:
    """Frames with the clips of their people."""
    for window, frame in self._windows(job):
      if not frame.recalled:
        self._ask(frame, window, self._boxes(frame, window))
      yield frame

  def _alone(self, job: flow.Job) -> Iterator[flow.Shown]:
    """Frames with their people, each done before the next one is begun."""
    for window, frame in self._windows(job):
      self._ask(frame, window, self._boxes(frame, window))
      self._batches.estimate(frame)
      frame.people = _people(frame, self._found(frame), self._known)
      yield frame

  def _followed(
    self, job: flow.Job, follow: propagation.Propagation
  ) -> Iterator[flow.Shown]:
    """The same, with the people who are followed through the frames."""
    for window, frame in self._windows(job):
      if frame.given is None:
        frame.given = self._boxes(frame, window)
      given = [
        propagation.Given(one.box, one.score, one.track_id)
        for one in frame.given
      ]
      people = follow.boxes(frame.time, frame.size, given)
      if not frame.recalled:
        boxes = [boxes_in.Box(p.box, p.score, p.track_id) for p in people]
        self._ask(frame, window, boxes)
        self._batches.estimate(frame)
      found = self._found(frame)
      seen = follow.update(frame.time, people, found.joints, found.scores)
      everybody = zip(_people(frame, found, self._known), seen, strict=True)
      frame.people = [person for person, there in everybody if there]
      yield frame

  def _boxes(
    self, frame: flow.Shown, window: list[flow.Timed]
  ) -> list[boxes_in.Box]:
    """The boxes that are given for a frame."""
    picture = window[self._config.data.span][2]
    with self._stages("boxes"):
      return frame.job.supply.find(frame.index, picture)

  def _windows(
    self, job: flow.Job
  ) -> Iterator[tuple[list[flow.Timed], flow.Shown]]:
    """The frames of a video, each with its neighbours and what is known."""
    known = job.known()
    with job.frames() as frames:
      for window in flow.windows(frames, self._config.data.span):
        if job.dropped:
          return
        index, time, picture = window[self._config.data.span]
        size = picture.shape[:2]
        with self._stages("drawing"):
          picture = self._shrink(picture)
        frame = flow.Shown(job, index, time, size, picture)
        recalled = next(known, None)
        if recalled is not None:
          frame.recalled, frame.batch = True, recalled.batch
          frame.asked, frame.given = recalled.asked, recalled.given
        yield window, frame

  def _ask(
    self,
    frame: flow.Shown,
    window: list[flow.Timed],
    people: Iterable[boxes_in.Box],
  ) -> None:
    """Cuts people out of the window of a frame."""
    pictures = [picture for _, _, picture in window]
    with self._stages("cropping"):
      for person in people:
        box = np.asarray(person.box, np.float32)
        crop = crops.cut(pictures, box, self._config)
        frame.asked.append(flow.Asked(person, crop.to_picture, crop.clip))

  def _peopled(self, items: Iterable[flow.Item]) -> Iterator[flow.Item]:
    """The frames with people of the poses that are found."""
    for item in items:
      if isinstance(item, flow.Shown):
        item.people = _people(item, self._found(item), self._known)
      yield item

  def _found(self, frame: flow.Shown) -> crops.People:
    """The poses of a frame's people, in its pixels."""
    none = estimator_lib.nobody(
      len(self._estimator.skeleton.joints), self._estimator.options.samples
    )
    poses = [one.poses for one in frame.asked if one.poses is not None]
    with self._stages("poses"):
      try:
        return crops.people(
          estimator_lib.joined([none, *poses]),
          _stacked([one.to_picture for one in frame.asked], (2, 3)),
          _stacked([one.person.box for one in frame.asked], (4,)),
          self._estimator.skeleton,
          self._calibrated,
        )
      except ValueError as error:
        raise flow.BrokenError(f"{frame.place}: {error}") from error

  @property
  def _known(self) -> np.ndarray:
    """Which of the joints were learned."""
    skeleton = self._estimator.skeleton
    return np.isin(np.arange(len(skeleton.joints)), skeleton.evaluated)


def _people(
  frame: flow.Shown, found: crops.People, known: np.ndarray
) -> list[annotations.Person]:
  """The people of a frame, as files have them."""
  within = found.stated.within
  return [
    annotations.Person(
      box=np.asarray(one.person.box, np.float32),
      joints=found.joints[i],
      labelled=known,
      track_id=one.person.track_id,
      scores=(found.scores[i] * one.person.score).astype(np.float32),
      box_score=one.person.score,
      scale=found.stated.scale[i],
      within=None if within is None else within[i],
    )
    for i, one in enumerate(frame.asked)
  ]


def _stacked(rows: list, shape: tuple[int, ...]) -> np.ndarray:
  """Rows as one array, also where there are none."""
  return np.array(rows, float).reshape(len(rows), *shape)
