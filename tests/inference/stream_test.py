"""Frames come out as they went in, with their people, and none piles up."""

import itertools
import threading
import weakref

import cv2
import jax
import numpy as np
import pytest

from diffpose_jax.benchmark import compiling
from diffpose_jax.data import video
from diffpose_jax.inference import boxes_in, flow, stream, token_bank
from diffpose_jax.inference import estimator as estimator_lib

LIVE = stream.Way(live="lag")
BOX = boxes_in.Box(np.array([30, 40, 120, 130], np.float32))


def _shown(estimator, *jobs, **how):
  items = stream.Stream(estimator, **how)(jobs)
  return [item for item in items if isinstance(item, flow.Shown)]


def test_crops_show_the_enlarged_box(dots):
  frames = [(0, 0.0, np.full((*dots.SIZE, 3), 100, np.uint8))]
  whole = boxes_in.whole().find
  fake = dots.Estimator(span=0)
  _shown(fake, dots.job(frames, whole))
  # 240 x 180 enlarged by 1.25 and widened to 3:4 is 300 x 400, of which one
  # pixel of 48 x 64 shows 6.25: black around 38.4 x 28.8 of them.
  # Bilinear sampling does not average, so the count is of whole pixels.
  shown = fake.clips[0][0].astype(float).mean(axis=-1) / 100
  assert shown.sum(axis=1)[30] == pytest.approx(38.4, abs=1)
  assert shown.sum(axis=0)[20] == pytest.approx(28.8, abs=1)


@pytest.mark.parametrize("people", [0, 1, 3])
def test_memory_is_flat(dots, people):
  """Of a long video a window, what waits, and a few batches are held."""
  made, most, gone = [], 0, threading.Lock()

  def read():
    nonlocal most
    for index in range(200):
      frame = dots.frame(3).copy()
      with gone:
        made.append(weakref.ref(frame))
      yield index, index / 10, frame
      del frame
      most = max(most, sum(ref() is not None for ref in made))

  fake = dots.Estimator(batch=4, span=2)
  job = dots.job(read(), lambda index, frame: [BOX] * people)
  found = []
  for item in stream.Stream(fake)([job]):
    if isinstance(item, flow.Shown):
      found.append(len(item.people))
  assert found == [people] * 200
  # A window of 5; two queues of 8 with one in each hand; three batches of at
  # most 4 frames, and what has come for the next.
  assert 5 <= most <= 5 + 2 * 9 + 4 * 4


def test_frames_without_people_do_not_wait_for_a_full_batch(dots):
  frames = ((i, i / 10, dots.frame(i)) for i in range(11))
  find = lambda index, frame: [BOX] if index == 0 else []  # noqa: E731
  fake = dots.Estimator(batch=4, span=0)
  found = _shown(fake, dots.job(frames, find))
  assert [frame.index for frame in found] == list(range(11))
  assert len(fake.clips) == 1


def _walk(dots, count=11):
  return [(i, i / 10, dots.frame(i)) for i in range(count)]


def _find(dots):
  def find(index, frame):
    x, y = dots.dot(index)
    box = np.array([x - 31, y - 17, x + 22, y + 44], np.float32)
    return [boxes_in.Box(box, 0.8, 3)]

  return find


@pytest.mark.parametrize("how", [{}, {"way": LIVE}])
def test_videos_share_batches_and_give_the_same(dots, how):
  """Of three videos, the one in the middle fails on its way."""

  def damaged():
    yield from _walk(dots, 3)
    raise ValueError("damaged")

  fake = dots.Estimator(batch=5)
  jobs = [
    dots.job(_walk(dots), _find(dots), "a"),
    dots.job(damaged(), _find(dots), "b"),
    dots.job(_walk(dots, 4), _find(dots), "c"),
  ]
  items = list(stream.Stream(fake, **how)(jobs))
  ends = [item for item in items if isinstance(item, flow.End)]
  assert [end.job.name for end in ends] == ["a", "b", "c"]
  assert [str(end.error) for end in ends] == ["None", "damaged", "None"]
  shown = [item for item in items if isinstance(item, flow.Shown)]
  # What was decoded after the last whole window is lost with the error.
  assert [f.place for f in shown if f.job.name == "b"] == [
    "b: frame 0",
    "b: frame 1",
  ]
  for frame in shown:
    [person] = frame.people
    wanted = np.tile(dots.dot(frame.index), (17, 1))
    np.testing.assert_allclose(person.joints, wanted, atol=1)
    assert person.track_id == 3
  assert len(set(fake.noise) - {0}) == 3  # by video
  used = [count for _, count in fake.used]
  # What is live begins with a blank clip, so that all is compiled.
  assert used == ([1] * 18 if how else [5, 5, 5, 2])


