"""The verb `distill`: a run whose Pose-Decoder needs one step, from another."""

import pathlib
from typing import Any

from diffpose_jax import config as config_lib
from diffpose_jax.inference import averaged
from diffpose_jax.training import train

_ITERATIONS, _RATE = 500, 3e-4
_SHARE_OF_WARM_UP = 10


def main(
  weights: pathlib.Path,
  workdir: str,
  *,
  steps: int = 4,
  samples: int = 8,
  iterations: int = _ITERATIONS,
  root: pathlib.Path | None = None,
) -> dict[str, Any]:
  """Trains and evaluates the student; what `train.train` returns.

  Args:
    weights: the teacher: workdir, packed file or bundle.
    workdir: of the student, a run like any other; it is gone on with.
    steps: of the teacher's walk.
    samples: of the teacher, merged.
    iterations: optimiser steps.
    root: of the data, where that is not where the teacher's run found it.

  Raises:
    ValueError: there are no such weights, or no data; of what `train` refuses.
  """
  return train.train(
    config=config_of(
      weights,
      steps=steps,
      samples=samples,
      iterations=iterations,
      root=root,
    ),
    workdir=workdir,
  )


def config_of(
  weights: pathlib.Path,
  *,
  steps: int,
  samples: int,
  iterations: int,
  root: pathlib.Path | None = None,
) -> Any:
  """The teacher's config with what makes it the student's."""
  origin = averaged.find(weights)
  config: Any = config_lib.copy(origin.config)
  if root is not None:
    config.data.root, config.data.prepared = str(root), ""
  elif not config.data.prepared and (weights / "data").is_dir():
    config.data.prepared = str(weights / "data")
  config.model.init_from = config.train.resume = ""
  config.train.init_from = str(weights)
  config.train.teacher.steps, config.train.teacher.samples = steps, samples
  config.train.steps = iterations
  config.train.warmup = iterations // _SHARE_OF_WARM_UP
  config.train.schedule = "cosine"
  config.train.learning_rate = _RATE
  # What does not learn must not shrink either.
  config.train.weight_decay = 0.0
  config.train.ema = min(config.train.ema, 0.99)
  config.train.freeze_steps = config.train.patience = 0
  config.evaluate.steps = config.evaluate.samples = 1
  config.evaluate.adaptive = 0.0
  return config
