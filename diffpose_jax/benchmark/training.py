"""The train step beside a plain one of the same math (P6)."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import ml_collections
import numpy as np

from diffpose_jax.benchmark import compiling, measure, plain_step
from diffpose_jax.benchmark import subject as subject_lib
from diffpose_jax.benchmark.result import Bar, Row
from diffpose_jax.inference import network
from diffpose_jax.training import optim
from diffpose_jax.training import step as step_lib

CHECKED = 3  # steps after which losses and weights are compared
_RUN = 10_000  # steps of the schedule
_LOSS, _UPDATE = 1e-4, 2e-2  # tolerances in float32


class Loop:
  """A compiled step that goes on from where it was at each call."""

  def __init__(self, step: Callable[..., Any], state: Any, batch: Any):
    self.state = jax.tree.map(lambda v: v.copy(), state)  # it is donated
    self.batch = batch
    step = jax.jit(step, donate_argnums=0)
    self._step = step.lower(self.state, batch).compile()

  @property
  def memory(self) -> compiling.Memory:
    """What XLA plans for the step."""
    return compiling.memory(self._step)

  def __call__(self) -> Any:
    """Does a step, waits for it; what it returns beside the state."""
    self.state, values = self._step(self.state, self.batch)
    return jax.block_until_ready((self.state, values))[1]


def make_batch(
  config: ml_collections.ConfigDict, size: int
) -> dict[str, np.ndarray]:
  """A made-up batch on the host."""
  rng = np.random.default_rng(0)
  skeleton = subject_lib.SKELETON
  shape = network.inputs(config, skeleton, size)[0].shape
  height, width = config.data.size
  joints = rng.uniform(0, 1, (size, len(skeleton.joints), 2))
  return {
    "frames": rng.integers(0, 256, shape, np.uint8),
    "joints": (joints * [width - 1, height - 1]).astype(np.float32),
    "labelled": rng.random(joints.shape[:2]) < 0.8,
    "valid": np.ones(size, bool),
    "index": np.arange(size, dtype=np.int32),
    "noise_id": np.zeros(size, np.uint32),
  }


def own_loop(config: ml_collections.ConfigDict, params: Any, size: int) -> Loop:
  """The program's step on one device."""
  optimiser = optim.optimiser(config.train, _RUN)
  # A dict: what is lowered must not be of a class that checks its fields.
  state = {
    "step": jax.numpy.zeros((), jax.numpy.int32),
    "params": params,
    "ema": params,
    "optimiser": optimiser.init(params),
  }
  make = step_lib.make_step(config, subject_lib.SKELETON, optimiser)

  def step(state, batch):
    state, metrics = make(step_lib.State(**state), batch)
    return vars(state), metrics

  return Loop(step, state, jax.device_put(make_batch(config, size)))


def plain_loop(
  config: ml_collections.ConfigDict, params: Any, size: int
) -> Loop:
  """The plain step on one device."""
  start, step = plain_step.make(config, subject_lib.SKELETON, _RUN)
  batch = jax.device_put(make_batch(config, size))
  return Loop(step, start(params), batch)


def train_step(subject: subject_lib.Subject, pairs: int) -> Iterator[Row]:
  """P6: time and memory of a step beside the plain one."""
  config = plain_step.settings(subject.config)
  size = config.train.batch
  ours = own_loop(config, subject.params, size)
  plain = plain_loop(config, subject.params, size)
  error = _compare(subject, ours, plain)
  times = measure.take_turns({"plain": plain, "ours": ours}, pairs=pairs)
  name = f"train step, {size} clips"
  yield Row(
    id="P6",
    name=f"{name}, time",
    ratio_of="ours / a plain step of the same math",
    ratio=times.ratio({"ours": 1}, {"plain": 1}),
    bar=Bar("at most", 1.03),
    error=error,
    clock=times.clock,
    figures={
      f"{name} ms": 1e3 * times.spread(name).median for name in times.seconds
    },
    note=f"error: of the weights' change over {CHECKED} steps",
  )
  peaks = {"ours": ours.memory.peak, "plain": plain.memory.peak}
  yield Row(
    id="P6",
    name=f"{name}, memory",
    ratio_of="ours / plain, planned by XLA: state, batch and temporaries",
    ratio=measure.Spread.of([peaks["ours"] / peaks["plain"]]),
    bar=Bar("at most", 1.05),
    figures={f"{name} MiB": value / 2**20 for name, value in peaks.items()},
  )


def _compare(subject: subject_lib.Subject, ours: Any, plain: Any) -> float:
  """Relative error of the change of all weights over a few steps.

  `ours` and `plain` are `Loop`s of either. Raises DifferentOutputsError where
  losses or weights differ.
  """
  factor = subject.tolerance / subject_lib.TOLERANCES["float32"]
  for number in range(CHECKED):
    error = measure.relative_error(ours()["loss"], plain())
    measure.check_equal(f"loss {number}", error, _LOSS * factor)
  found = _changes(subject.params, ours.state["params"])
  wanted = _changes(subject.params, plain.state[1])
  difference = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
  measure.check_equal("weights", float(difference), _UPDATE * factor)
  return float(difference)


def _changes(before: Any, after: Any) -> np.ndarray:
  pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
  return np.concatenate([np.ravel(b - a) for a, b in pairs])
