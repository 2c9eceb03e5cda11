"""Numbers come back as they went in, rounded, and never more than fit."""

import base64
import dataclasses
import math
import zlib

import numpy as np
import pytest

from diffpose_jax.data import annotations, poses
from diffpose_jax.inference import viewer_data
from diffpose_jax.pose.skeleton import POSETRACK

K = len(POSETRACK.joints)
KNOWN = (0, 5, 10)  # joints that the people have
UNKNOWN = {"i2": -(2**15), "i4": -(2**31), "u2": 65535}
HEAD = poses.Head("a", "a.mp4", 25.0, 240, 320, POSETRACK, {})


def _person(seed, members=4, track=7):
  rng = np.random.default_rng(seed)
  labelled = np.isin(np.arange(K), KNOWN)
  joints = rng.uniform(-50, 400, (K, 2)).astype(np.float32)
  root = rng.normal(size=(K, 2, 2))
  return annotations.Person(
    box=np.array([10.25, 20.5, 110.125, 221.75], np.float32),
    joints=joints,
    labelled=labelled,
    track_id=track,
    scores=rng.uniform(0, 1, K).astype(np.float32),
    box_score=0.875,
    scale=(root @ np.swapaxes(root, 1, 2) * 9).astype(np.float32),
    within=rng.uniform(0, 1, K).astype(np.float32),
    samples=joints + rng.normal(size=(members, K, 2)).astype(np.float32),
  )


def _frame(index, *people, time=None):
  return annotations.Frame(
    f"{index}.jpg",
    index,
    True,
    tuple(people),
    time=index / 25 if time is None else time,
  )


def _packed(frames, kept=None, head=HEAD):
  """The numbers as arrays, and the step of samples."""
  kept = kept or viewer_data.Kept(1, 1)
  found = viewer_data.survey(head, frames)
  columns, step = viewer_data.pack(head, frames, found, kept)
  return {name: _read(name, texts) for name, texts in columns.items()}, step


def _read(name, texts):
  """By hand: byte by byte, the lowest first."""
  planes = [zlib.decompress(base64.b64decode(text)) for text in texts]
  kind = viewer_data.KINDS[name]
  assert len(planes) == int(kind[1])
  numbers = [
    int.from_bytes(bytes(parts), "little", signed=kind[0] == "i")
    for parts in zip(*planes, strict=True)
  ]
  return np.array(numbers, np.int64)


def test_what_is_there_of_a_person():
  people = [_person(0), _person(1, track=123456), _person(2, track=-5)]
  got, _ = _packed([_frame(0, *people[:2]), _frame(1), _frame(2, people[2])])
  np.testing.assert_array_equal(got["count"], [2, 0, 1])
  np.testing.assert_array_equal(got["time"], [0, 400, 800])  # of 0.1 ms
  np.testing.assert_array_equal(got["track"], [7, 123456, -1])
  np.testing.assert_array_equal(got["box_score"], [875] * 3)
  box = got["box"].reshape(3, 4) / 100
  np.testing.assert_allclose(
    box, [[10.25, 20.5, 110.125, 221.75]] * 3, atol=0.0051
  )
  rows = list(KNOWN)
  for name, digits, size, values in (
    ("joint", 100, (3, 2), lambda p: p.joints[rows]),
    ("score", 1000, (3,), lambda p: p.scores[rows]),
    ("within", 1000, (3,), lambda p: p.within[rows]),
    (
      "scale",
      100,
      (3, 3),
      lambda p: np.stack([s[[0, 0, 1], [0, 1, 1]] for s in p.scale[rows]]),
    ),
  ):
    found = got[name].reshape(3, *size) / digits
    expected = np.stack([values(person) for person in people])
    np.testing.assert_allclose(found, expected, atol=0.501 / digits)


def test_the_ends_of_the_ranges():
  person = _person(0)
  assert person.scores is not None and person.within is not None
  person.scores[0], person.scores[5], person.scores[10] = 0, 1, np.nan
  person.within[:] = np.nan
  person.joints[0], person.joints[5] = (1e12, -1e12), (np.nan, 3)
  got, _ = _packed([_frame(0, person)])
  np.testing.assert_array_equal(got["score"], [0, 1000, UNKNOWN["u2"]])
  np.testing.assert_array_equal(got["within"], [UNKNOWN["u2"]] * 3)
  low, high = -(2**31) + 1, 2**31 - 1
  assert got["joint"].tolist()[:3] == [high, low, UNKNOWN["i4"]]


