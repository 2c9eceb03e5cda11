"""Joint names, order, left-right pairs and limbs of each labelled skeleton."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Skeleton:
  """What a data set calls its joints, and how they belong together."""

  name: str
  joints: tuple[str, ...]  # channel order of heatmaps and files
  pairs: tuple[tuple[int, int], ...]  # (left, right) joint indices
  limbs: tuple[tuple[int, int], ...]  # bones to draw
  upper: tuple[int, ...]  # upper half, for half-body augmentation
  lower: tuple[int, ...]
  evaluated: tuple[int, ...]  # scored joints, in the evaluator's order
  groups: tuple[tuple[str, tuple[int, ...]], ...]  # rows of result tables
  sigmas: tuple[float, ...]  # OKS falloff per joint, COCO's convention

  @property
  def flip(self) -> tuple[int, ...]:
    """Joint order of a mirrored picture; entry i names the joint to read."""
    order = list(range(len(self.joints)))
    for left, right in self.pairs:
      order[left], order[right] = right, left
    return tuple(order)

  def index(self, joint: str) -> int:
    """Channel of a joint by name. Raises ValueError for an unknown name."""
    if joint not in self.joints:
      raise ValueError(
        f"{self.name} has no joint {joint!r}; it has {', '.join(self.joints)}"
      )
    return self.joints.index(joint)


_JOINTS = (
  "nose",
  "head_bottom",
  "head_top",
  "left_ear",
  "right_ear",
  "left_shoulder",
  "right_shoulder",
  "left_elbow",
  "right_elbow",
  "left_wrist",
  "right_wrist",
  "left_hip",
  "right_hip",
  "left_knee",
  "right_knee",
  "left_ankle",
  "right_ankle",
)

# Slots 5 to 16, shoulders to ankles, are the same in PoseTrack and COCO.
_BODY_GROUPS = (
  ("shoulder", (5, 6)),
  ("elbow", (7, 8)),
  ("wrist", (9, 10)),
  ("hip", (11, 12)),
  ("knee", (13, 14)),
  ("ankle", (15, 16)),
)
_BODY_SIGMAS = (
  0.079,
  0.079,
  0.072,
  0.072,
  0.062,
  0.062,
  0.107,
  0.107,
  0.087,
  0.087,
  0.089,
  0.089,
)

# PoseTrack17/18/21 files: 17 COCO-like slots, of which the ears are never
# annotated. `evaluated` is the order in which poseval lists its 15 joints.
POSETRACK = Skeleton(
  name="posetrack",
  joints=_JOINTS,
  pairs=((3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
  limbs=(
    (2, 0),
    (0, 1),
    (1, 5),
    (1, 6),
    (5, 7),
    (7, 9),
    (6, 8),
    (8, 10),
    (5, 11),
    (6, 12),
    (11, 12),
    (11, 13),
    (13, 15),
    (12, 14),
    (14, 16),
  ),
  upper=tuple(range(11)),
  lower=tuple(range(11, 17)),
  evaluated=(16, 14, 12, 11, 13, 15, 10, 8, 6, 5, 7, 9, 1, 0, 2),
  groups=(
    ("head", (0, 1, 2)),
    *_BODY_GROUPS,
  ),
  # COCO's values; head_bottom and head_top take the shoulders' (mmpose does
  # the same in its PoseTrack18 metadata: fact, not text).
  sigmas=(
    0.026,
    0.079,
    0.079,
    0.035,
    0.035,
    *_BODY_SIGMAS,
  ),
)

# COCO keypoints: the joints and bones that its files list, in their order.
COCO = Skeleton(
  name="coco",
  joints=(
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
  ),
  pairs=tuple((left, left + 1) for left in range(1, 17, 2)),
  limbs=(
    (15, 13),
    (13, 11),
    (16, 14),
    (14, 12),
    (11, 12),
    (5, 11),
    (6, 12),
    (5, 6),
    (5, 7),
    (6, 8),
    (7, 9),
    (8, 10),
    (1, 2),
    (0, 1),
    (0, 2),
    (1, 3),
    (2, 4),
    (3, 5),
    (4, 6),
  ),
  upper=tuple(range(11)),
  lower=tuple(range(11, 17)),
  evaluated=tuple(range(17)),
  groups=(
    ("head", (0, 1, 2, 3, 4)),
    *_BODY_GROUPS,
  ),
  # As COCO publishes them, nose to ankles.
  sigmas=(
    0.026,
    0.025,
    0.025,
    0.035,
    0.035,
    *_BODY_SIGMAS,
  ),
)

NAMED = {skeleton.name: skeleton for skeleton in (POSETRACK, COCO)}
