import dataclasses
import itertools

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from diffpose_jax.data.annotations import Frame, Person, Video
from diffpose_jax.evaluation import matching, tracks
from diffpose_jax.pose import skeleton

SKELETON = dataclasses.replace(
  skeleton.POSETRACK, joints=("nose", "ear", "hip"), evaluated=(2, 0)
)
REGION = np.array([(-9, -9), (999, -9), (999, 999), (-9, 999)], float)


def person(track, x, hip=True, nose=True):
  """A nose at (x, 10) and a hip at (x, 90); the head size is 30."""
  return Person(
    box=None,
    joints=np.array([(x, 10), (x, 50), (x, 90)], float),
    labelled=np.array([nose, True, hip]),
    track_id=track,
    head_box=np.array([0, 0, 30, 40], float),
  )


def judged(videos):
  """Frames of {video name: [(people, poses, regions), ...]}."""
  sides = [], []
  for name, frames in videos.items():
    for side, made in enumerate(sides):
      people = [
        Frame(f"{i}", i, True, tuple(one[side]), one[2])
        for i, one in enumerate(frames)
      ]
      made.append(Video(name, tuple(people)))
  return matching.Case.of(*sides, skeleton=SKELETON).frames


def test_a_scene_by_hand():
  videos = {
    "a": [
      ([person(40, 100), person(7, 106, hip=False)], [person(5, 103)], ()),
      ([person(7, 500)], [person(5, 500), person(900, 514.9)], ()),
    ],
    "b": [
      ([person(7, 100)], [], ()),
      ([], [person(5, 100)], ()),
      ([person(9, 100)], [person(5, 115.1)], ()),
    ],
  }
  scene = tracks.lay_out(judged(videos), 0.5)
  assert scene.video.tolist() == [0, 0, 1, 1, 1]
  assert scene.time.tolist() == [0, 1, 0, 1, 2]
  people, poses, pairs = scene.people, scene.poses, scene.pairs
  assert people.frame.tolist() == [0, 0, 1, 2, 4]
  assert people.track.tolist() == [1, 0, 0, 2, 3] and people.tracks == 4
  assert poses.frame.tolist() == [0, 1, 1, 3, 4]
  assert poses.track.tolist() == [0, 0, 1, 2, 2] and poses.tracks == 3
  assert people.there[:, 0].tolist() == [True, False, True, True, True]  # hips
  assert people.there[:, 1].all() and poses.there.all()
  assert people.empty.tolist() == [False, False, False, True, False]
  assert poses.empty.tolist() == [False, False, True, False, False]
  assert pairs.person.tolist() == [0, 0, 1, 2, 2, 2, 2]
  assert pairs.pose.tolist() == [0, 0, 0, 1, 1, 2, 2]
  assert pairs.joint.tolist() == [0, 1, 1, 0, 1, 0, 1]
  want = [0.1, 0.1, 0.1, 0, 0, 14.9 / 30, 14.9 / 30]
  assert pairs.value.tolist() == pytest.approx(want)
  chosen = pairs.at(pairs.joint == 1)
  assert chosen.person.tolist() == [0, 1, 2, 2]


def test_frames_where_evaluators_see_nobody():
  bare = person(0, 100, hip=False, nose=False)
  some = person(1, 100)
  videos = {
    "a": [
      ([bare], [some], ()),  # without joints, but there
      ([bare], [some], (REGION + 5000,)),  # removed where there are regions
      ([some], [bare], (REGION + 5000,)),
      ([some], [some], (REGION,)),  # all of it ignored
      ([], [], ()),
    ]
  }
  scene = tracks.lay_out(judged(videos), 0.5)
  assert scene.people.empty.tolist() == [False, True, False, True, True]
  assert scene.poses.empty.tolist() == [False, False, True, True, True]


def test_nobody_at_all():
  scene = tracks.lay_out(judged({"a": [([], [], ())] * 3}), 0.5)
  assert scene.people.tracks == scene.poses.tracks == 0
  assert scene.people.there.shape == (0, 2) and scene.pairs.value.shape == (0,)
  assert tracks.assign(scene, scene.pairs, 9.0).tolist() == []


