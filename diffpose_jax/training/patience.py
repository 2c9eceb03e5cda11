"""Early stop: training is finished once validation no longer gains.

What was validated is read from `metrics.jsonl`, so that a run that was stopped
and started again counts on, and knows that it is finished.
"""

import math
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import ml_collections
import numpy as np
from jax.experimental import multihost_utils

from diffpose_jax.model import hosts
from diffpose_jax.training import log


def quality(found: Mapping[str, Any]) -> float:
  """What "best" is measured by: AP; PCK where there is no AP; else NaN."""
  ap = found.get("val/ap", float("nan"))
  return ap if math.isfinite(ap) else found.get("val/pck_0.1", ap)


def waited(
  history: Iterable[tuple[int, float]], min_gain: float
) -> tuple[int, int]:
  """How many validations there were since the last gain, and the gain's step.

  A gain is more than `min_gain` above the gain before it, so that small ones
  add up. What could not be measured (NaN) is left out.

  Args:
    history: step and quality of each validation, in order.
    min_gain: in the unit of quality.
  """
  best, where, count = -math.inf, 0, 0
  for step, value in history:
    if math.isnan(value):
      continue
    if value > best + min_gain:
      best, where, count = value, step, 0
    else:
      count += 1
  return count, where


def reached(
  folder: pathlib.Path, config: ml_collections.ConfigDict, step: int
) -> bool:
  """True where a run is finished at `step`, and says so.

  All processes of a run are told what the first one finds. `config` is that
  of training.
  """
  if not config.patience:
    return False
  found = hosts.is_first() and _reached(folder, config, step)
  if hosts.count() > 1:
    found = multihost_utils.broadcast_one_to_all(np.bool_(found))
  return bool(found)


def _reached(
  folder: pathlib.Path, config: ml_collections.ConfigDict, step: int
) -> bool:
  history = [
    (record["step"], quality(record))
    for record in log.read(folder / "metrics.jsonl")
    if "val/ap" in record and record["step"] <= step
  ]
  count, where = waited(history, config.min_gain)
  if count < config.patience:
    return False
  print(
    f"\n{folder}: no gain of more than {config.min_gain:g} in the last {count} "
    f"validations, since step {where}; finished at step {step}, the best "
    "checkpoint is evaluated",
    flush=True,
  )
  return True
