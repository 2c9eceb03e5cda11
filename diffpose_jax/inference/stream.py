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
import dataclasses
import functools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from diffpose_jax.data import ahead, annotations
from diffpose_jax.inference import (
  annotated,
  batches,
  boxes_in,
  boxing,
  calibration,
  crops,
  cutting,
  flow,
  propagation,
  shared_boxes,
)
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import poses as poses_lib
from diffpose_jax.inference import stages as stages_lib
from diffpose_jax.pose import skeleton as skeletons

_QUEUE = 8  # frames that may wait between stages


@dataclasses.dataclass(frozen=True)
class Way:
  """How frames flow to the network, on which the poses depend."""

  follow: bool = False  # people through the frames that have no box for them
  share: bool = False  # boxes along tracks, so that frames are looked at once
  smooth_boxes: str = "none"  # along tracks, before people are cut out by them
  # none; lag: no frame waits for more than the δ frames after it; causal: nor
  # for these.
  live: str = "none"
  views: bool = False  # whether crops and heatmaps are kept, to be drawn

  def __post_init__(self) -> None:
    """Raises ValueError for what cannot work, by the names of flags."""
    for flag, value, known in (
      ("smooth_boxes", self.smooth_boxes, ("none", "online", "lag")),
      ("live", self.live, ("none", "lag", "causal")),
    ):
      if value not in known:
        raise ValueError(f"--{flag}={value}: there are {', '.join(known)}")
    if self.follow and self.smooth_boxes != "none":
      raise ValueError(
        "--follow steadies boxes by itself; leave --smooth_boxes"
      )
    if self.live != "none" and self.smooth_boxes == "lag":
      raise ValueError(
        "--smooth_boxes=lag looks 0.2 s ahead, which --live (and a camera) does "
        "not; take online"
      )

  def protocol(self, skeleton: skeletons.Skeleton) -> dict[str, Any]:
    """What a result says of it, where it is not as usual."""
    found: dict[str, Any] = {}
    if self.follow:
      follow = propagation.Propagation(joints=skeleton.evaluated)
      found |= follow.protocol()
    if self.share:
      found["shared_boxes"] = dataclasses.asdict(self.sharing)
    if self.smooth_boxes != "none":
      found["smooth_boxes"] = self.smooth_boxes
    if self.live != "none":
      found["live"] = self.live
    return found

  @property
  def sharing(self) -> shared_boxes.Options:
    """How boxes are shared: where no frame can wait, by one at a time."""
    waits = self.live == "none" and not self.follow
    return shared_boxes.Options() if waits else shared_boxes.Options(most=1)


