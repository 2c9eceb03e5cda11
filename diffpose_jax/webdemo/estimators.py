"""Loaded networks, of which the last used ones are kept.

The number of steps is given to a compiled network; the number of samples is
compiled into it. So there is one for each number of samples.
"""

import collections
import pathlib

from diffpose_jax.inference import estimator as estimator_lib

KEPT = 4  # networks; each holds the weights and two compiled programs


class Estimators:
  """The networks of some weights, by how they sample."""

  def __init__(self, weights: pathlib.Path, *, kept: int = KEPT):
    """Loads none yet."""
    self._weights, self._kept = weights, kept
    self._known: collections.OrderedDict[int, estimator_lib.Estimator] = (
      collections.OrderedDict()
    )

  def __call__(self, steps: int, samples: int) -> estimator_lib.Estimator:
    """The network for so many steps and samples.

    Raises ValueError as `Estimator.load` does, or for too many steps.
    """
    found = self._known.pop(samples, None)
    if found is None:
      found = estimator_lib.Estimator.load(
        self._weights, steps=steps, samples=samples
      )
    self._known[samples] = found
    while len(self._known) > self._kept:
      self._known.popitem(last=False)
    return found if found.options.steps == steps else found.with_steps(steps)
