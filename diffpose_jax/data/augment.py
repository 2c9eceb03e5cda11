"""Random crop parameters, drawn once for a whole clip.

All functions are pure in their random generator. The order and the values are
the family's (PoseWarper, DCPose, FAMI-Pose; `config.augment`): half body, then
scale, rotation and flip, with one affine for all frames of a clip.
"""

import dataclasses
import math

import ml_collections
import numpy as np
from jaxtyping import Bool, Float

from diffpose_jax.pose import geometry
from diffpose_jax.pose import skeleton as skeletons

_HALF_BODY_ABOVE = 8  # labelled joints
_HALF_BODY_ENLARGE = 1.5
# P(N(0, 1) < 0.5): how often the family's code picks the upper half.
_UPPER_PROBABILITY = 0.5 * (1 + math.erf(0.5 / math.sqrt(2)))


@dataclasses.dataclass(frozen=True)
class Crop:
  """What a crop shows: a box, seen through `geometry.crop_affine`."""

  box: np.ndarray  # float32 (4,), xyxy edges in the picture, enlarged
  scale: float = 1.0  # > 1 shows more
  rotation: float = 0.0  # degrees
  mirror: bool = False

  def affine(self, size: tuple[int, int]) -> Float[np.ndarray, "2 3"]:
    """From the picture to a crop of size (height, width)."""
    return geometry.crop_affine(
      self.box,
      size,
      scale=self.scale,
      rotation=self.rotation,
      mirror=self.mirror,
    )


def draw_crop(
  rng: np.random.Generator,
  box: Float[np.ndarray, "4"],
  joints: Float[np.ndarray, "k 2"],
  labelled: Bool[np.ndarray, "k"],
  *,
  skeleton: skeletons.Skeleton,
  augment: ml_collections.ConfigDict,
) -> Crop:
  """A random crop around a person.

  Args:
    rng: the only source of randomness.
    box: xyxy edges in the picture, enlarged as for evaluation.
    joints: (x, y) in the picture.
    labelled: which of them count.
    skeleton: its halves.
    augment: `config.augment`.

  Source: order and values of DCPose's loader; `Differs:` `shift`, which is off
  by default, moves the box by a uniform share of its sides.
  """
  if (
    labelled.sum() > _HALF_BODY_ABOVE
    and rng.random() < augment.half_body_probability
  ):
    box = half_body_box(rng, box, joints, labelled, skeleton)
  shift = rng.uniform(-1, 1, 2) * augment.shift * (box[2:] - box[:2])
  scale = np.clip(
    rng.normal(1, augment.scale), 1 - augment.scale, 1 + augment.scale
  )
  rotation = np.clip(
    rng.normal(0, augment.rotation), -2 * augment.rotation, 2 * augment.rotation
  )
  if rng.random() >= augment.rotation_probability:
    rotation = 0.0
  return Crop(
    box=(box + np.tile(shift, 2)).astype(np.float32),
    scale=float(scale),
    rotation=float(rotation),
    mirror=bool(rng.random() < augment.flip_probability),
  )


def half_body_box(
  rng: np.random.Generator,
  box: Float[np.ndarray, "4"],
  joints: Float[np.ndarray, "k 2"],
  labelled: Bool[np.ndarray, "k"],
  skeleton: skeletons.Skeleton,
) -> Float[np.ndarray, "4"]:
  """A box around the upper or the lower joints, or `box` if they are too few.

  The upper half is drawn in 69 % of cases and needs more than two labelled
  joints, as does the lower; the box has 1.5 times the joints' extents around
  their mean.
  """
  halves = [
    np.array([joint for joint in half if labelled[joint]], int)
    for half in (skeleton.upper, skeleton.lower)
  ]
  if rng.random() >= _UPPER_PROBABILITY:
    halves.reverse()
  chosen = halves[0] if len(halves[0]) > 2 else halves[1]
  if len(chosen) <= 2:
    return box
  points = joints[chosen]
  extent = points.max(axis=0) - points.min(axis=0)
  if extent.min() < 1:
    return box
  half = extent * (_HALF_BODY_ENLARGE / 2)
  centre = points.mean(axis=0)
  return np.concatenate([centre - half, centre + half])


def camera_motion(
  rng: np.random.Generator,
  frames: int,
  size: tuple[int, int],
  strength: float,
) -> Float[np.ndarray, "t 2 3"]:
  """Similarities of crop pixels, one a frame, as of a camera that moves.

  Pan, zoom and roll are steady and start at the middle frame, which stays.

  Args:
    rng: the only source of randomness.
    frames: t.
    size: (height, width) of the crop, pixels.
    strength: standard deviation a frame: pan in crop sides, zoom as log,
      roll in radians.
  """
  height, width = size
  pan = rng.normal(0, strength, 2) * (width, height)
  zoom, roll = rng.normal(0, strength, 2)
  time = np.arange(frames) - frames // 2
  scale = np.exp(zoom * time)
  cos, sin = scale * np.cos(roll * time), scale * np.sin(roll * time)
  turn = np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)
  centre = np.array([(width - 1) / 2, (height - 1) / 2])
  shift = centre - turn @ centre + time[:, None] * pan
  return np.concatenate([turn, shift[..., None]], axis=2)


def mirror_joints(
  joints: Float[np.ndarray, "k 2"],
  labelled: Bool[np.ndarray, "k"],
  *,
  skeleton: skeletons.Skeleton,
) -> tuple[Float[np.ndarray, "k 2"], Bool[np.ndarray, "k"]]:
  """Left and right exchanged, as a mirrored picture shows them.

  The coordinates themselves are those of the mirrored picture already.
  """
  order = list(skeleton.flip)
  return joints[order], labelled[order]
