"""Which predicted pose is which true person's, and how far its joints are off.

Distances are in head sizes, PoseTrack's unit: 0.6 of the diagonal of a true
person's head box. Source: Andriluka et al., PoseTrack (CVPR 2018, arXiv
1710.10000), section 5, and its evaluator, poseval.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from diffpose_jax.data.annotations import Frame, Video
from diffpose_jax.evaluation import pairing
from diffpose_jax.pose import skeleton as skeleton_lib

THRESHOLD = 0.5  # head sizes within which a joint is right: PCKh@0.5
_HEAD_SHARE = 0.6  # of the head box's diagonal


@dataclasses.dataclass(frozen=True)
class Judged:
  """A frame: q poses beside p true people, in the k evaluated joints.

  A joint is there where it is predicted or labelled, and in no ignore region.
  """

  video: str
  place: str  # what to call it in an error
  truth: Frame
  other: Frame
  joints: np.ndarray  # float64 (q, k, 2), picture pixels
  there: np.ndarray  # bool (q, k)
  true_joints: np.ndarray  # float64 (p, k, 2)
  true_there: np.ndarray  # bool (p, k)
  skeleton: skeleton_lib.Skeleton

  @property
  def counts(self) -> bool:
    """Whether PoseTrack's evaluator counts the frame; see `counts`."""
    return counts(self.truth)

  @functools.cached_property
  def distance(self) -> Float[np.ndarray, "q p k"]:
    """In head sizes of the true person; inf where a joint is not on both sides.

    Raises ValueError naming a person without a head box that needs one.
    """
    sizes = head_sizes(self.truth, np.any(self.true_there, axis=1), self.place)
    squares = (self.joints[:, None] - self.true_joints) ** 2
    away = np.sqrt(squares[..., 0] + squares[..., 1])
    both = self.there[:, None] & self.true_there
    return np.where(both, away / sizes[:, None], np.inf)

  @functools.cached_property
  def close(self) -> Bool[np.ndarray, "q p k"]:
    """Whether a pose's joint is right if it is that person's."""
    return self.distance <= THRESHOLD

  @functools.cached_property
  def owner(self) -> np.ndarray:
    """The true person of each pose, int (q,); -1 for a pose that has none."""
    return assign(self.close, self.true_there)

  @functools.cached_property
  def scores(self) -> Float[np.ndarray, "q k"]:
    """Of the predicted joints; -inf for people without scores.

    Raises ValueError where one is NaN.
    """
    none = np.full(len(self.skeleton.joints), -math.inf)
    scores = [
      none if person.scores is None else person.scores
      for person in self.other.people
    ]
    scores = np.array(scores, float).reshape(-1, len(none))
    scores = scores[:, self.skeleton.evaluated]
    if np.isnan(scores).any():
      raise ValueError(f"{self.place}: a predicted joint's score is NaN")
    return scores


@dataclasses.dataclass(frozen=True)
class Case:
  """Predictions beside the truth of the same videos: what metrics judge.

  `poseval_compatible` and `posetrack21_compatible` ask a metric to follow that
  evaluator where its rules surprise; the metrics say in which.
  """

  pairs: tuple[tuple[str, Frame, Frame], ...]  # (video, true, predicted)
  skeleton: skeleton_lib.Skeleton
  poseval_compatible: bool = True
  posetrack21_compatible: bool = False

  @classmethod
  def of(
    cls,
    truth: Sequence[Video],
    predictions: Sequence[Video],
    *,
    skeleton: skeleton_lib.Skeleton,
    **rules: bool,
  ) -> "Case":
    """Pairs videos and frames by name; ValueError for one on one side only."""
    pairs = tuple(pairing.pair_frames(truth, predictions))
    return cls(pairs, skeleton, **rules)

  @functools.cached_property
  def frames(self) -> tuple[Judged, ...]:
    """All frames, in the order of the videos' names and their own."""
    joints, there = _gathered(self.pairs, self.skeleton.evaluated)
    frames, last = [], 0
    for video, truth, other in self.pairs:
      first, middle = last, last + len(truth.people)
      last = middle + len(other.people)
      for polygon in truth.ignore_regions:
        hidden = pairing.inside(joints[first:last].reshape(-1, 2), polygon)
        there[first:last] &= ~hidden.reshape(there[first:last].shape)
      frame = Judged(
        video=video,
        place=f"{video}: {truth.file_name}",
        truth=truth,
        other=other,
        joints=joints[middle:last],
        there=there[middle:last],
        true_joints=joints[first:middle],
        true_there=there[first:middle],
        skeleton=self.skeleton,
      )
      frames.append(frame)
    return tuple(frames)

  @functools.cached_property
  def videos(self) -> dict[str, tuple[Judged, ...]]:
    """The frames of each video."""
    videos: dict[str, list[Judged]] = {}
    for frame in self.frames:
      videos.setdefault(frame.video, []).append(frame)
    return {name: tuple(frames) for name, frames in videos.items()}

  def only(self, video: str) -> "Case":
    """The case of one of the videos."""
    pairs = tuple(pair for pair in self.pairs if pair[0] == video)
    case = dataclasses.replace(self, pairs=pairs)
    if "frames" in self.__dict__:  # judged before: not judged again
      case.__dict__["frames"] = self.videos[video]
    return case


