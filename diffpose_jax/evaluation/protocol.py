"""How a result came about, and whether two results may be compared."""

import functools
import importlib.metadata
import math
import pathlib
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from diffpose_jax.evaluation import matching, registry

# What two results must share to stand in one table. The method may differ:
# weights, steps, samples, seed, flip.
MUST_AGREE = (
  "data",
  "labels",
  "split",
  "ground_truth_sha256",
  "videos",
  "frames",
  "boxes",
  "boxes_sha256",
  "box_threshold",
  "measure",
  "poseval_compatible",
  "posetrack21_compatible",
)


def of_case(case: matching.Case, metrics: Sequence[str]) -> dict[str, Any]:
  """What was judged, by which rules, and by what code."""
  return {
    "frames": sum(frame.counts for frame in case.frames),
    "measure": {name: registry.load(name).ABOUT for name in metrics},
    "poseval_compatible": case.poseval_compatible,
    "posetrack21_compatible": case.posetrack21_compatible,
    "code_version": code_version(),
  }


@functools.cache
def code_version() -> str:
  """Version of the package; in a checkout also its commit, and if changed.

  As in `0.1.0 (1a2b3c4, changed)`.
  """
  try:
    version = importlib.metadata.version("diffpose-jax")
  except importlib.metadata.PackageNotFoundError:
    version = "not installed"
  root = pathlib.Path(__file__).resolve().parents[2]
  if not (root / ".git").exists():
    return version
  git = ["git", "-C", str(root)]
  try:
    commit, changes = (
      subprocess.run(
        [*git, *command], capture_output=True, text=True, timeout=9, check=True
      ).stdout.strip()
      for command in (
        ("rev-parse", "--short", "HEAD"),
        ("status", "--porcelain", "--untracked-files=no"),
      )
    )
  except (OSError, subprocess.SubprocessError):
    return version
  return f"{version} ({commit}{', changed' if changes else ''})"


def differences(
  first: Mapping[str, Any], second: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
  """The entries that differ of those that must agree: key → both values."""
  return {
    key: (first.get(key), second.get(key))
    for key in MUST_AGREE
    if not _equal(first.get(key), second.get(key))
  }


def _equal(a: Any, b: Any) -> bool:
  if isinstance(a, Mapping) and isinstance(b, Mapping):  # rules by metric
    return all(a[key] == b[key] for key in a.keys() & b.keys())
  if isinstance(a, float) and isinstance(b, float):
    return math.isclose(a, b, rel_tol=1e-9)
  return a == b