def test_what_is_not_known():
  bare = dataclasses.replace(
    _person(0), box=None, scores=None, scale=None, within=None, samples=None
  )
  half = _person(1)
  half.labelled[5] = False
  got, _ = _packed([_frame(0, bare, half)])
  assert (got["box"][:4] == UNKNOWN["i4"]).all()
  # Of the second person, a joint that is not predicted.
  lacking = np.array([[1, 1, 1], [0, 1, 0]])
  for name, unknown in (
    ("score", UNKNOWN["u2"]),
    ("within", UNKNOWN["u2"]),
    ("scale", UNKNOWN["i4"]),
  ):
    found = got[name].reshape(2, 3, -1)
    np.testing.assert_array_equal((found == unknown).all(axis=2), lacking)
    np.testing.assert_array_equal((found == unknown).any(axis=2), lacking)
  joint = got["joint"].reshape(2, 3, 2)
  np.testing.assert_array_equal(
    (joint == UNKNOWN["i4"]).all(axis=2), [[0, 0, 0], [0, 1, 0]]
  )
  sample = got["sample"].reshape(2, 4, 3, 2)
  assert (sample[0] == UNKNOWN["i2"]).all()
  np.testing.assert_array_equal(
    (sample[1] == UNKNOWN["i2"]).all(axis=(0, 2)), [False, True, False]
  )


def test_samples_are_steps_from_their_joint():
  people = [_person(0), _person(1, members=2)]
  got, step = _packed([_frame(0, *people)])
  assert step == 0.01
  sample = got["sample"].reshape(2, 4, 3, 2)
  rows = list(KNOWN)
  for person, found in zip(people, sample, strict=True):
    assert person.samples is not None
    there = len(person.samples)
    expected = (person.samples - person.joints)[:, rows]
    np.testing.assert_allclose(found[:there] * step, expected, atol=0.0051)
    assert (found[there:] == UNKNOWN["i2"]).all()


def test_steps_are_longer_where_a_sample_is_far():
  person = _person(0)
  assert person.samples is not None
  person.samples[2, 5] = person.joints[5] + [-1700, 3]
  got, step = _packed([_frame(0, person)])
  assert 0.05 < step < 0.06
  away = got["sample"].reshape(4, 3, 2)[2, 1] * step
  np.testing.assert_allclose(away, [-1700, 3], atol=step / 2 + 1e-3)


def test_samples_that_are_not_finite():
  person = _person(0)
  assert person.samples is not None
  person.samples[1, 5], person.samples[2, 10] = np.nan, np.inf
  got, step = _packed([_frame(0, person)])
  assert step == 0.01
  unknown = got["sample"].reshape(4, 3, 2) == UNKNOWN["i2"]
  expected = np.zeros((4, 3), bool)
  expected[1, 1] = expected[2, 2] = True
  np.testing.assert_array_equal(unknown.all(axis=2), expected)


def test_modes_are_kept_of_joints_that_have_several():
  person = _person(0, members=10)
  samples = person.samples
  assert samples is not None
  # Of a person 201 pixels high: 90 pixels away is somewhere else.
  samples[:3, 10] = person.joints[10] + [90, 0]
  samples[3:, 10] = person.joints[10] + [[-1, 2]] * 7
  # A joint that is not known has modes, but nobody sees them.
  samples[:5, 8] += 90
  got, step = _packed([_frame(0, person), _frame(1, _person(1))])
  np.testing.assert_array_equal(got["modes"], [0, 0, 2, 0, 0, 0])
  np.testing.assert_array_equal(got["mode_share"], [700, 300])
  at = got["mode"].reshape(2, 2) * step
  np.testing.assert_allclose(at, [[-1, 2], [90, 0]], atol=0.0051)
  np.testing.assert_allclose(got["mode_spread"], [0, 0], atol=1)


