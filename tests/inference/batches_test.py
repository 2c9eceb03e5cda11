"""Who is sent with whom, in which size, and in which order frames come out."""

import numpy as np
import pytest

from diffpose_jax.inference import batches, boxes_in, flow
from diffpose_jax.inference import poses as poses_lib
from diffpose_jax.inference import stages as stages_lib

BOX = np.array([30, 40, 120, 130], np.float32)


@pytest.fixture
def frames(dots):
  """A function that makes a frame with so many people for each number.

  Person p of the frame is a clip whose every pixel is 10 times the frame's
  place, plus p.
  """

  def make(counts, name="walk"):
    job = dots.job([], name=name)
    for index, count in enumerate(counts):
      frame = flow.Shown(job, index, index / 10, (5, 7), np.zeros((5, 7, 3)))
      for person in range(count):
        clip = np.full((3, 64, 48, 3), 10 * index + person, np.uint8)
        box = boxes_in.Box(BOX, 0.5, person)
        frame.asked.append(flow.Asked(box, np.eye(2, 3), clip))
      yield frame
    yield flow.End(job)

  return make


@pytest.fixture
def marked(dots):
  """An estimator whose joints are the first pixel of the clip."""

  class Marked(dots.Estimator):
    def find(self, clips):
      mark = clips[:, 0, 0, 0, 0].astype(np.float32)
      joints = np.ones((len(clips), 17, 2), np.float32) * mark[:, None, None]
      shape = np.ones((len(clips), 17, 2, 2), np.float32)
      return poses_lib.Poses(joints, joints[..., 0], joints[None], shape)

  return Marked


def _flow(estimator, items):
  found = batches.Batches(estimator, stages_lib.Stages())
  return list(found.read(found.sent(items)))


@pytest.mark.parametrize("counts", [[1] * 7, [0, 3, 0, 0, 11, 1], [23], [0, 0]])
def test_everybody_gets_their_own_pose_in_the_order_of_frames(
  frames, marked, counts
):
  estimator = marked(batch=4, sizes=(2, 4))
  *found, end = _flow(estimator, frames(counts))
  assert isinstance(end, flow.End)
  indices = [getattr(frame, "index", None) for frame in found]
  assert indices == list(range(len(counts)))
  for frame, count in zip(found, counts, strict=True):
    assert isinstance(frame, flow.Shown)
    poses = [one.poses for one in frame.asked if one.poses is not None]
    marks = [pose.joints[0, 0, 0] for pose in poses]
    assert marks == [10 * frame.index + person for person in range(count)]
    assert all(one.clip is None for one in frame.asked)


def test_the_end_of_a_video_shares_a_batch_with_the_next_one(frames, marked):
  estimator = marked(batch=4, sizes=(2, 4))

  def both():
    yield from frames([1, 1, 1], "a")
    yield from frames([2, 3], "b")

  items = _flow(estimator, both())
  assert [getattr(item, "index", "end") for item in items] == [
    *(0, 1, 2, "end"),
    *(0, 1, "end"),
  ]
  assert estimator.used == [(4, 4), (4, 4)]
  marks = [int(clip[0, 0, 0, 0]) for clip in estimator.clips]
  assert marks == [0, 10, 20, 0, 1, 10, 11, 12]
  # Noise is a person's own: of the same track in another video it is another.
  assert len(set(estimator.noise)) == 4


@pytest.mark.parametrize(
  ("counts", "sizes"),
  [
    ([1], [2]),  # all there is fits into the small one
    ([1, 0, 1], [2]),
    ([2, 1], [4]),
    ([4, 1], [4, 4]),  # not the small one: one size for all of them
    ([1, 0, 0, 0, 1], [4, 4]),  # a batch of few, rather than frames that wait
    ([9, 0, 2], [4, 4, 4]),
  ],
)
def test_there_is_one_size_whatever_the_crowd(frames, marked, counts, sizes):
  estimator = marked(batch=4, sizes=(2, 4))
  _flow(estimator, frames(counts))
  assert [size for size, _ in estimator.used] == sizes


def test_there_is_the_size_that_is_asked_for(frames, marked):
  estimator = marked(batch=4, sizes=(2, 4))
  found = batches.Batches(estimator, stages_lib.Stages())
  shown = list(found.read(found.sent(frames([1, 3, 1]), 2)))
  assert estimator.used == [(2, 2), (2, 2), (2, 1)]
  assert [getattr(frame, "batch", None) for frame in shown] == [2, 2, 2, None]


def test_frames_without_people_wait_for_nobody(frames, marked):
  estimator = marked(batch=4)
  found = batches.Batches(estimator, stages_lib.Stages())
  items = found.read(found.sent(frames([0, 0, 1, 0, 0, 0, 0])))
  for index, clips in enumerate([0, 0, 1]):
    assert getattr(next(items), "index", None) == index
    assert len(estimator.clips) == clips


def test_a_frame_alone_takes_the_size_that_fits(frames, marked):
  estimator = marked(batch=4, sizes=(2, 4))
  found = batches.Batches(estimator, stages_lib.Stages())
  for frame in frames([1, 0, 7, 3, 6]):
    if isinstance(frame, flow.Shown):
      found.estimate(frame)
      assert frame.known
  # Of a crowd the rest takes the one that fits it.
  sizes = [(2, 1), (4, 4), (4, 3), (4, 3), (4, 4), (2, 2)]
  assert estimator.used == sizes


def test_a_broken_network_is_told_with_the_frame(frames, dots):
  class Broken(dots.Estimator):
    def find(self, clips):
      raise ValueError("no finite heatmap")

  with pytest.raises(flow.BrokenError, match="walk: frame 1: no finite heat"):
    _flow(Broken(batch=4), frames([0, 1, 3]))


def test_batches_are_begun_before_those_before_are_read(frames, dots):
  order = []

  class Slow(dots.Estimator):
    def start(self, clips, noise_id, *, size=None):
      order.append("begun")
      return super().start(clips, noise_id, size=size)

    def find(self, clips):
      order.append("read")
      clips[:, :, 32, 24] = 255
      return super().find(clips)

  found = batches.Batches(Slow(batch=2), stages_lib.Stages())
  sent = list(found.sent(frames([2, 2, 2])))
  assert order == ["begun"] * 3
  list(found.read(sent))
  assert order[3:] == ["read"] * 3
