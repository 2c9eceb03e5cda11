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
    away = np.linalg.norm(self.joints[:, None] - self.true_joints, axis=-1)
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
    channels = list(self.skeleton.evaluated)
    scores = np.full(self.there.shape, -math.inf)
    for i, person in enumerate(self.other.people):
      if person.scores is not None:
        scores[i] = person.scores[channels]
    if np.any(np.isnan(scores)):
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
    return tuple(self._judge(*pair) for pair in self.pairs)

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

  def _judge(self, video: str, truth: Frame, other: Frame) -> Judged:
    channels, regions = self.skeleton.evaluated, truth.ignore_regions
    true_joints, true_there = pairing.judged(truth, regions, channels)
    joints, there = pairing.judged(other, regions, channels)
    return Judged(
      video=video,
      place=f"{video}: {truth.file_name}",
      truth=truth,
      other=other,
      joints=joints,
      there=there,
      true_joints=true_joints,
      true_there=true_there,
      skeleton=self.skeleton,
    )


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
  for i in np.flatnonzero(needed):
    box = frame.people[i].head_box
    if box is None:
      raise ValueError(
        f"{place}: person {i} (track {frame.people[i].track_id}) has no head "
        "box, the unit of PCKh; give bbox_head in the ground truth"
      )
    sizes[i] = _HEAD_SHARE * np.hypot(
      *np.subtract(box[2:], box[:2], dtype=float)
    )
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
  share = np.sum(close, axis=2) / np.maximum(np.sum(labelled, axis=1), 1)
  best = np.argmax(share, axis=1)
  kept = np.where(np.arange(people) == best[:, None], share, 0)
  winner = np.argmax(kept, axis=0)
  won = np.max(kept, axis=0) > 0
  owner[winner[won]] = np.flatnonzero(won)
  return owner
