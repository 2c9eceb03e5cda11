"""Matrix-product convolutions equal XLA's convolutions."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportIndexIssue=false
# (Linen's `init` and `apply` have no types that a checker can use.)

import jax
import numpy as np
import pytest
from jax import lax

from diffpose_jax.model import layers


@pytest.mark.parametrize("step", [2, 4])
def test_down_is_a_strided_convolution(key, step):
  x = jax.random.normal(key, (2, 3 * step, 5 * step, 7))
  layer = layers.Down(11, step)
  params = layer.init(key, x)["params"]
  params["bias"] = jax.random.normal(key, (11,))
  expected = lax.conv_general_dilated(
    x,
    params["kernel"],
    (step, step),
    "VALID",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  np.testing.assert_allclose(
    layer.apply({"params": params}, x),
    expected + params["bias"].reshape(1, 1, 1, 11),
    atol=1e-4,
  )


def test_up_is_a_transposed_convolution(key):
  x = jax.random.normal(key, (2, 3, 5, 7))
  layer = layers.Up(11)
  params = layer.init(key, x)["params"]
  params["bias"] = jax.random.normal(key, (11,))
  expected = lax.conv_transpose(
    x,
    params["kernel"],
    (2, 2),
    "SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    transpose_kernel=True,
  )
  found = layer.apply({"params": params}, x)
  assert found.shape == (2, 6, 10, 11)
  np.testing.assert_allclose(
    found, expected + params["bias"].reshape(1, 1, 1, 11), atol=1e-4
  )


def test_up_starts_with_the_scale_of_its_input(key):
  x = jax.random.normal(key, (3, 11, 13, 64))
  out, _ = layers.Up(64).init_with_output(key, x)
  np.testing.assert_allclose(out[:, 2:-2, 2:-2].var(), 1.0, rtol=0.1)