class Stream:
  """Finds the people of videos, one after the other."""

  def __init__(
    self,
    estimator: estimator_lib.Estimator,
    *,
    way: Way | None = None,
    calibrated: calibration.Calibration | None = None,
    shrink: Callable[[np.ndarray], np.ndarray] = lambda frame: frame,
    stages: stages_lib.Stages | None = None,
  ):
    """Before the first frame.

    Args:
      estimator: network with a config; see `Estimator`.
      way: how frames flow. To follow, each frame needs the poses of the one
        before, so that only the people of a frame share a batch; so it is live.
      calibrated: for the uncertainty of the joints; else it is the raw spread.
      shrink: makes of a frame the picture that is kept.
      stages: to which the time of each stage is added.
    """
    self._estimator = estimator
    self._config: Any = estimator.config
    self._way = way or Way()
    self._calibrated = calibrated
    self._shrink = shrink
    self._stages = stages or stages_lib.Stages()
    self._batches = batches.Batches(
      estimator,
      self._stages,
      shared=self._way.share,
      heat=self._way.views,
    )

  def __call__(
    self, jobs: Sequence[flow.Job]
  ) -> Generator[flow.Item, None, None]:
    """The frames of each video in order, with all their people, and its end.

    A joint's score is its heatmap's times its box's. What is wrong with a video
    comes with its `End`, and the next one follows.

    Raises BrokenError where the network gives no finite pose.
    """
    queue = _QUEUE
    if self._way.live != "none":
      queue = 1
      self._batches.warm_up()
    with contextlib.ExitStack() as stack:

      def beside(items: Iterable[Any], most: int) -> Iterator[Any]:
        return stack.enter_context(ahead.Ahead(items, most, decodes=False))

      if self._way.follow:
        found = flow.each(jobs, self._followed)
      elif self._way.live != "none":
        found = flow.each(jobs, self._alone)
      else:
        cut = beside(flow.each(jobs, self._cut), queue)
        sizes = [job.size for job in jobs if job.size is not None]
        sent = beside(self._batches.sent(cut, max(sizes, default=None)), 1)
        found = self._peopled(self._batches.read(sent))
      yield from beside(found, queue)

  def _cut(self, job: flow.Job) -> Iterator[flow.Shown]:
    """Frames with the clips of their people."""
    way, tracked = self._way, job.supply.tracked
    frames = self._boxed(job)
    if way.smooth_boxes != "none":
      frames = boxing.steadied(frames, way.smooth_boxes, tracked)
    if way.share:
      frames = boxing.shared(frames, way.sharing, tracked)
    cutter = cutting.Cutter(job, self._config, crops=way.views)
    for frame in frames:
      self._ask(cutter, frame)
      yield frame

  def _alone(self, job: flow.Job) -> Iterator[flow.Shown]:
    """Frames with their people, each done before the next one is begun."""
    for frame in self._cut(job):
      self._batches.estimate(frame)
      self._people(frame, self._found(frame))
      job.latency.done(frame.time)
      yield frame

  def _followed(self, job: flow.Job) -> Iterator[flow.Shown]:
    """The same, with the people who are followed through the frames."""
    follow = propagation.Propagation(joints=self._estimator.skeleton.evaluated)
    share = shared_boxes.SharedBoxes(self._way.sharing)
    cutter = cutting.Cutter(job, self._config, crops=self._way.views)
    for frame in self._boxed(job):
      given = [
        propagation.Given(one.box, one.score, one.track_id)
        for one in frame.given
      ]
      people = follow.boxes(frame.time, frame.size, given)
      frame.boxes = [boxes_in.Box(p.box, p.score, p.track_id) for p in people]
      if self._way.share:
        ids = [one.number for one in people]
        [frame.views] = share.push(ids, boxing.stacked(frame.boxes))
      self._ask(cutter, frame)
      self._batches.estimate(frame)
      found = self._found(frame)
      there = follow.update(frame.time, people, found.joints, found.scores)
      self._people(frame, found, np.flatnonzero(there).tolist())
      job.latency.done(frame.time)
      yield frame

  def _boxed(self, job: flow.Job) -> Iterator[flow.Shown]:
    """The frames of a video with their neighbours, and the boxes given."""
    known = job.known()
    causal = self._way.live == "causal"
    with job.frames() as frames:
      frames = job.latency.noted(frames)
      for window in flow.windows(frames, self._config.data.span, causal):
        if job.dropped:
          return
        index, time, full = window[self._config.data.span]
        with self._stages("drawing"):
          picture = self._shrink(full)
        frame = flow.Shown(job, index, time, full.shape[:2], picture, window)
        recalled = next(known, None)
        if recalled is not None:
          frame.recalled, frame.batch = True, recalled.batch
          frame.asked, frame.given = recalled.asked, recalled.given
        else:
          with self._stages("boxes"):
            frame.given = job.supply.find(index, full)
        frame.boxes = frame.given
        yield frame

  def _ask(self, cutter: cutting.Cutter, frame: flow.Shown) -> None:
    """Cuts a frame's people out, unless their poses are known from before."""
    with self._stages("cropping"):
      if not frame.recalled:
        frame.asked = cutter(frame)
      elif self._way.views:
        cutter.again(frame)
    frame.window = None

  def _peopled(self, items: Iterable[flow.Item]) -> Iterator[flow.Item]:
    """The frames with people of the poses that are found."""
    for item in items:
      if isinstance(item, flow.Shown):
        self._people(item, self._found(item))
      yield item

  def _found(self, frame: flow.Shown) -> crops.People:
    """The poses of a frame's people, in its pixels."""
    poses = [one.poses for one in frame.asked if one.poses is not None]
    if not poses:
      count = len(self._estimator.skeleton.joints)
      poses = [poses_lib.nobody(count, self._estimator.options.samples)]
    with self._stages("poses"):
      try:
        return crops.people(
          poses_lib.joined(poses),
          _stacked([one.to_picture for one in frame.asked], (2, 3)),
          _stacked([one.person.box for one in frame.asked], (4,)),
          self._estimator.skeleton,
          self._calibrated,
        )
      except ValueError as error:
        raise flow.BrokenError(f"{frame.place}: {error}") from error

  def _people(
    self, frame: flow.Shown, found: crops.People, rows: list[int] | None = None
  ) -> None:
    """Gives a frame its people as files have them: those found, or some."""
    within = found.stated.within
    for i in range(len(frame.asked)) if rows is None else rows:
      one = frame.asked[i]
      frame.people.append(
        annotations.Person(
          box=np.asarray(one.person.box, np.float32),
          joints=found.joints[i],
          labelled=self._known,
          track_id=one.person.track_id,
          scores=(found.scores[i] * one.person.score).astype(np.float32),
          box_score=one.person.score,
          scale=found.stated.scale[i],
          within=None if within is None else within[i],
          samples=found.samples[:, i],
        )
      )
      if one.crop is not None and one.poses is not None:
        assert one.poses.heat is not None
        frame.seen.append(
          annotated.View(one.crop, one.poses.heat[0], one.to_picture)
        )

  @functools.cached_property
  def _known(self) -> np.ndarray:
    """Which of the joints were learned."""
    skeleton = self._estimator.skeleton
    return np.isin(np.arange(len(skeleton.joints)), skeleton.evaluated)


def _stacked(rows: list, shape: tuple[int, ...]) -> np.ndarray:
  """Rows as one array, also where there are none."""
  return np.array(rows, float).reshape(len(rows), *shape)
