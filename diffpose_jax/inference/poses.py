"""Estimated poses of a batch of crops, on the host."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8


@dataclasses.dataclass(frozen=True)
class Poses:
  """Estimated poses of a batch, on the host."""

  joints: Float[np.ndarray, "b k 2"]  # crop pixels, of the mean heatmap
  score: Float[np.ndarray, "b k"]  # its peak, in [0, 1]
  samples: Float[np.ndarray, "m b k 2"]  # crop pixels, of each member
  shape: Float[np.ndarray, "b k 2 2"]  # crop pixels², of the mean heatmap
  # The mean heatmap to look at: its most over the joints, of which 255 is 1.
  heat: UInt8[np.ndarray, "b y x"] | None = None

  def row(self, i: int) -> "Poses":
    """One of them, as a batch of its own."""
    return Poses(
      **{
        name: np.take(getattr(self, name), [i], axis)
        for name, axis in _axes(self).items()
      }
    )


def _axes(poses: Poses) -> dict[str, int]:
  """The axis of the clips in each field that is there."""
  axes = {"joints": 0, "score": 0, "samples": 1, "shape": 0}
  return axes if poses.heat is None else axes | {"heat": 0}


def joined(parts: Sequence[Poses]) -> Poses:
  """The clips of several batches, at least one, as one batch."""
  return Poses(
    **{
      name: np.concatenate([getattr(part, name) for part in parts], axis)
      for name, axis in _axes(parts[0]).items()
    }
  )


def nobody(joints: int, members: int) -> Poses:
  """No poses, of so many joints and ensemble members."""
  points = np.zeros((0, joints, 2), np.float32)
  return Poses(
    joints=points,
    score=points[..., 0],
    samples=np.zeros((members, *points.shape), np.float32),
    shape=np.zeros((*points.shape, 2), np.float32),
  )
