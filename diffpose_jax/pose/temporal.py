"""How points change from frame to frame, as pure NumPy functions."""

import numpy as np
from jaxtyping import Float


def acceleration(
  joints: Float[np.ndarray, "t *n 2"],
) -> Float[np.ndarray, "_ *n 2"]:
  """Second differences of joints over frames, t - 2 of them.

  Pixels per frame². It needs no truth: the mean length of those of a predicted
  track is its trembling and its motion together. NaN for a joint that is absent
  makes the up to three that it is in NaN.
  """
  return joints[2:] - 2 * joints[1:-1] + joints[:-2]