def test_a_dropped_video_is_read_no_further(dots):
  read = []

  def frames():
    for one in _walk(dots, 500):
      read.append(one[0])
      yield one

  jobs = [
    dots.job(frames(), lambda *_: [], "a"),
    dots.job(_walk(dots, 2), lambda *_: [], "b"),
  ]
  items = stream.Stream(dots.Estimator())(jobs)
  next(flow.of(jobs[0], items))
  flow.skip(jobs[0], items)
  assert len(read) < 100
  assert [frame.index for frame in flow.of(jobs[1], items)] == [0, 1]


def test_to_stop_early_stops_the_threads(dots):
  before = threading.active_count()
  closed = []

  def frames():
    try:
      while True:
        yield from _walk(dots)
    finally:
      closed.append(True)

  items = stream.Stream(dots.Estimator())([dots.job(frames(), _find(dots))])
  next(items)
  assert threading.active_count() > before
  items.close()
  assert threading.active_count() == before
  assert closed


def test_stages_overlap(dots):
  """Frames are decoded and cut while the network is at work on those before."""
  read = [threading.Event() for _ in range(11)]

  class Waiting(dots.Estimator):
    def find(self, clips):
      number = len(self.used) - 1
      # One after the other, this frame would never come.
      assert read[min(number + 4, 10)].wait(60)
      return super().find(clips)

  def frames():
    for one in _walk(dots):
      read[one[0]].set()
      yield one

  job = dots.job(frames(), _find(dots))
  assert len(_shown(Waiting(batch=1), job)) == 11


def test_pictures_are_shrunk_and_people_are_not(dots, folder):
  half = lambda frame: cv2.resize(frame, None, fx=0.5, fy=0.5)  # noqa: E731
  [first, *_] = _shown(
    dots.Estimator(), dots.job(video.read(folder), _find(dots)), shrink=half
  )
  assert first.picture.shape == (90, 120, 3) and first.size == dots.SIZE
  wanted = np.tile(dots.dot(0), (17, 1))
  np.testing.assert_allclose(first.people[0].joints, wanted, atol=1)


@pytest.fixture(scope="module")
def tiny(tiny_run):
  """Of random weights, in batches of 8 clips; there is one size."""
  return estimator_lib.Estimator.load(tiny_run)


def _crowds(dots, counts, name="crowd"):
  """Frames with so many people each, all alike and in one place."""
  people = dict(enumerate(counts))
  find = lambda index, frame: [BOX] * people[index]  # noqa: E731
  picture = dots.frame(4)
  frames = [(i, i / 10, picture) for i in range(len(counts))]
  return dots.job(frames, find, name)


def test_nothing_is_compiled_after_the_first_batch(dots, tiny):
  _shown(tiny, _crowds(dots, [1]))
  with compiling.counted() as names:
    for counts in ([200], [0, 3, 0], [1] * 19, [7, 0, 23, 2], [8]):
      found = _shown(tiny, _crowds(dots, counts))
      assert [len(frame.people) for frame in found] == counts
      _shown(tiny, _crowds(dots, counts), way=LIVE)
  assert names == []
  # What is counted is seen at all.
  with compiling.counted() as names:
    jax.jit(lambda x: x + len(names))(np.arange(3.0))
  assert names


def test_equal_frames_give_equal_bits(dots, tiny):
  """Wherever in a batch, and whatever is beside them."""
  found = _shown(tiny, _crowds(dots, [1, 5, 2, 0, 11]), _crowds(dots, [3]))
  people = list(itertools.chain.from_iterable(f.people for f in found))
  assert len(people) == 22
  for person in people[1:]:
    for name in ("joints", "scores", "scale"):
      one, other = getattr(person, name), getattr(people[0], name)
      np.testing.assert_array_equal(one, other)
  # Else this would say little.
  assert len(np.unique(people[0].joints)) > 15


def _walkers(dots):
  """Two people of a file with identities, one of whom is not always there."""
  move = np.array([0.4, 0.2, 0.4, 0.2], np.float32)

  def find(index, picture):
    one = boxes_in.Box(BOX.box + index * move, 0.9, 3)
    other = boxes_in.Box(BOX.box + 40 - index * move, 0.8, 5)
    return [one, other] if index % 4 else [other]

  job = dots.job(_walk(dots), find)
  job.supply = boxes_in.Supply(find, {"boxes": "test"}, tracked=True)
  return job


