"""From spreads to probabilities: fitted on one split, checked on others.

A joint's error is modelled as a two-dimensional Student distribution about the
estimate with scale

  S = s V_samples + h V_heatmap + f exp(-p peak) L² I

V_samples being the covariance of the ensemble's joints, V_heatmap the second
moments of the mean heatmap and peak its height, and L the longer side of the
person's box. The factors s, h, f, p >= 0 and the tail are fitted by maximum
likelihood. Then the probability P of an error of at most half a head, which
follows, is mapped to how many of such joints were right, by a rising curve, since
one tail does not hold for joints that are nearly right and for those that are
elsewhere. Source: Zadrozny & Elkan 2002, for isotonic calibration. The three
methods differ in what they may use: `samples` (h = 0), `heatmap` (s = 0), or
`both`. The one with the best likelihood on people that were not fitted on is
the one that is shipped.
"""

import dataclasses
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from diffpose_jax.data import strict_json
from diffpose_jax.inference import pack_file
from diffpose_jax.pose import uncertainty

NAME = "calibration.json"
METHODS = ("samples", "heatmap", "both")
# Sampling spread depends on them, so a calibration holds for these alone.
SAMPLING = ("steps", "samples", "flip", "eta", "solver", "adaptive", "decode")
_OLDER = {"solver": "ddim", "adaptive": 0.0}  # where it does not say
_FLOOR = 1e-8  # of L²: so that S is never singular


@dataclasses.dataclass(frozen=True)
class Joints:
  """Labelled joints of people: one row each, in picture pixels."""

  error: Float[np.ndarray, "n 2"]  # estimate - truth
  samples: Float[np.ndarray, "n 2 2"] | None  # None: one member, no spread
  heatmap: Float[np.ndarray, "n 2 2"]
  side: Float[np.ndarray, "n"]  # L, the longer side of the person's box
  peak: Float[np.ndarray, "n"]  # of the mean heatmap, in [0, 1]

  def __len__(self) -> int:
    return len(self.side)

  @property
  def methods(self) -> tuple[str, ...]:
    """Those that there is the data for."""
    return METHODS if self.samples is not None else ("heatmap",)

  def take(self, which: Bool[np.ndarray, "n"]) -> "Joints":
    """Some of the rows."""
    samples = None if self.samples is None else self.samples[which]
    return Joints(
      self.error[which],
      samples,
      self.heatmap[which],
      self.side[which],
      self.peak[which],
    )


@dataclasses.dataclass(frozen=True)
class Factors:
  """What a method's scale is made of; see the module."""

  samples: float
  heatmap: float
  floor: float
  tail: float
  peak: float = 0.0
  # The curve from stated probabilities to observed ones; none: they are kept.
  stated: tuple[float, ...] = ()
  observed: tuple[float, ...] = ()

  def scale(self, joints: Joints) -> Float[np.ndarray, "n 2 2"]:
    """S of each joint."""
    floor = self.floor * np.exp(-self.peak * joints.peak) + _FLOOR
    floor = floor * np.square(joints.side)
    scale = floor[:, None, None] * np.eye(2) + self.heatmap * joints.heatmap
    if joints.samples is not None:
      scale = scale + self.samples * joints.samples
    return scale

  def within(
    self, scale: Float[np.ndarray, "n 2 2"], reach: Float[np.ndarray, "n"]
  ) -> Float[np.ndarray, "n"]:
    """Probability that an error of such a scale is at most `reach` long."""
    found = uncertainty.within(scale, reach, self.tail)
    return (
      np.interp(found, self.stated, self.observed) if self.stated else found
    )


# As the methods are without any fit: the spread is taken for the covariance.
RAW = {
  "samples": Factors(1.0, 0.0, 0.0, math.inf),
  "heatmap": Factors(0.0, 1.0, 0.0, math.inf),
  "both": Factors(1.0, 1.0, 0.0, math.inf),
}


@dataclasses.dataclass(frozen=True)
class Calibration:
  """What `calibrate` found for weights and a way of sampling."""

  factors: Mapping[str, Factors]  # by method
  best: str  # the method to use
  head: float | None  # head size over L, median; None: no head boxes
  weights_sha256: str
  sampling: Mapping[str, Any]  # values of `SAMPLING`
  fitted_on: Mapping[str, Any]  # data, split, joints, held-out likelihoods

  def record(self) -> dict[str, Any]:
    """What `calibration.json` holds."""
    content = dataclasses.asdict(self)
    for factors in content["factors"].values():
      if math.isinf(factors["tail"]):
        factors["tail"] = None  # JSON has no infinity
    return content

  def save(self, weights: pathlib.Path) -> pathlib.Path:
    """Writes `calibration.json` into a workdir, or into a packed file; where."""
    if pack_file.is_one(weights):
      pack_file.calibrate(weights, self.record())
      return weights
    path = weights / NAME
    strict_json.dump(path, self.record())
    return path


