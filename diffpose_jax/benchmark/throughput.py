"""Operations a second, beside the device's own on large matrices (P7)."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from diffpose_jax.benchmark import measure, plain_step, training
from diffpose_jax.benchmark import subject as subject_lib
from diffpose_jax.benchmark.result import Bar, Row
from diffpose_jax.benchmark.subject import blocking
from diffpose_jax.inference import network
from diffpose_jax.model import diffpose

CHAIN = 4  # matrix products one after the other
_SIDES = {"cpu": 2048}
_SIDE = 8192  # of the matrices on an accelerator
BARS = {"inference": Bar("at least", 0.45), "training": Bar("at least", 0.35)}


def matrices(dtype: str) -> tuple[Callable[[], Any], float]:
  """Products of large square matrices, and the operations of a call."""
  n = _SIDES.get(jax.default_backend(), _SIDE)
  keys = jax.random.split(jax.random.key(0))
  a, b = (jax.random.normal(k, (n, n), jnp.dtype(dtype)) for k in keys)

  def run(a, b):
    for _ in range(CHAIN):
      a = (a @ b) * n**-0.5
    return a

  return blocking(jax.jit(run), a, b), CHAIN * 2.0 * n**3


def fused(
  module: diffpose.DiffPose, frames: jax.Array, train: bool = False
) -> jax.Array:
  """ViT and STRL, without what the decoder prepares; of a bound network."""
  b, t, h, w, _ = frames.shape
  images = diffpose.normalise(frames).reshape(b * t, h, w, 3)
  tokens = module.vit(images, train)
  return module.strl(tokens.reshape(b, t, *tokens.shape[1:]), train)


Contender = tuple[str, Callable[[int], Callable[[], Any]], int]


def contenders(subject: subject_lib.Subject) -> list[Contender]:
  """Name, function from batch to a call, and operations of one clip."""
  count, params = subject.count, subject.params

  def apply(params, frames) -> Any:
    return subject.model.apply({"params": params}, frames, method=fused)

  def loss(params, frames):
    return jnp.square(apply(params, frames).astype(jnp.float32)).mean()

  inference, gradient = jax.jit(apply), jax.jit(jax.grad(loss))

  def clip(steps, samples):
    whole = jax.jit(subject.whole(samples))
    walk = subject.traced_walk(steps)
    return lambda b: blocking(whole, params, *subject.clips(b), walk)

  encoder = count.vit + count.strl
  return [
    (
      "ViT + STRL, inference",
      lambda b: blocking(inference, params, subject.clips(b)[0]),
      encoder,
    ),
    (
      "ViT + STRL, training: forward and backward",
      lambda b: blocking(gradient, params, subject.clips(b)[0]),
      3 * encoder,
    ),
    (
      "whole train step",
      # Without self-alignment, which evaluates the decoder twice.
      lambda b: training.own_loop(
        plain_step.settings(subject.config), params, b
      ),
      3 * count.clip(1, 1),
    ),
    ("whole clip, 1 × 1", clip(1, 1), count.clip(1, 1)),
    ("whole clip, 4 × 4", clip(4, 4), count.clip(4, 4)),
  ]


def utilisation(
  subject: subject_lib.Subject, pairs: int, batches: tuple[int, ...]
) -> Iterator[Row]:
  """P7: at several batches; the bars are for the best batch of each."""
  dtype = str(network.compute_dtype(subject.config))
  product, product_flop = matrices(dtype)
  for name, make, flop in contenders(subject):
    rows = []
    for batch in batches:
      try:
        run = make(batch)
        times = measure.take_turns(
          {"matrices": product, "ours": run}, pairs=pairs
        )
      except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
          raise
        yield Row("P7", f"{name}, batch {batch}", note="out of memory")
        break
      rows.append(
        _row(f"{name}, batch {batch}", times, batch * flop, product_flop)
      )
      del run
    yield from _with_bar(rows, name)


def _row(
  name: str, times: measure.Times, flop: int | float, product: float
) -> Row:
  seconds = times.spread("ours").median
  return Row(
    id="P7",
    name=name,
    ratio_of="operations a second / those of large matrix products",
    # A share of rates is a ratio of times, weighed by the operations.
    ratio=times.ratio({"matrices": flop}, {"ours": product}),
    clock=times.clock,
    figures={
      "ms": 1e3 * seconds,
      "TFLOP/s": flop / seconds / 1e12,
      "matrices TFLOP/s": product / times.spread("matrices").median / 1e12,
    },
  )


def _with_bar(rows: list[Row], name: str) -> list[Row]:
  """The rows, the best with the bar, if there is one on this platform."""
  kind = next((k for k in BARS if f"STRL, {k}" in name), None)
  if not rows or kind is None or jax.default_backend() == "cpu":
    return rows
  medians = [row.ratio.median if row.ratio else 0.0 for row in rows]
  best = medians.index(max(medians))
  rows[best] = dataclasses.replace(
    rows[best], bar=BARS[kind], note="the best batch"
  )
  return rows
