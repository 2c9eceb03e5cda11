"""How much a person in a frame is like one that is expected there; who is who.

Source: Zhang et al., ByteTrack (ECCV 2022, arXiv 2110.06864), for tracking by
overlap and motion alone; Ronchi and Perona, Benchmarking and error diagnosis in
multi-instance pose estimation (ICCV 2017, arXiv 1707.05388), section 2, for OKS.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize

from diffpose_jax.inference import motion, people
from diffpose_jax.pose import geometry


def widened_oks(
  expected: motion.Points,
  size: Float[np.ndarray, "n"],
  seen: Float[np.ndarray, "m p 2"],
  seen_size: Float[np.ndarray, "m"],
  falloff: Float[np.ndarray, "p"],
) -> Float[np.ndarray, "n m p"]:
  """By point, exp(-d² / 2 (f + v)): OKS that allows for a doubtful guess.

  f = (falloff size)², `size` the root of the product of both sides', and v the
  variance of what is expected in x and in y. Without doubt it is the term of
  OKS, `falloff` being twice the sigma. NaN where a point is missing on either
  side.

  Differs: the mean of OKS over a normal guess has f / (f + v) as a factor. With
  it, who was out of sight or is new is taken for a worse match than a stranger
  nearby; measured, more identities are lost that way than won.
  """
  between = seen[None] - expected.place[:, None]  # n m p 2
  squares = between[..., 0] ** 2 + between[..., 1] ** 2
  areas = size[:, None] * seen_size
  exact = np.square(falloff) * areas[..., None]
  return np.exp(-squares / (2 * (exact + expected.covariance[:, None, :, 0])))


def weighted_mean(
  values: Float[np.ndarray, "n m p"], weights: Float[np.ndarray, "m p"]
) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "n m"]]:
  """Means of what is not NaN, 0 where nothing is; and the share it has.

  The share is of the weights of all points, so that of a few joints that two
  poses have in common little is concluded.
  """
  known = ~np.isnan(values)
  given = np.where(known, weights, 0.0)
  total = given.sum(axis=-1)
  mean = np.where(known, values, 0.0) * given
  mean = mean.sum(axis=-1) / np.where(total > 0, total, 1)
  return mean, total / max(values.shape[-1], 1)


def similarity(
  known: people.Known,
  seen: people.Seen,
  falloff: Float[np.ndarray, "p"],
  *,
  near: float,
  pose: float,
) -> Float[np.ndarray, "n m"]:
  """Of each of the known, at this moment, with each person; 0 to 1.

  The mean of the joints' OKS, with the weight `pose` times the share of the
  joints that are seen on both sides, and of the box's likeness. That is the
  mean of the product of its points' terms, with the weight `near`, and IoU.

  Args:
    known: n people, expected now.
    seen: m people.
    falloff: of all points, in sizes: see `widened_oks`.
    near: 0 to 1.
    pose: 0 to 1.
  """
  terms = widened_oks(known.points, known.size, seen.points, seen.size, falloff)
  box, joints = terms[..., : people.BOX], terms[..., people.BOX :]
  overlap = geometry.iou(known.boxes, seen.boxes)
  likeness = near * np.prod(box, axis=-1) + (1 - near) * overlap
  oks, share = weighted_mean(joints, seen.weights[:, people.BOX :])
  return pose * share * oks + (1 - pose * share) * likeness


def assign(
  similarity: Float[np.ndarray, "n m"], least: float
) -> tuple[Int[np.ndarray, "c"], Int[np.ndarray, "c"]]:
  """Rows and columns of the pairs with the largest sum of what exceeds `least`.

  No pair is below `least`, and a pair is not broken up for a gain elsewhere
  that is only due to their number. Source: Kuhn, The Hungarian method for the
  assignment problem (1955), as SciPy has it.
  """
  gain = np.maximum(similarity - least, 0)
  rows, columns = optimize.linear_sum_assignment(gain, maximize=True)
  real = similarity[rows, columns] >= least
  return rows[real], columns[real]
