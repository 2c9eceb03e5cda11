"""The train step is the plain one, and a different one is noticed."""

# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false

import numpy as np
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax.benchmark import measure, plain_step, training
from diffpose_jax.benchmark import subject as subject_lib


def test_rows_of_the_train_step(subject):
  time, memory = training.train_step(subject, pairs=1)
  assert time.error < training._UPDATE
  assert time.ratio.median == pytest.approx(
    time.figures["ours ms"] / time.figures["plain ms"]
  )
  ours, plain = memory.figures["ours MiB"], memory.figures["plain MiB"]
  assert memory.ratio.median == pytest.approx(ours / plain)
  # Parameters, their average, and two moments.
  weights = sum(v.nbytes for v in training.jax.tree.leaves(subject.params))
  assert plain > 4 * weights / 2**20


class Fake:
  """A loop that has these losses and ends at these weights."""

  def __init__(self, losses, weights, *, ours):
    self._losses, self._ours = list(losses), ours
    params = {"a": np.array(weights)}
    self.state = {"params": params} if ours else (0, params)

  def __call__(self):
    loss = np.float32(self._losses.pop(0))
    return {"loss": loss} if self._ours else loss


@pytest.mark.parametrize(
  ("losses", "weights", "message"),
  [
    ((3.0, 2.0, 1.0), (1.3, 2.4), ""),
    # The weights (1, 2) changed by (0.3, 0.4): by 0.5, of which this is 2.2 %.
    ((3.0, 2.0, 1.0), (1.3, 2.411), "weights: outputs differ by 0.022"),
    ((3.0, 2.001, 1.0), (1.3, 2.4), "loss 1: outputs differ by 0.0005"),
    ((3.0, float("nan"), 1.0), (1.3, 2.4), "loss 1"),
  ],
)
def test_steps_that_differ_are_refused(config, losses, weights, message):
  subject = subject_lib.Subject(config, {"a": np.array([1.0, 2.0])})
  ours = Fake(losses, weights, ours=True)
  plain = Fake((3.0, 2.0, 1.0), (1.3, 2.4), ours=False)
  if not message:
    assert training._compare(subject, ours, plain) == 0
    return
  with pytest.raises(measure.DifferentOutputsError, match=message):
    training._compare(subject, ours, plain)


def test_what_the_plain_step_leaves_out_is_off(config):
  config = config_lib.copy(config)
  config.model.drop_path = 0.1
  config.train.self_aligned = config.train.start_weight = 0.5
  config.train.accumulate = 2
  found = plain_step.settings(config)
  assert (found.model.drop_path, found.train.self_aligned) == (0, 0)
  assert found.train.start_weight == 0
  assert found.train.accumulate == 1 and config.train.accumulate == 2
