"""What a metric is; see `registry` for which there are."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from diffpose_jax.evaluation import matching
from diffpose_jax.pose import skeleton as skeleton_lib

_POSEVAL_NAMES = {"head_bottom": "neck"}


@dataclasses.dataclass(frozen=True)
class Table:
  """Rows of numbers under one title, for the terminal and the report."""

  title: str
  rows: Mapping[str, Mapping[str, float | None]]  # row → column → value
  digits: int = 1  # after the point
  groups: bool = False  # columns are groups of joints, in the papers' order


@runtime_checkable
class Metric(Protocol):
  """What a module of `metrics/` has."""

  ABOUT: str  # what is measured and in which unit, for the protocol

  def measure(self, case: matching.Case) -> dict[str, Any]:
    """The metric's own keys of a result, ready for JSON: None for unknown.

    Raises ValueError where the case lacks what the metric needs.
    """
    ...

  def tables(self, result: Mapping[str, Any]) -> Sequence[Table]:
    """Of those keys."""
    ...


def by_joint(
  values: Float[np.ndarray, "k"],
  skeleton: skeleton_lib.Skeleton,
  *,
  total: float | None = None,
) -> dict[str, float | None]:
  """Values of the evaluated joints in poseval's names, and their mean `total`.

  None for NaN, which the mean leaves out. `total` takes the mean's place.
  """
  joints = [skeleton.joints[channel] for channel in skeleton.evaluated]
  joints = [_POSEVAL_NAMES.get(name, name) for name in joints]
  table = {n: or_none(v) for n, v in zip(joints, values, strict=True)}
  return table | {"total": or_none(mean(values) if total is None else total)}


def by_group(
  values: Float[np.ndarray, "k"],
  skeleton: skeleton_lib.Skeleton,
  *,
  total: float | None = None,
) -> dict[str, float | None]:
  """Means over the joints of each group, and over all joints, as `total`."""
  table = {
    name: or_none(mean(values[np.isin(skeleton.evaluated, channels)]))
    for name, channels in skeleton.groups
  }
  return table | {"total": or_none(mean(values) if total is None else total)}


def mean(values: Float[np.ndarray, "..."]) -> float:
  """Over those that are not NaN; NaN where there are none."""
  known = values[~np.isnan(values)]
  return float(np.mean(known)) if known.size else math.nan


def or_none(value: float) -> float | None:
  """The value as JSON has it: None for NaN."""
  return None if math.isnan(value) else float(value)
