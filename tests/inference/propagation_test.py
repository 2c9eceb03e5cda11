"""People are followed by their poses, and nobody is made up."""

import json

import numpy as np
import pytest

from diffpose_jax.data import annotations
from diffpose_jax.inference import following, propagation
from diffpose_jax.pose import geometry, skeleton
from diffpose_jax.pose.skeleton import POSETRACK

K = len(POSETRACK.joints)
SIZE = (240, 320)
RATE = 25
# A person 40 wide and 100 high; joints inside of a box with margins.
SHAPE = np.stack(
  [np.linspace(-18, 18, K), 45 * np.cos(np.linspace(0, 9, K))], axis=1
)


def walker(start, velocity):
  """Joints (k, 2) of a person at a time."""

  def at(time):
    swing = 5 * np.sin(6 * time + np.arange(K))[:, None]
    return np.array(start) + np.array(velocity) * time + SHAPE + swing

  return at


def tight(joints, margin=6):
  low, high = joints.min(axis=0) - margin, joints.max(axis=0) + margin
  return np.concatenate([low, high]).astype(np.float32)


class Network:
  """Finds who is nearest to the box's middle with half of the joints in it."""

  def __init__(self, *people, seed=0):
    self.people, self.rng = people, np.random.default_rng(seed)

  def __call__(self, time, boxes):
    joints, scores = np.zeros((len(boxes), K, 2)), np.zeros((len(boxes), K))
    for i, one in enumerate(boxes):
      box = geometry.enlarge(np.asarray(one.box, float), 1.25)
      joints[i] = self.rng.uniform(box[:2], box[2:], (K, 2))  # rubbish
      scores[i] = 0.05
      nearest = 100.0
      for points in (person(time) for person in self.people):
        inside = ((points >= box[:2]) & (points <= box[2:])).all(axis=1)
        off = np.linalg.norm(points.mean(axis=0) - (box[:2] + box[2:]) / 2)
        if inside.mean() >= 0.5 and off < nearest:
          nearest, joints[i] = off, points
          scores[i] = np.where(inside, 0.8, 0.1)
    return joints, scores


def follower(**options):
  return propagation.Propagation(
    following.Options(**options), joints=POSETRACK.evaluated
  )


def run(follow, network, frames, given=(), first=0):
  """For each frame, the boxes, and which of them are seen."""
  given, result = dict(given), []
  for frame in range(first, first + frames):
    time = frame / RATE
    boxes = follow.boxes(time, SIZE, given.get(frame, ()))
    seen = follow.update(time, boxes, *network(time, boxes))
    assert seen.shape == (len(boxes),)
    result.append((boxes, seen))
  return result


def test_without_a_given_box_there_is_nobody():
  network = Network(walker((100, 120), (20, 0)))
  for boxes, seen in run(follower(), network, 50):
    assert boxes == []
    assert seen.shape == (0,)
    assert seen.dtype == bool


def test_one_given_box_is_enough():
  people = [walker((60, 120), (50, 0)), walker((250, 110), (-30, 8))]
  given = [
    propagation.Given(tight(people[0](0)), 0.9, 17),
    propagation.Given(tight(people[1](0))),
  ]
  found = run(follower(), Network(*people), 80, {0: given})
  for frame, (boxes, seen) in enumerate(found):
    assert [one.number for one in boxes] == [0, 1]
    assert [one.track_id for one in boxes] == [17, -1]
    assert [one.score for one in boxes] == [0.9, 1.0]
    assert [one.given for one in boxes] == [frame == 0] * 2
    assert seen.all()
    for one, person in zip(boxes, people, strict=True):
      truth = tight(person(frame / RATE))
      [[overlap]] = geometry.iou(truth[None], one.box[None])
      assert overlap > 0.75, (frame, truth, one.box)
      assert one.box.dtype == np.float32


def test_who_vanishes_is_given_up_after_the_patience():
  person = walker((160, 120), (0, 0))
  follow = follower(patience=0.5)
  given = {0: [propagation.Given(tight(person(0)))]}
  run(follow, Network(person), 10, given)
  found = run(follow, Network(), 60, first=10)
  searched = [len(boxes) for boxes, _ in found]
  # Unseen for 0.04, 0.08, ... 0.48 s, then 0.52 s: 13 frames.
  assert searched == [1] * 13 + [0] * 47
  assert not any(seen.any() for _, seen in found)  # no phantom in a result


def test_who_is_hidden_for_a_while_is_found_again():
  person = walker((100, 120), (40, 0))
  follow = follower()
  given = {0: [propagation.Given(tight(person(0)))]}
  run(follow, Network(person), 20, given)
  hidden = run(follow, Network(), 8, first=20)
  assert not any(seen.any() for _, seen in hidden)
  after = run(follow, Network(person), 20, first=28)
  assert all(seen.all() and boxes[0].number == 0 for boxes, seen in after)