@pytest.mark.parametrize(
  ("people", "text"),
  [
    (
      [person(0, 1), person(-1, 9)],
      "person 1 of the ground truth has no track",
    ),
    (
      [person(3, 1), person(0, 2), person(3, 9)],
      "track_id 3 is there twice in the ground truth, persons 0 and 2",
    ),
  ],
)
def test_tracks_that_are_missing_or_twice_are_named(people, text):
  with pytest.raises(ValueError, match=f"a: 1: {text}"):
    tracks.lay_out(judged({"a": [([], [], ()), (people, [], ())]}), 0.5)
  with pytest.raises(ValueError, match="of the predictions|in the predictions"):
    tracks.lay_out(judged({"a": [([], [], ()), ([], people, ())]}), 0.5)


def crowd(rng, people, poses):
  """One frame of one video with so many on both sides, all near each other."""
  frame = (
    [person(i, 100 + rng.uniform(0, 22)) for i in range(people)],
    [person(i, 100 + rng.uniform(0, 22)) for i in range(poses)],
    (),
  )
  before = ([person(0, 0)], [person(0, 0)], ())
  return tracks.lay_out(judged({"a": [before, frame]}), 0.5)


def by_trying_all(pairs, joint, absent):
  """The smallest cost of one frame: of pairs, and of what is left over."""
  near = {
    (p, q): value
    for p, q, j, value in zip(
      pairs.person, pairs.pose, pairs.joint, pairs.value, strict=True
    )
    if j == joint
  }
  people = sorted({p for p, _ in near})
  choices = [[None, *(q for p, q in near if p == one)] for one in people]
  costs = []
  for poses in itertools.product(*choices):
    taken = [q for q in poses if q is not None]
    if len(set(taken)) == len(taken):
      some = sum(near[c] for c in zip(people, poses, strict=True) if c in near)
      costs.append(some - absent * len(taken))
  return min(costs)


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(
  st.integers(0, 2**32),
  st.integers(1, 5),
  st.integers(1, 5),
  st.sampled_from([99.0, 0.0]),
)
def test_assign_is_as_good_as_trying_all(seed, people, poses, absent):
  scene = crowd(np.random.default_rng(seed), people, poses)
  pairs = scene.pairs
  if not absent:  # any number of pairs; nearer is better
    pairs = dataclasses.replace(pairs, value=pairs.value - 0.6)
  late = pairs.at(scene.people.frame[pairs.person] == 1)
  taken = tracks.assign(scene, late, absent)
  for joint in (0, 1):
    own = late.at(taken & (late.joint == joint))
    assert len(set(own.person)) == len(set(own.pose)) == len(own.person)
    cost = np.sum(own.value) - absent * len(own.value)
    assert cost == pytest.approx(by_trying_all(late, joint, absent), abs=1e-9)


def test_assign_of_disputed_pairs_by_hand():
  # Person 0 is nearer to pose 0, but then person 1 has nobody.
  people = [person(0, 110), person(1, 97)]
  poses = [person(0, 111), person(1, 124)]
  scene = tracks.lay_out(judged({"a": [(people, poses, ())]}), 0.5)
  pairs = scene.pairs.at(scene.pairs.joint == 0)
  assert pairs.person.tolist() == [0, 1, 0]
  assert pairs.pose.tolist() == [0, 0, 1]
  assert tracks.assign(scene, pairs, 9.0).tolist() == [False, True, True]
  # By similarity, one good pair is better than two bad ones.
  similar = dataclasses.replace(pairs, value=2 * pairs.value - 1)
  assert tracks.assign(scene, similar, 0.0).tolist() == [True, False, False]


def test_sums_of_nothing_are_floats():
  none = np.zeros(0, int)
  assert tracks.add_up(none, none, 3).dtype == float
  got = tracks.add_up(np.array([1, 2, 4]), np.array([2, 0, 2]), 5)
  assert got.tolist() == [2, 0, 5, 0, 0]
