"""Strided convolutions as matrix products, beside XLA's, forward and backward.

  python benchmarks/strided_convolutions.py

Each pair has the same kernel and input; outputs are compared before anything
is timed, and the two are timed in turn. Prints milliseconds and their ratio.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from diffpose_jax.model import layers

ROUNDS = 7
LAYOUT = ("NHWC", "HWIO", "NHWC")
# (batch, rows, columns, channels in, channels out) of the CPU-size network
UPS = ((16, 8, 6, 128, 48), (16, 16, 12, 48, 48))
DOWNS = ((48, 128, 96, 3, 32), (48, 32, 24, 32, 64))


def seconds(function, *arguments) -> float:
  """Time of one call that waits for its result."""
  began = time.perf_counter()
  jax.block_until_ready(function(*arguments))
  return time.perf_counter() - began


def gradients(function):
  """The gradients of the sum of a function of input and kernel."""
  return jax.grad(lambda x, kernel: function(x, kernel).sum(), (0, 1))


def compare(name, ours, theirs, x, kernel) -> None:
  """Prints the times of both, forward and with gradients."""
  np.testing.assert_allclose(ours(x, kernel), theirs(x, kernel), atol=1e-3)
  for what, wrap in (
    ("forward", lambda f: f),
    ("gradient", gradients),
  ):
    pair = [jax.jit(wrap(function)) for function in (ours, theirs)]
    for function in pair:
      seconds(function, x, kernel)
    times = np.array(
      [[seconds(f, x, kernel) for f in pair] for _ in range(ROUNDS)]
    )
    a, b = 1000 * np.median(times, axis=0)
    ratio = np.median(times[:, 1] / times[:, 0])
    print(f"{name:34} {what:9} {a:8.2f} ms {b:8.2f} ms  x {ratio:.2f}")


def main() -> None:
  """Runs all shapes."""
  key = jax.random.key(0)
  print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}")
  print(f"{'':44} {'ours':>11} {'XLA':>11}")
  for b, y, x, c, d in UPS:
    compare(
      f"up {(b, y, x, c)} -> {d}",
      lambda v, k, d=d: layers.Up(d, use_bias=False).apply(
        {"params": {"kernel": k}}, v
      ),
      lambda v, k: lax.conv_transpose(
        v, k, (2, 2), "SAME", dimension_numbers=LAYOUT, transpose_kernel=True
      ),
      jax.random.normal(key, (b, y, x, c)),
      jax.random.normal(key, (4, 4, d, c)),
    )
  for b, y, x, c, d in DOWNS:
    step = 4 if c == 3 else 2
    compare(
      f"down {(b, y, x, c)} -> {d}",
      lambda v, k, d=d, s=step: layers.Down(d, s).apply(
        {"params": {"kernel": k, "bias": jnp.zeros(d)}}, v
      ),
      lambda v, k, s=step: lax.conv_general_dilated(
        v, k, (s, s), "VALID", dimension_numbers=LAYOUT
      ),
      jax.random.normal(key, (b, y, x, c)),
      jax.random.normal(key, (step, step, c, d)),
    )


if __name__ == "__main__":
  main()
