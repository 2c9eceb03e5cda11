"""What happens again and again that should happen once (P14).

Recompilations are counted from JAX's own events, implicit transfers from and
to the host by its transfer guard, which stops them. A CPU's memory is the
host's, so that there the guard sees transfers to the device only.
"""

from collections.abc import Callable, Iterator

import jax
import numpy as np

from diffpose_jax.benchmark import compiling, measure, training
from diffpose_jax.benchmark import subject as subject_lib
from diffpose_jax.benchmark.result import Bar, Row
from diffpose_jax.inference import estimator
from diffpose_jax.inference import sampling as sampling_lib
from diffpose_jax.model import sharding
from diffpose_jax.training import optim
from diffpose_jax.training import step as step_lib


def repeats(subject: subject_lib.Subject, calls: int) -> Iterator[Row]:
  """P14: compilations and implicit transfers of steps and predictions."""
  for name, call in (
    (f"train steps, {subject.config.train.batch} clips", _training(subject)),
    ("predictions of all batch sizes and 1 to 4 steps", _predictions(subject)),
  ):
    compiled, stopped = count(call, calls)
    yield Row(
      id="P14",
      name=f"{calls} {name}",
      ratio_of="compilations and implicit host transfers after the first call",
      ratio=measure.Spread.of([len(compiled) + stopped]),
      bar=Bar("at most", 0.0),
      figures={
        "compilations": float(len(compiled)),
        "transfers": float(stopped),
      },
      note=", ".join(sorted(set(compiled))),
    )


def count(call: Callable[[int], None], calls: int) -> tuple[list[str], int]:
  """What was compiled, and how many of the numbered calls were stopped.

  Call 0 comes first and is not counted. One that is stopped for an implicit
  transfer is done once more, unguarded.
  """
  call(0)
  stopped = 0
  with compiling.counted() as compiled:
    for number in range(1, calls + 1):
      try:
        with (
          jax.transfer_guard_host_to_device("disallow"),
          jax.transfer_guard_device_to_host("disallow"),
        ):
          call(number)
      except jax.errors.JaxRuntimeError as error:
        if "Disallowed" not in str(error):
          raise
        stopped += 1
        call(number)
  return compiled, stopped


def _training(subject: subject_lib.Subject) -> Callable[[int], None]:
  """A train step as training does it, from a batch on the host."""
  config, mesh = subject.config, sharding.mesh()
  sharding.check_batch(config.train.batch, mesh)
  place = sharding.replicated(mesh)
  optimiser = optim.optimiser(config.train, 10_000)
  copy = lambda tree: jax.tree.map(lambda v: v.copy(), tree)  # noqa: E731
  params = jax.device_put(copy(subject.params), place)  # They are donated.
  state = step_lib.State(
    step=jax.device_put(np.int32(0), place),
    params=params,
    ema=copy(params),
    optimiser=jax.jit(optimiser.init, out_shardings=place)(params),
  )
  step = jax.jit(
    step_lib.make_step(config, subject_lib.SKELETON, optimiser),
    donate_argnums=0,
    in_shardings=(place, sharding.split(mesh)),
    out_shardings=(place, place),
  )
  batch = training.make_batch(config, config.train.batch)

  def call(number: int) -> None:
    nonlocal state
    del number
    state, values = step(state, sharding.to_global(batch, mesh))
    jax.block_until_ready(values)

  return call


def _predictions(subject: subject_lib.Subject) -> Callable[[int], None]:
  """A call of the estimator, with another number of clips and steps each."""
  config = subject.config
  options = sampling_lib.options_of(config, steps=1, samples=2, adaptive=0.0)
  params = jax.device_put(subject.params, sharding.replicated(sharding.mesh()))
  one = estimator.Estimator(config, subject_lib.SKELETON, params, options)
  lengths = range(1, min(4, config.evaluate.max_steps) + 1)
  ready = [one.with_steps(steps) for steps in lengths]
  shape = subject.clips(1)[0].shape[1:]

  def call(number: int) -> None:
    clips = 1 + number % config.evaluate.batch
    frames = np.full((clips, *shape), number % 256, np.uint8)
    ready[number % len(ready)](frames, np.arange(clips, dtype=np.uint32))

  return call
