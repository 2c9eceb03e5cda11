"""From people's boxes in pictures to their poses in the same pictures."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8, UInt32

from diffpose_jax.data import pyramid
from diffpose_jax.inference import calibration
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import poses as poses_lib
from diffpose_jax.pose import geometry, uncertainty
from diffpose_jax.pose import skeleton as skeletons


@dataclasses.dataclass(frozen=True)
class Crop:
  """A person's clip, on the way to the network."""

  box: Float[np.ndarray, "4"]  # xyxy edges in the picture, not enlarged
  clip: UInt8[np.ndarray, "t h w 3"]
  to_picture: Float[np.ndarray, "2 3"]  # affine from the crop


@dataclasses.dataclass(frozen=True)
class People:
  """Poses of n people, in pixels of their pictures."""

  joints: Float[np.ndarray, "n k 2"]  # of the mean heatmap
  scores: Float[np.ndarray, "n k"]  # its peak, in [0, 1]; 0: never learned
  samples: Float[np.ndarray, "m n k 2"]  # of each ensemble member
  stated: calibration.Stated  # of the joints' errors


def cut(
  frames: Sequence[pyramid.Pyramid],
  box: Float[np.ndarray, "4"],
  config: Any,
) -> Crop:
  """The crop of one person out of the 2δ + 1 frames around the key frame.

  Raises ValueError for a box without area, or not finite.
  """
  affine = to_crop(box, config)
  clip = pyramid.cut(frames, affine, tuple(config.data.size))
  return Crop(box, clip, geometry.invert(affine))


def to_crop(
  box: Float[np.ndarray, "4"], config: Any
) -> Float[np.ndarray, "2 3"]:
  """The affine from a picture to a person's crop, of a box not enlarged.

  Raises ValueError for a box without area, or not finite.
  """
  # In float64, where what has an area in float32 keeps one.
  enlarged = geometry.enlarge(box.astype(np.float64), config.data.enlarge)
  return geometry.crop_affine(enlarged, tuple(config.data.size))


def estimate(
  estimator: estimator_lib.Estimator,
  crops: Sequence[Crop],
  noise_id: UInt32[np.ndarray, "n"],
  calibrated: calibration.Calibration | None = None,
  *,
  alone: bool = False,
) -> People:
  """The poses of any number of crops, at least one.

  Args:
    estimator: is called with at most `evaluate.batch` of them at a time.
    crops: of people.
    noise_id: whose sampling noise each sees, see `annotations.noise_id`.
    calibrated: for the errors; else they are the raw spread.
    alone: whether no more are to be expected soon: in the sizes that fit them,
      of `Estimator.ladder`.

  Raises ValueError where the network gives no finite pose.
  """
  batch = len(estimator.rows)
  begun = []
  for i in range(0, len(crops), batch):
    clips = np.stack([crop.clip for crop in crops[i : i + batch]])
    fits = (size for size in estimator.ladder if size >= len(clips))
    size = next(fits) if alone else None
    begun.append(estimator.start(clips, noise_id[i : i + batch], size=size))
  return people(
    poses_lib.joined([pending.poses() for pending in begun]),
    np.stack([crop.to_picture for crop in crops]),
    np.stack([crop.box for crop in crops]),
    estimator.skeleton,
    calibrated,
  )


def people(
  poses: poses_lib.Poses,
  to_picture: Float[np.ndarray, "n 2 3"],
  boxes: Float[np.ndarray, "n 4"],
  skeleton: skeletons.Skeleton,
  calibrated: calibration.Calibration | None = None,
) -> People:
  """What poses in crops say of people in pictures.

  Args:
    poses: of n crops.
    to_picture: affines from them.
    boxes: of the people, xyxy edges, not enlarged.
    skeleton: of the network.
    calibrated: for the errors; else they are the raw spread.

  Raises ValueError where a pose is not finite.
  """
  joints = geometry.apply(to_picture, poses.joints).astype(np.float32)
  if not np.isfinite(joints).all():
    raise ValueError(
      "the network gives no finite pose; the weights are broken, take an "
      "earlier checkpoint"
    )
  samples = np.stack([geometry.apply(to_picture, one) for one in poses.samples])
  stated = calibration.state(
    samples,
    uncertainty.carried(to_picture[:, None, :, :2], poses.shape),
    (boxes[:, 2:] - boxes[:, :2]).max(axis=1),
    poses.score,
    calibrated,
  )
  # Other channels (PoseTrack's ears) never saw a label: what they say is no
  # joint.
  known = np.isin(np.arange(joints.shape[1]), skeleton.evaluated)
  scores = np.where(known, poses.score, 0).astype(np.float32)
  return People(joints, scores, samples.astype(np.float32), stated)