def _gathered(
  pairs: Sequence[tuple[str, Frame, Frame]], channels: Sequence[int]
) -> tuple[Float[np.ndarray, "n k 2"], Bool[np.ndarray, "n k"]]:
  """The joints of all people, of each pair first the true, and which are there.

  In one go: frame by frame this takes as long as all that is done with them.
  """
  people = [
    person for _, *sides in pairs for side in sides for person in side.people
  ]
  if not people:
    shape = 0, len(channels)
    return np.zeros((*shape, 2)), np.zeros(shape, bool)
  joints = np.concatenate([person.joints for person in people])
  there = np.concatenate([person.labelled for person in people])
  joints = joints.reshape(len(people), -1, 2)[:, channels]
  joints = joints.astype(float, copy=False)
  return joints, there.reshape(len(people), -1)[:, channels]


def counts(frame: Frame) -> bool:
  """Whether a frame of the ground truth counts: somebody is annotated there."""
  return bool(frame.people) and (
    frame.labelled or any(np.any(p.labelled) for p in frame.people)
  )


def head_sizes(
  frame: Frame, needed: Bool[np.ndarray, "p"], place: str
) -> Float[np.ndarray, "p"]:
  """PCKh's unit of length of each person, in pixels; 1 where not needed.

  Raises ValueError naming the person without a head box that needs one.
  """
  sizes = np.ones(len(frame.people))
  boxes = []
  for i in np.flatnonzero(needed):
    box = frame.people[i].head_box
    if box is None:
      raise ValueError(
        f"{place}: person {i} (track {frame.people[i].track_id}) has no head "
        "box, the unit of PCKh; give bbox_head in the ground truth"
      )
    boxes.append(box)
  if boxes:
    edges = np.array(boxes, float)
    sizes[needed] = _HEAD_SHARE * np.hypot(*(edges[:, 2:] - edges[:, :2]).T)
  return sizes


def assign(
  close: Bool[np.ndarray, "q p k"], labelled: Bool[np.ndarray, "p k"]
) -> np.ndarray:
  """The true person of each pose, int (q,); -1 for a pose that has none.

  A pose goes to the person of whose labelled joints it gets the largest share
  right; of the poses that go to one person, the one with the largest share is
  kept. The first wins a draw, both times, in the order of the file.

  Args:
    close: whether a pose's joint is right if it is that person's.
    labelled: which joints of each person are labelled and judged.
  """
  poses, people, _ = close.shape
  owner = np.full(poses, -1)
  if not poses or not people:
    return owner
  share = close.sum(axis=2) / np.maximum(labelled.sum(axis=1), 1)
  best = share.argmax(axis=1)
  kept = np.where(np.arange(people) == best[:, None], share, 0)
  winner = kept.argmax(axis=0)
  won = kept.max(axis=0) > 0
  owner[winner[won]] = won.nonzero()[0]
  return owner
