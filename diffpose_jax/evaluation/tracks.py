"""People and poses of whole videos in flat arrays, and who could be whom.

Tracking metrics look at thousands of frames with a few people each. Here the
people of all frames are laid end to end, and what can be matched at all, the
few joints that are near enough, is one long list beside them.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import optimize

from diffpose_jax.evaluation.matching import Judged


@dataclasses.dataclass(frozen=True)
class Side:
  """The n people of one side of f frames, frame after frame."""

  frame: Int[np.ndarray, "n"]  # whose person it is: 0 ... f - 1
  track: Int[np.ndarray, "n"]  # 0, 1, ... through all videos, none left out
  there: Bool[np.ndarray, "n k"]  # joints, see `Judged`
  empty: Bool[np.ndarray, "f"]  # frames where evaluators see nobody

  @property
  def tracks(self) -> int:
    """How many tracks there are."""
    return int(np.max(self.track, initial=-1)) + 1


@dataclasses.dataclass(frozen=True)
class Pairs:
  """Joints of poses near the same joints of people.

  In the order of frames, then poses, people and joints.
  """

  person: Int[np.ndarray, "e"]  # its place in its side
  pose: Int[np.ndarray, "e"]
  joint: Int[np.ndarray, "e"]
  value: Float[np.ndarray, "e"]  # distance, or similarity

  def at(self, chosen: np.ndarray) -> "Pairs":
    """Those where `chosen` is true, or those at these places."""
    return Pairs(
      self.person[chosen],
      self.pose[chosen],
      self.joint[chosen],
      self.value[chosen],
    )


@dataclasses.dataclass(frozen=True)
class Scene:
  """Both sides of f frames, and the pairs between them."""

  people: Side
  poses: Side
  pairs: Pairs
  video: Int[np.ndarray, "f"]  # the video of each frame: 0, 1, ...
  time: Int[np.ndarray, "f"]  # its place among the frames of its video


def lay_out(frames: Sequence[Judged], farthest: float) -> Scene:
  """The scene of frames, those of one video in a row; distances in head sizes.

  A frame is `empty` on a side where nobody is, or nobody of whom a joint is
  judged if it has ignore regions: poseval and PoseTrack21's kit remove people
  there, and only there, who have no joint.

  Args:
    frames: at least one.
    farthest: the distance up to which joints make a pair.

  Raises:
    ValueError: a person on either side has no track id (it is below 0), one is
      twice in a frame, or as `Judged.distance` does.
  """
  names = [frame.video for frame in frames]
  firsts = [i == 0 or names[i - 1] != name for i, name in enumerate(names)]
  video = np.cumsum(firsts) - 1
  time = np.arange(len(names)) - np.flatnonzero(firsts)[video]
  people = _side(frames, video, true=True)
  poses = _side(frames, video, true=False)
  return Scene(people, poses, _pairs(frames, farthest), video, time)


def _pairs(frames: Sequence[Judged], farthest: float) -> Pairs:
  shapes = np.array([frame.distance.shape for frame in frames])
  distance = np.concatenate([frame.distance.reshape(-1) for frame in frames])
  near = np.flatnonzero(distance <= farthest)
  sizes = np.prod(shapes, axis=1)
  frame = np.repeat(np.arange(len(frames)), sizes)[near]
  poses, people = _before(shapes[:, 0]), _before(shapes[:, 1])
  within = near - _before(sizes)[frame]  # pose, person, joint as one number
  within, joint = np.divmod(within, shapes[0, 2])
  pose, person = np.divmod(within, shapes[frame, 1])
  return Pairs(
    person + people[frame], pose + poses[frame], joint, distance[near]
  )


def _before(counts: Int[np.ndarray, "f"]) -> Int[np.ndarray, "f"]:
  """The sums of all counts before each."""
  return np.cumsum(counts) - counts


def _side(
  frames: Sequence[Judged], video: Int[np.ndarray, "f"], *, true: bool
) -> Side:
  there = [frame.true_there if true else frame.there for frame in frames]
  ids = [
    [person.track_id for person in (f.truth if true else f.other).people]
    for f in frames
  ]
  for frame, own in zip(frames, ids, strict=True):
    if len(set(own)) < len(own) or min(own, default=0) < 0:
      raise ValueError(_wrong_tracks(own, frame.place, true))
  frame = np.repeat(np.arange(len(frames)), [len(own) for own in ids])
  names = np.array([one for own in ids for one in own], int)
  # The tracks of different videos are different, whatever they are called.
  _, short = np.unique(names, return_inverse=True)
  _, track = np.unique(
    video[frame] * (len(short) + 1) + short, return_inverse=True
  )
  return Side(
    frame=frame,
    track=track,
    there=np.concatenate(there),
    empty=np.array(
      [
        not (one.any() if frame.truth.ignore_regions else len(one))
        for one, frame in zip(there, frames, strict=True)
      ]
    ),
  )


def _wrong_tracks(ids: list[int], place: str, true: bool) -> str:
  side = "the ground truth" if true else "the predictions"
  for i, one in enumerate(ids):
    if one < 0:
      return (
        f"{place}: person {i} of {side} has no track_id; tracking cannot be "
        "judged without: give every person one, 0 or above"
      )
    if one in ids[:i]:
      return (
        f"{place}: track_id {one} is there twice in {side}, persons "
        f"{ids.index(one)} and {i}; a track has one person in a frame"
      )
  raise AssertionError(ids)


def add_up(
  values: Shaped[np.ndarray, "n"], ids: Int[np.ndarray, "n"], size: int
) -> Float[np.ndarray, "size"]:
  """The sums of the values of each id from 0 to size - 1."""
  # Of nothing at all NumPy would make whole numbers.
  return np.bincount(ids, values, minlength=size).astype(float)


def assign(scene: Scene, pairs: Pairs, absent: float) -> Bool[np.ndarray, "e"]:
  """Which pairs are taken, so that the sum of values is smallest.

  Each joint of a person and of a pose is taken at most once; those that are
  left over cost `absent` for each pair that could still be made of them. Of
  equal sums SciPy's `linear_sum_assignment` decides, given the people and poses
  that have the joint, in the order of the file.

  Args:
    scene: where the pairs are from.
    pairs: some of its pairs, or these with other values.
    absent: above all values. With one that is far above, as many pairs are
      taken as can be.
  """
  joints = scene.people.there.shape[1]
  taken = _lonely(pairs.person * joints + pairs.joint)
  taken &= _lonely(pairs.pose * joints + pairs.joint)
  disputed = np.flatnonzero(~taken)
  frame = scene.people.frame[pairs.person[disputed]]
  problem = frame * joints + pairs.joint[disputed]
  order = np.argsort(problem, kind="stable")
  changes = np.flatnonzero(np.diff(problem[order])) + 1
  for places in np.split(disputed[order], changes):
    if len(places):
      taken[places] = _solve(scene, pairs.at(places), absent)
  return taken


def _lonely(ids: Int[np.ndarray, "e"]) -> Bool[np.ndarray, "e"]:
  """Which of the values are there once."""
  _, place, counts = np.unique(ids, return_inverse=True, return_counts=True)
  return counts[place] == 1


def _solve(scene: Scene, pairs: Pairs, absent: float) -> Bool[np.ndarray, "e"]:
  """`assign` for pairs of one joint in one frame."""
  frame = int(scene.people.frame[pairs.person[0]])
  joint = int(pairs.joint[0])
  rows = _present(scene.people, frame, joint)
  columns = _present(scene.poses, frame, joint)
  cost = np.full((len(rows), len(columns)), absent, float)
  row = np.searchsorted(rows, pairs.person)
  column = np.searchsorted(columns, pairs.pose)
  cost[row, column] = pairs.value
  chosen = np.zeros(cost.shape, bool)
  chosen[optimize.linear_sum_assignment(cost)] = True
  return chosen[row, column]


def _present(side: Side, frame: int, joint: int) -> Int[np.ndarray, "_"]:
  """The people of a frame who have the joint."""
  first, last = np.searchsorted(side.frame, (frame, frame + 1))
  return first + np.flatnonzero(side.there[first:last, joint])
