"""Shares of joints near the truth: PCK."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float


def pck(
  joints: Float[np.ndarray, "n k 2"],
  truth: Float[np.ndarray, "n k 2"],
  labelled: Bool[np.ndarray, "n k"],
  lengths: Float[np.ndarray, "n"],
  thresholds: Sequence[float],
) -> dict[str, Any]:
  """Share of labelled joints within each threshold × length of the truth.

  Args:
    joints: predictions, in the frame of reference and pixels of `truth`.
    truth: read only where labelled.
    labelled: which joints count.
    lengths: a person's unit, in pixels: for instance the longer side of the
      unenlarged box, or the head size. NaN leaves the person out.
    thresholds: in units; a distance of just the threshold is right.

  Returns:
    {"0.1": {"pooled": 0.33, "joints": [0.5, None, ...]}, ...}: fractions over
    all labelled joints together, and of each joint; None where none counts.

  Raises:
    ValueError: a length that is not above 0, or a judged position not finite.
  """
  lengths = np.asarray(lengths, np.float64)
  if np.any(lengths <= 0):
    raise ValueError(
      f"PCK: lengths must be above 0, found {np.nanmin(lengths)}"
    )
  used = labelled & ~np.isnan(lengths)[:, None]
  difference = np.where(used[..., None], joints, 0.0) - np.where(
    used[..., None], truth, 0.0
  )
  if not np.all(np.isfinite(difference)):
    raise ValueError("PCK: a labelled joint or its prediction is not finite")
  unit = np.where(np.isnan(lengths), 1.0, lengths)
  distance = np.linalg.norm(difference, axis=-1) / unit[:, None]
  result = {}
  for threshold in thresholds:
    right = np.sum(used & (distance <= threshold), axis=0)
    total = np.sum(used, axis=0)
    result[f"{threshold:g}"] = {
      "pooled": _share(np.sum(right), np.sum(total)),
      "joints": [_share(r, t) for r, t in zip(right, total, strict=True)],
    }
  return result


def _share(right: np.integer, total: np.integer) -> float | None:
  return float(right / total) if total else None