def read(weights: pathlib.Path) -> Calibration | None:
  """The calibration in a workdir or packed file, of whatever weights.

  Returns None where there is none. Raises ValueError where it is damaged.
  """
  path = _path(weights)
  if pack_file.is_one(weights):
    content = pack_file.read(weights).calibration
  else:
    content = strict_json.load(path) if path.is_file() else None
  if content is None:
    return None
  keys = tuple(field.name for field in dataclasses.fields(Calibration))
  content = strict_json.require(content, keys, str(path))
  fields = dataclasses.fields(Factors)
  needed = [f.name for f in fields if f.default is dataclasses.MISSING]
  factors = {}
  for method, values in content["factors"].items():
    strict_json.require(values, tuple(needed), f"{path}: factors: {method}")
    values = values | {"tail": values["tail"] or math.inf}
    # Older ones know no more than what is needed.
    given: dict[str, Any] = {
      f.name: tuple(map(float, values[f.name]))
      if isinstance(values[f.name], list | tuple)
      else float(values[f.name])
      for f in fields
      if f.name in values
    }
    factors[method] = Factors(**given)
  known: dict[str, Any] = {key: content[key] for key in keys}
  known["factors"] = factors
  return Calibration(**known)


def _path(weights: pathlib.Path) -> pathlib.Path:
  """What errors name."""
  return weights if pack_file.is_one(weights) else weights / NAME


def load(
  weights: pathlib.Path, protocol: Mapping[str, Any]
) -> Calibration | None:
  """The calibration of a run or packed file; None where there is none.

  Raises ValueError where it is damaged, or is of other weights or another way
  of sampling than `protocol` says.
  """
  found, path = read(weights), _path(weights)
  if found is None:
    return None
  if found.weights_sha256 != protocol["weights_sha256"]:
    raise ValueError(
      f"{path}: is of other weights (SHA-256 {found.weights_sha256[:12]}) "
      f"than those in use ({protocol['weights_sha256'][:12]}); calibrate again, "
      "or remove it"
    )
  for key in SAMPLING:
    fitted = found.sampling.get(key, _OLDER.get(key))
    if fitted != protocol[key]:
      raise ValueError(
        f"{path}: was fitted with {key} {fitted}, not "
        f"{protocol[key]}; calibrate with that, or remove it"
      )
  return found


def find(
  weights: pathlib.Path, protocol: Mapping[str, Any]
) -> tuple[Calibration | None, list[str]]:
  """The calibration, if there is one that holds; or why none is used."""
  try:
    return load(weights, protocol), []
  except ValueError as error:
    return None, [f"uncertainty is not calibrated: {error}"]


@dataclasses.dataclass(frozen=True)
class Stated:
  """The distribution of the error of each joint of n people."""

  scale: Float[np.ndarray, "n k 2 2"]  # picture pixels²; NaN: unknown
  # Probability of being within half a head of the truth; None: not known
  # without a calibration on data with head boxes.
  within: Float[np.ndarray, "n k"] | None


def state(
  samples: Float[np.ndarray, "m n k 2"],
  shape: Float[np.ndarray, "n k 2 2"],
  side: Float[np.ndarray, "n"],
  peak: Float[np.ndarray, "n k"],
  calibrated: Calibration | None,
) -> Stated:
  """What is known of the errors of estimates.

  Args:
    samples: joints of each ensemble member, picture pixels.
    shape: second moments of the mean heatmaps, picture pixels².
    side: longer sides of the people's boxes.
    peak: of the mean heatmaps, without the scores of boxes.
    calibrated: of this way of sampling, if any; else the raw spread stands for
      the covariance.
  """
  people, count = shape.shape[:2]
  sides = np.repeat(side.astype(np.float64), count)
  several = len(samples) > 1
  spread = (
    uncertainty.sample_covariance(samples).reshape(-1, 2, 2)
    if several
    else None
  )
  joints = Joints(
    np.zeros((people * count, 2)),
    spread,
    shape.reshape(-1, 2, 2).astype(np.float64),
    sides,
    peak.reshape(-1).astype(np.float64),
  )
  if calibrated is None:
    factors, head = RAW["both" if several else "heatmap"], None
  else:
    factors, head = calibrated.factors[calibrated.best], calibrated.head
  scale = factors.scale(joints)
  within = None
  if head is not None:
    known = np.isfinite(scale).all(axis=(1, 2))
    within = np.full(len(scale), np.nan)
    within[known] = factors.within(scale[known], 0.5 * head * sides[known])
    within = within.reshape(people, count)
  return Stated(scale.reshape(people, count, 2, 2), within)


def describe(calibrated: Calibration | None) -> dict[str, Any]:
  """What a protocol says of the uncertainty beside it."""
  if calibrated is None:
    return {"uncertainty": "raw spread of heatmap and samples, not calibrated"}
  tail = calibrated.factors[calibrated.best].tail
  return {
    "uncertainty": f"calibrated, from {calibrated.best}",
    "uncertainty_tail": None if math.isinf(tail) else tail,
    "uncertainty_head": calibrated.head,
  }


def nll(joints: Joints, factors: Factors) -> float:
  """Mean negative log-likelihood of the errors, as shares of L; lower is better.

  Dividing by L makes people of all sizes count alike.
  """
  density = uncertainty.log_density(
    factors.scale(joints), joints.error, factors.tail
  )
  return -float(np.mean(density + 2 * np.log(joints.side)))
