"""Recompilations and implicit transfers are seen, and there are none."""

# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpose_jax.benchmark import steady


def test_compilations_and_transfers_are_counted():
  double = jax.jit(lambda x: 2 * x)
  ready = [jax.device_put(np.zeros(n, np.float32)) for n in (3, 3, 5, 5, 7)]
  compiled, stopped = steady.count(lambda n: double(ready[n]), 4)
  assert (len(compiled), stopped) == (2, 0)
  # A NumPy array goes to the device unasked.
  _, stopped = steady.count(lambda n: double(np.full(3, n, np.float32)), 4)
  assert stopped == 4
  put = lambda n: double(jax.device_put(np.full(3, n, np.float32)))  # noqa: E731
  assert steady.count(put, 4)[1] == 0


def test_other_errors_pass():
  def fail(number):
    if number:
      raise jax.errors.JaxRuntimeError("INTERNAL: broken")

  with pytest.raises(jax.errors.JaxRuntimeError, match="broken"):
    steady.count(fail, 1)


def test_steps_and_predictions_compile_once(subject):
  assert jnp.zeros(()).devices()  # JAX has started.
  for row in steady.repeats(subject, calls=9):
    assert row.ratio.median == 0, row
    assert row.verdict == ""