def test_who_leaves_the_picture_is_gone_for_good():
  person = walker((260, 120), (80, 0))
  follow = follower()
  given = {0: [propagation.Given(tight(person(0)))]}
  found = run(follow, Network(person), 100, given)
  counts = [len(boxes) for boxes, _ in found]
  last = counts.index(0)
  assert counts == [1] * last + [0] * (100 - last)
  # A quarter of the 60 pixels of the box is inside when its centre is at 334.5.
  assert abs(260 + 80 * last / RATE - 334.5) < 8


def test_given_boxes_are_of_those_they_belong_to():
  people = [walker((60, 120), (50, 0)), walker((250, 110), (-30, 8))]
  boxes = [tight(person(0)) for person in people]
  time = 10 / RATE
  given = {
    0: [propagation.Given(boxes[0], 1.0, 17), propagation.Given(boxes[1])],
    # By overlap the first, and somebody new; by identity the one far away.
    10: [
      propagation.Given(tight(people[1](time)), 0.4),
      propagation.Given(np.array([0, 0, 30, 60.0]), 0.3),
      propagation.Given(np.array([150, 100, 190, 200.0]), 0.2, 17),
    ],
  }
  found = run(follower(), Network(*people), 11, given)
  seen = [(b.number, b.track_id, b.score, b.given) for b in found[10][0]]
  assert seen == [
    (1, -1, 0.4, True),
    (2, -1, 0.3, True),
    (0, 17, 0.2, True),
  ]
  assert found[10][1].all()  # the user says that they are there


def test_other_identities_are_other_people():
  person = walker((160, 120), (0, 0))
  box = tight(person(0))
  given = {
    0: [propagation.Given(box, 1.0, 4)],
    1: [propagation.Given(box, 1.0, 5)],
  }
  found = run(follower(), Network(person), 40, given)
  assert [(b.number, b.track_id) for b in found[1][0]] == [(1, 5), (0, 4)]
  # They are one person: the one given last is kept, the other given up.
  assert found[1][1].tolist() == [True, False]


def test_two_do_not_follow_one():
  person = walker((160, 120), (30, 0))
  box = tight(person(0))
  given = {0: [propagation.Given(box), propagation.Given(box + 4)]}
  found = run(follower(), Network(person), 60, given)
  assert [len(boxes) for boxes, _ in found][-30:] == [1] * 30
  assert all(seen.sum() == 1 for _, seen in found[1:])


def test_numbers_are_never_used_again():
  person = walker((160, 120), (0, 0))
  follow = follower(patience=0.0)
  box = propagation.Given(tight(person(0)))
  run(follow, Network(person), 3, {0: [box]})
  assert run(follow, Network(), 3, first=3)[-1][0] == []
  state = follow.state()
  follow = follower(patience=0.0)
  follow.restore(json.loads(json.dumps(state)))
  [[again], _] = run(follow, Network(person), 1, {6: [box]}, first=6)[0]
  assert again.number == 1


@pytest.mark.parametrize("stop", [1, 7, 23, 24, 39])
def test_an_interrupted_run_goes_on_to_the_last_bit(stop):
  people = [walker((60, 120), (50, 3)), walker((250, 110), (-30, 8))]
  given = {
    0: [propagation.Given(tight(people[0](0)), 0.9, 17)],
    5: [propagation.Given(tight(people[1](5 / RATE)))],
    23: [propagation.Given(tight(people[0](23 / RATE)) + 3)],
  }
  whole = run(follower(), Network(*people), 40, given)
  first = follower()
  run(first, Network(*people), stop, given)
  text = json.dumps(first.state(), allow_nan=False)
  second = follower()
  second.restore(json.loads(text))
  rest = run(second, Network(*people), 40 - stop, given, first=stop)
  assert len(whole[stop:]) == len(rest)
  for (boxes, seen), (others, also) in zip(whole[stop:], rest, strict=True):
    assert [(b.number, b.track_id, b.score, b.given) for b in boxes] == [
      (b.number, b.track_id, b.score, b.given) for b in others
    ]
    for one, other in zip(boxes, others, strict=True):
      np.testing.assert_array_equal(one.box, other.box)
    np.testing.assert_array_equal(seen, also)


def test_boxes_changes_nothing():
  person = walker((160, 120), (30, 0))
  follow = follower()
  run(follow, Network(person), 5, {0: [propagation.Given(tight(person(0)))]})
  before = json.dumps(follow.state())
  given = [propagation.Given(np.array([1, 2, 30, 40.0]))]
  follow.boxes(1.0, SIZE, given)
  assert json.dumps(follow.state()) == before


def test_before_the_first_frame_there_is_a_state_too():
  follow = follower()
  state = json.loads(json.dumps(follow.state(), allow_nan=False))
  assert state == {"time": None, "next": 0, "people": []}
  follow.restore(state)
  assert follow.boxes(0.0, SIZE) == []