def test_survey():
  frames = [_frame(0, _person(0), _person(1, 6, track=-1)), _frame(1)]
  found = viewer_data.survey(HEAD, frames)
  assert (found.frames, found.people, found.tracks) == (2, 2, 1)
  assert (found.joints, found.members) == (KNOWN, 6)
  assert found.calibrated
  nobody = viewer_data.survey(HEAD, [_frame(0)])
  assert nobody.joints == tuple(range(K)) and not nobody.calibrated


def test_times_that_are_not_said_follow_the_rate():
  frames = [_frame(i, time=math.nan) for i in range(3)]
  got, _ = _packed(frames)
  np.testing.assert_array_equal(got["time"], [0, 400, 800])
  texts = viewer_data.times([0.0, 0.5, 3600.0001])
  np.testing.assert_array_equal(_read("shown", texts), [0, 5000, 36000001])


def test_what_cannot_be_packed():
  with pytest.raises(ValueError, match="a.mp4: no frames"):
    viewer_data.survey(HEAD, [])
  back = [_frame(0, time=0.5), _frame(1, time=0.25)]
  with pytest.raises(ValueError, match="frame 1 is at 0.25 s.*at 0.5 s"):
    viewer_data.survey(HEAD, back)
  few = dataclasses.replace(_person(0), joints=np.zeros((3, 2), np.float32))
  with pytest.raises(ValueError, match=r"frame 0.*\(3, 2\).*17 joints"):
    viewer_data.survey(HEAD, [_frame(0, few)])


def _survey(frames, people, members=10):
  return viewer_data.Survey(
    frames, people, tuple(range(15)), members, 10.0, True, 3
  )


@pytest.mark.parametrize(
  ("frames", "people", "members", "kept"),
  [
    # A person has 22 + 15 * 24 bytes, and 15 * 40 of 10 samples; a frame 6.
    (18_000, 54_000, 10, (1, 1)),  # ten minutes of three people: 53 MB
    (36_000, 108_000, 10, (1, 3)),  # 41.5 MB, and 64.8 MB of samples
    (36_000, 108_000, 0, (1, 1)),
    (1_000_000, 0, 0, (1, 1)),
    (36_000, 3_600_000, 10, (25, 10)),  # 1375 MB, and a tenth of 2160 MB
  ],
)
def test_what_fits_is_kept(frames, people, members, kept):
  found = viewer_data.thin(_survey(frames, people, members), 64_000_000)
  assert dataclasses.astuple(found) == kept


def test_frames_and_samples_are_left_out_evenly():
  frames = [_frame(i, _person(i), _person(i + 50)) for i in range(7)]
  whole, _ = _packed(frames)
  got, _ = _packed(frames, viewer_data.Kept(3, 2))
  np.testing.assert_array_equal(got["time"], [0, 1200, 2400])
  np.testing.assert_array_equal(got["count"], [2, 2, 2])
  joint = whole["joint"].reshape(7, -1)[::3].reshape(-1)
  np.testing.assert_array_equal(got["joint"], joint)
  # Of the frames 0, 3 and 6 every second one has its samples.
  sample = whole["sample"].reshape(7, -1)[::6].reshape(-1)
  np.testing.assert_array_equal(got["sample"], sample)
  assert len(got["modes"]) == 2 * 2 * len(KNOWN)


def test_much_is_packed_as_little_is():
  """More than what is compressed at once."""
  frames = [_frame(i, _person(i)) for i in range(2000)]
  got, _ = _packed(frames)
  assert len(got["sample"]) == 2000 * 4 * 3 * 2
  last = _person(1999)
  found = got["joint"].reshape(2000, 3, 2)[-1] / 100
  np.testing.assert_allclose(found, last.joints[list(KNOWN)], atol=0.0051)


def test_memory_holds_no_frames():
  """Frames are gone through twice, and none is kept."""

  class Frames:
    walks = alive = most = 0

    def __iter__(self):
      Frames.walks += 1
      for i in range(50):
        Frames.alive += 1
        Frames.most = max(Frames.most, Frames.alive)
        yield Counted(f"{i}", i, True, (_person(i),), time=i / 25)

  class Counted(annotations.Frame):
    def __del__(self):
      Frames.alive -= 1

  _packed(Frames())
  assert Frames.walks == 2 and Frames.most < 5
