"""Where points of moving people will be, and how sure that is.

Each point moves by a velocity that is forgotten over time: the integral of an
Ornstein-Uhlenbeck process, a Kalman filter of position and velocity whose
prediction stops after a while instead of walking on through a long gap. Time
is in seconds, and the prediction over two steps is that over their sum, so
that nothing depends on the frame rate. Lengths are measured in the person's
size, the square root of the box's area.

Source: Kalman, A new approach to linear filtering and prediction problems
(1960); Uhlenbeck and Ornstein, On the theory of the Brownian motion (Phys. Rev.
1930), equations 9 and 10 for the moments over a step.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float


@dataclasses.dataclass(frozen=True)
class Points:
  """p points of n people: estimates and their covariance, alike in x and y.

  What was never seen is NaN throughout.
  """

  place: Float[np.ndarray, "n p 2"]  # pixels
  velocity: Float[np.ndarray, "n p 2"]  # pixels a second
  # Of place, of place and velocity, and of velocity.
  covariance: Float[np.ndarray, "n p 3"]

  def at(self, chosen: np.ndarray) -> "Points":
    """Those of the people where `chosen` is true, or at these places."""
    return Points(*(values[chosen] for values in self.arrays()))

  def put(self, chosen: np.ndarray, new: "Points") -> "Points":
    """These, with `new` in the places of the chosen people."""
    changed = tuple(values.copy() for values in self.arrays())
    for values, others in zip(changed, new.arrays(), strict=True):
      values[chosen] = others
    return Points(*changed)

  def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places, velocities and covariances."""
    return self.place, self.velocity, self.covariance


def unseen(people: int, points: int) -> Points:
  """Points of which nothing is known."""
  return Points(
    *(np.full((people, points, axes), np.nan) for axes in (2, 2, 3))
  )


def join(first: Points, second: Points, *, axis: int) -> Points:
  """The people (axis 0) or the points (axis 1) of both."""
  pairs = zip(first.arrays(), second.arrays(), strict=True)
  return Points(*(np.concatenate(pair, axis=axis) for pair in pairs))


def predict(
  points: Points,
  seconds: float,
  speed: Float[np.ndarray, "n p"],
  memory: float,
) -> Points:
  """The points after `seconds` of which nothing was seen.

  Args:
    points: now.
    seconds: from 0.
    speed: standard deviation of the velocity of somebody of whom nothing is
      known, by axis; pixels a second.
    memory: seconds in which a velocity falls to 1/e.
  """
  faded = -np.expm1(-seconds / memory)  # share of the velocity that is lost
  reach, kept = memory * faded, 1 - faded
  spread = np.square(speed)
  place, cross, velocity = np.moveaxis(points.covariance, -1, 0)
  # 2u - 2f - f² is a small difference of large terms where u is small.
  far = 2 * seconds / memory - 2 * faded - faded**2
  far = max(far, 0.0)
  covariance = (
    place + 2 * reach * cross + reach**2 * velocity + spread * memory**2 * far,
    kept * (cross + reach * velocity) + spread * memory * faded**2,
    kept**2 * velocity + spread * faded * (2 - faded),
  )
  return Points(
    place=points.place + reach * points.velocity,
    velocity=kept * points.velocity,
    covariance=np.stack(covariance, axis=-1),
  )


def correct(
  points: Points,
  seen: Float[np.ndarray, "n p 2"],
  there: Bool[np.ndarray, "n p"],
  noise: Float[np.ndarray, "n p"],
  speed: Float[np.ndarray, "n p"],
) -> Points:
  """The points after they were seen.

  Args:
    points: predicted for this moment.
    seen: places, where `there`; anything elsewhere, which stays as predicted.
    there: which points are seen.
    noise: standard deviation of what is seen, by axis; pixels.
    speed: as for `predict`, for points that are seen for the first time.
  """
  first = there & np.isnan(points.place[..., 0])
  place, cross, velocity = np.moveaxis(points.covariance, -1, 0)
  variance = np.square(noise)
  gain, push = place / (place + variance), cross / (place + variance)
  away = np.where(there[..., None], seen - points.place, 0)
  covariance = np.stack(
    [(1 - gain) * place, (1 - gain) * cross, velocity - push * cross], axis=-1
  )
  start = np.stack([variance, np.zeros_like(noise), np.square(speed)], axis=-1)
  mask, new = there[..., None], first[..., None]
  return Points(
    place=np.where(new, seen, points.place + gain[..., None] * away),
    velocity=np.where(new, 0.0, points.velocity + push[..., None] * away),
    covariance=np.where(
      new, start, np.where(mask, covariance, points.covariance)
    ),
  )


def to_json(points: Points) -> dict[str, Any]:
  """Plain lists, bit for bit what `from_json` reads; None for NaN."""
  names = [field.name for field in dataclasses.fields(points)]
  return {
    name: [
      None if np.isnan(value) else value for value in values.ravel().tolist()
    ]
    for name, values in zip(names, points.arrays(), strict=True)
  }


def from_json(record: dict[str, Any], people: int, points: int) -> Points:
  """What `to_json` wrote, of so many people and points."""
  axes = {"place": 2, "velocity": 2, "covariance": 3}
  return Points(
    **{
      name: np.array(record[name], float).reshape(people, points, width)
      for name, width in axes.items()
    }
  )