def test_joints_that_do_not_count_may_be_anything():
  """PoseTrack's ears, which no label ever showed to a network."""
  person = walker((160, 120), (30, 0))
  ears = [3, 4]
  follow = follower()
  for frame in range(20):
    time = frame / RATE
    given = [] if frame else [propagation.Given(tight(person(0)))]
    boxes = follow.boxes(time, SIZE, given)
    joints, scores = Network(person)(time, boxes)
    joints[:, ears], scores[:, ears] = np.nan, 1.0
    assert follow.update(time, boxes, joints, scores).all()
  [one] = follow.boxes(20 / RATE, SIZE)
  [[overlap]] = geometry.iou(tight(person(20 / RATE))[None], one.box[None])
  assert overlap > 0.75


def test_poses_that_are_not_finite_are_not_seen():
  person = walker((160, 120), (30, 0))
  follow = follower()
  boxes = follow.boxes(0.0, SIZE, [propagation.Given(tight(person(0)))])
  follow.update(0.0, boxes, *Network(person)(0.0, boxes))
  boxes = follow.boxes(0.04, SIZE)
  joints = np.full((1, K, 2), np.nan)
  seen = follow.update(0.04, boxes, joints, np.ones((1, K)))
  assert not seen.any()
  assert np.isfinite(follow.boxes(0.08, SIZE)[0].box).all()


def test_mistakes_are_told():
  person = walker((160, 120), (30, 0))
  follow = follower()
  box = tight(person(0))
  with pytest.raises(ValueError, match="given box 0: box .* no area"):
    follow.boxes(0.0, SIZE, [propagation.Given(box[[2, 1, 0, 3]])])
  both = [box, np.array([0, 0, np.nan, 5.0])]
  with pytest.raises(ValueError, match="given box 1: box .* not finite"):
    follow.boxes(0.0, SIZE, [propagation.Given(one) for one in both])
  with pytest.raises(ValueError, match="one person has one box"):
    follow.boxes(0.0, SIZE, [propagation.Given(box, 1.0, 3)] * 2)
  boxes = follow.boxes(0.2, SIZE, [propagation.Given(box)])
  joints, scores = Network(person)(0.2, boxes)
  with pytest.raises(ValueError, match="1 people, 0 poses"):
    follow.update(0.2, boxes, joints[:0], scores[:0])
  follow.update(0.2, boxes, joints, scores)
  for time in (0.2, 0.1, float("nan"), float("inf")):
    with pytest.raises(ValueError, match="times must grow"):
      follow.boxes(time, SIZE)
  for state in (
    {},
    {"time": 0, "next": 1, "people": [{"number": 1}]},
    {"a": 1},
  ):
    with pytest.raises(ValueError, match="no state of people"):
      follow.restore(state)
  other = propagation.Propagation(joints=[0, 1])
  with pytest.raises(ValueError, match="other joints"):
    other.restore(follow.state())


def test_the_protocol_has_the_options():
  said = follower(patience=0.75).protocol()["propagation"]
  assert said["patience"] == 0.75
  assert json.dumps(said)


def _follow_truth(video, size):
  """(overlap with the true box, same identity) of who is followed, by frame.

  The true joints stand for a network that makes no mistakes; the joints that
  are not labelled have score 0.
  """
  follow = propagation.Propagation(joints=POSETRACK.evaluated)
  owner, found = {}, []
  for frame, record in enumerate(video.frames):
    people = {p.track_id: p for p in record.people if p.box is not None}
    time = frame / RATE
    given = [
      propagation.Given(p.box, 1.0, track)
      for track, p in people.items()
      if track not in owner
    ]
    boxes = follow.boxes(time, size, given)
    joints, scores = np.zeros((len(boxes), K, 2)), np.zeros((len(boxes), K))
    for i, one in enumerate(boxes):
      owner.setdefault(one.track_id, one.number)
      if one.track_id in people:
        person = people[one.track_id]
        joints[i], scores[i] = person.joints, person.labelled
        if not one.given:
          truth = np.asarray(person.box)[None]
          [[overlap]] = geometry.iou(truth, one.box[None])
          found.append((overlap, owner[one.track_id] == one.number))
    follow.update(time, boxes, joints, scores)
  return found


def test_real_motion(shared_data):
  """JHMDB: the box of the first frame, and then joints alone."""
  folder = shared_data / "jhmdb" / "annotations" / "val"
  found = []
  for path in sorted(folder.glob("*.json")):
    [video] = annotations.read_videos(path, skeleton=skeleton.POSETRACK)
    frame = video.frames[0]
    found += _follow_truth(video, (frame.height or 240, frame.width or 320))
  overlap = np.array([value for value, _ in found])
  assert len(overlap) > 1000
  # A tight mask's box is not the joints' alone; no frame is lost by more.
  assert overlap.mean() > 0.7
  assert (overlap > 0.5).mean() > 0.95