@pytest.mark.parametrize("live", ["none", "lag", "causal"])
def test_shared_boxes_change_poses_little_and_look_at_frames_once(
  dots, tiny, monkeypatch, live
):
  """Not at all where the boxes are the same: those of people who stand still."""
  looked = []
  look_at = token_bank.Bank._look_at

  def spy(self, looks):
    looked.extend(look.key for look in looks)
    return look_at(self, looks)

  monkeypatch.setattr(token_bank.Bank, "_look_at", spy)

  def found(make, share):
    way = stream.Way(share=share, live=live)
    job = make()
    assert job.supply.tracked
    return _shown(tiny, job, way=way)

  def still():
    people = [boxes_in.Box(BOX.box, 0.9, 3), boxes_in.Box(BOX.box + 20, 0.9, 4)]
    job = dots.job(_walk(dots))
    job.supply = boxes_in.Supply(lambda *_: people, {}, tracked=True)
    return job

  for make, exact in ((still, True), (lambda: _walkers(dots), False)):
    looked.clear()
    wanted, frames = found(make, False), found(make, True)
    looks = [key for key in looked if key != "blank"]
    # Of each person 11 frames, each once.
    assert len(looks) == len(set(looks)) == 22
    apart = []
    for one, other in zip(frames, wanted, strict=True):
      assert len(one.people) == len(other.people) > 0
      for a, b in zip(one.people, other.people, strict=True):
        np.testing.assert_array_equal(a.box, b.box)
        assert a.track_id == b.track_id
        apart.append(np.abs(a.joints - b.joints).max(axis=1))
    # Pixels of the picture, 3.5 for each of the crop; a network of random
    # weights may take another peak.
    assert np.max(apart) <= 3.5e-3 if exact else np.median(apart) < 5


def test_people_who_are_followed_share_boxes_too(dots, tiny, monkeypatch):
  find = lambda index, picture: [BOX] * (index == 0)  # noqa: E731
  way = stream.Way(follow=True, share=True)
  monkeypatch.setattr(
    stream.propagation.Propagation, "update", lambda self, *a: np.ones(1, bool)
  )
  looked = []
  look_at = token_bank.Bank._look_at
  monkeypatch.setattr(
    token_bank.Bank,
    "_look_at",
    lambda self, looks: looked.append(len(looks)) or look_at(self, looks),
  )
  monkeypatch.setattr(
    stream.propagation.Propagation,
    "boxes",
    lambda *a: [stream.propagation.Followed(0, BOX.box, 1.0, -1, True)],
  )
  assert len(_shown(tiny, dots.job(_walk(dots), find), way=way)) == 11
  # The first frame and the one after it; then one more each.
  assert looked == [2] + [1] * 9


def test_a_causal_frame_waits_for_none(dots):
  """Its poses are out before the next one is read."""
  read = []

  def frames():
    for one in _walk(dots):
      read.append(one[0])
      yield one

  job = dots.job(frames(), _find(dots))
  causal = stream.Stream(dots.Estimator(), way=stream.Way(live="causal"))
  behind = [len(read) - frame.index for frame in causal._alone(job)]
  assert behind == [1] * 11
  read.clear()
  job = dots.job(frames(), _find(dots))
  lag = stream.Stream(dots.Estimator(span=2), way=LIVE)
  behind = [len(read) - frame.index for frame in lag._alone(job)]
  assert behind == [3] * 9 + [2, 1]
  assert job.latency.milliseconds[0] < 60_000


@pytest.mark.parametrize(
  ("way", "line"),
  [
    (dict(live="late"), "--live=late: there are none, lag, causal"),
    (dict(smooth_boxes="much"), "--smooth_boxes=much: there are none, onl"),
    (dict(follow=True, smooth_boxes="lag"), "--follow steadies boxes by its"),
    (dict(live="lag", smooth_boxes="lag"), "looks 0.2 s ahead, which --live"),
  ],
)
def test_ways_that_cannot_be(way, line):
  with pytest.raises(ValueError, match=line):
    stream.Way(**way)


def test_what_is_not_as_usual_is_in_the_protocol(tiny):
  skeleton = tiny.skeleton
  assert stream.Way().protocol(skeleton) == {}
  found = stream.Way(share=True, smooth_boxes="online").protocol(skeleton)
  assert found["shared_boxes"] == {"most": 16, "stray": 0.1}
  assert found["smooth_boxes"] == "online"
  found = stream.Way(share=True, live="causal").protocol(skeleton)
  assert found["shared_boxes"]["most"] == 1 and found["live"] == "causal"
  assert "propagation" in stream.Way(follow=True).protocol(skeleton)
