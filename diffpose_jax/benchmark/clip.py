"""Whole clips: beside their parts, ensembles, the sampler (P3, P4, P5).

Everything runs on one device with a batch of one clip.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffpose_jax.benchmark import compiling, measure
from diffpose_jax.benchmark import subject as subject_lib
from diffpose_jax.benchmark.result import Bar, Row
from diffpose_jax.benchmark.subject import blocking
from diffpose_jax.diffusion import sampler
from diffpose_jax.inference import sampling as sampling_lib

GRID = tuple((steps, samples) for steps in (1, 4) for samples in (1, 4, 10))
LENGTHS = (1, 8)  # of the walks whose compilation is timed


class Clip:
  """The compiled whole and its compiled parts, for one clip."""

  def __init__(self, subject: subject_lib.Subject):
    self.subject = subject
    self.frames, self.noise_id = subject.clips(1)
    self._encode = jax.jit(subject.encode)
    self._denoise = jax.jit(subject.denoise)
    self._advance = jax.jit(self._ddim)
    self._wholes: dict[int, Callable] = {}

  def _ddim(self, xt, maps, now, after):
    step = lambda x, m: sampler.ddim_step(  # noqa: E731
      x, m, (now, after), None, self.subject.process
    )
    return jax.vmap(step)(xt, maps)

  @functools.cached_property
  def features(self) -> Any:
    """Of the clip."""
    return jax.block_until_ready(self.encode())

  def encode(self) -> Any:
    """Features, by the compiled encoder."""
    return self._encode(self.subject.params, self.frames)

  def noise(self, samples: int) -> jax.Array:
    """What each sample starts from (m, 1, y, x, k), as the sampler draws it."""
    keys = self.subject.keys(self.noise_id)

    def draw(key, number):
      key = jax.random.fold_in(jax.random.fold_in(key, number), 0)
      return jax.random.normal(key, self.subject.heatmap)

    numbers = jnp.arange(samples, dtype=jnp.uint32)
    return jax.vmap(lambda m: jax.vmap(lambda k: draw(k, m))(keys))(numbers)

  def denoise(self, noisy: jax.Array, time: jax.Array, features: Any) -> Any:
    """One evaluation of the compiled decoder, samples as batch."""
    return self._denoise(self.subject.params, noisy, time, features)

  def loop(self, noise: jax.Array, steps: int, features: Any) -> jax.Array:
    """All steps by a Python loop of compiled steps."""
    times = jnp.linspace(1, 0, steps + 1)
    xt = noise
    for i in range(steps - 1):
      maps = self.denoise(xt, times[i : i + 1], features)
      xt = self._advance(xt, maps, times[i], times[i + 1])
    return self.denoise(xt, times[steps - 1 : steps], features)

  def whole(self, steps: int, samples: int) -> Callable[[], jax.Array]:
    """A call of the compiled whole, which takes any number of steps."""
    run = self._wholes.setdefault(samples, jax.jit(self.subject.whole(samples)))
    walk = self.subject.traced_walk(steps)
    return blocking(run, self.subject.params, self.frames, self.noise_id, walk)

  def sampler(self, samples: int) -> tuple[Callable[..., jax.Array], Any]:
    """The function (params, leaves, noise ids, walk) → maps, and the leaves.

    They are those of the clip's features: an argument to lower must not be of
    a class that checks its fields.
    """
    subject = self.subject
    leaves, tree = jax.tree.flatten(self.features)

    def run(params, leaves, noise_id, walk: sampling_lib.Walk):
      features = tree.unflatten(leaves)

      def denoise(noisy, time):
        return subject.denoise(params, noisy[None], time, features)[0]

      return sampler.ensemble(
        denoise,
        subject.keys(noise_id),
        subject.heatmap,
        *walk,
        subject.process,
        samples=samples,
      )

    return run, leaves

  def check(self, steps: int, samples: int) -> float:
    """Relative error of the whole beside the loop over the parts.

    Raises DifferentOutputsError where it is too large.
    """
    wanted = self.loop(self.noise(samples), steps, self.encode())
    error = measure.relative_error(self.whole(steps, samples)(), wanted)
    name = f"clip, {steps} × {samples}"
    measure.check_equal(name, error, self.subject.tolerance)
    return error


def parts(clip: Clip, pairs: int) -> Iterator[Row]:
  """P3: the whole beside the sum of its parts; operations beside the count."""
  for steps, samples in (GRID[0], GRID[-1]):
    yield _operations(clip.subject, steps, samples)
  for steps, samples in GRID:
    error = clip.check(steps, samples)
    noisy, time = clip.noise(samples), jnp.ones(1)
    times = measure.take_turns(
      {
        "whole": clip.whole(steps, samples),
        "encoder": blocking(clip.encode),
        "decoder": blocking(clip.denoise, noisy, time, clip.features),
      },
      pairs=pairs,
    )
    yield Row(
      id="P3",
      name=f"clip, {steps} × {samples} (steps × samples)",
      ratio_of=(
        f"whole / (encoder + {steps} × decoder on {samples} samples at once)"
      ),
      ratio=times.ratio({"whole": 1}, {"encoder": 1, "decoder": steps}),
      bar=Bar("at most", 1.10),
      error=error,
      clock=times.clock,
      figures=milliseconds(times),
    )


def _operations(subject: subject_lib.Subject, steps: int, samples: int) -> Row:
  frames, noise_id = subject.clips(1)
  times, _ = subject.walk(steps)
  whole = subject.whole(samples)
  found = subject_lib.counted(
    # A Python integer of steps: XLA counts the body of a loop once.
    lambda params, frames, ids, times: whole(
      params, frames, ids, (times, steps)
    ),
    *(subject.params, frames, noise_id, times),
  )
  wanted = subject.count.clip(steps, samples)
  share = abs(found / wanted - 1)
  return Row(
    id="P3",
    name=f"operations, {steps} × {samples}",
    ratio_of="|XLA's count / hand count - 1|",
    ratio=measure.Spread.of([share]),
    bar=_of_vit_b(subject, Bar("at most", 0.03)),
    figures={"XLA GFLOP": found / 1e9, "by hand GFLOP": wanted / 1e9},
    note="XLA counts element-wise operations too",
  )


def _of_vit_b(subject: subject_lib.Subject, bar: Bar) -> Bar | None:
  """The bar, which is for ViT-B and larger; None for smaller networks."""
  return bar if subject.config.model.size in ("B", "L", "H") else None


def ensembles(clip: Clip, pairs: int) -> Iterator[Row]:
  """P4: ten samples beside ten runs, 4 × 4 beside 1 × 1."""
  subject = clip.subject
  run = jax.jit(functools.partial(_one_sample, subject))

  def ten_runs():
    maps = [
      run(subject.params, clip.frames, clip.noise_id, jnp.uint32(number))
      for number in range(10)
    ]
    return jax.block_until_ready(maps)

  at_once = clip.whole(1, 10)
  error = measure.relative_error(at_once(), np.stack(ten_runs()))
  measure.check_equal("ten samples", error, subject.tolerance)
  times = measure.take_turns(
    {"ten runs": ten_runs, "ten samples": at_once}, pairs=pairs
  )
  yield Row(
    id="P4",
    name="clip, ten samples, 1 step",
    ratio_of="ten runs of one sample, encoder and all / one run",
    ratio=times.ratio({"ten runs": 1}, {"ten samples": 1}),
    bar=_of_vit_b(subject, Bar("at least", 4.0)),
    error=error,
    clock=times.clock,
    figures=milliseconds(times),
  )
  error = max(clip.check(4, 4), clip.check(1, 1))
  times = measure.take_turns(
    {"4 × 4": clip.whole(4, 4), "1 × 1": clip.whole(1, 1)}, pairs=pairs
  )
  yield Row(
    id="P4",
    name="clip, 4 × 4 beside 1 × 1",
    ratio_of="4 × 4 / 1 × 1",
    ratio=times.ratio({"4 × 4": 1}, {"1 × 1": 1}),
    bar=_of_vit_b(subject, Bar("at most", 1.35)),
    error=error,
    clock=times.clock,
    figures=milliseconds(times),
    note="outputs: each beside a loop over its parts",
  )


def _one_sample(
  subject: subject_lib.Subject,
  params: Any,
  frames: jax.Array,
  noise_id: jax.Array,
  number: jax.Array,
) -> jax.Array:
  """Member `number` of the ensemble in a run of its own, one step."""
  features = subject.encode(params, frames)

  def denoise(noisy, time):
    return subject.denoise(params, noisy[None], time, features)[0]

  keys = jax.vmap(lambda k: jax.random.fold_in(k, number))(
    subject.keys(noise_id)
  )
  return sampler.sample(
    denoise, keys, subject.heatmap, *subject.walk(1), subject.process
  )


def sampling(clip: Clip, pairs: int) -> Iterator[Row]:
  """P5: the compiled sampler beside a Python loop of compiled steps."""
  subject, steps, samples = clip.subject, 4, 4
  sample, leaves = clip.sampler(samples)
  arguments = (subject.params, leaves, clip.noise_id)
  whole = blocking(jax.jit(sample), *arguments, subject.traced_walk(steps))
  noise = clip.noise(samples)
  loop = blocking(clip.loop, noise, steps, clip.features)
  error = measure.relative_error(whole(), loop())
  measure.check_equal("sampler", error, subject.tolerance)
  times = measure.take_turns({"loop": loop, "sampler": whole}, pairs=pairs)
  yield Row(
    id="P5",
    name=f"sampler, {steps} × {samples}",
    ratio_of="Python loop of compiled steps / compiled sampler",
    ratio=times.ratio({"loop": 1}, {"sampler": 1}),
    bar=Bar("at least", 1.0),
    error=error,
    clock=times.clock,
    figures=milliseconds(times),
    note="no encoder; the sampler draws its noise, the loop is given it",
  )
  yield from _compile_times(subject, sample, arguments)


def _compile_times(subject, sample, arguments) -> Iterator[Row]:
  """Seconds to compile the sampler, by the number of steps."""
  walks: dict[str, Callable[[int], Any]] = {
    "loop": subject.traced_walk,
    "unrolled": subject.walk,
  }
  for name, walk in walks.items():
    seconds = {}
    for steps in LENGTHS:
      times, number = walk(steps)
      # An integer is part of the program, an array is an argument of it.
      fixed = number if isinstance(number, int) else None

      def run(params, leaves, ids, times, number, fixed=fixed):
        walk = (times, number if fixed is None else fixed)
        return sample(params, leaves, ids, walk)

      seconds[steps] = compiling.seconds(run, *arguments, times, number)
    yield Row(
      id="P5",
      name=f"compiling the sampler, steps {name}",
      ratio_of=f"seconds for {LENGTHS[-1]} steps / for {LENGTHS[0]}",
      ratio=measure.Spread.of([seconds[LENGTHS[-1]] / seconds[LENGTHS[0]]]),
      bar=Bar("at most", 1.5) if name == "loop" else None,
      figures={f"{n} steps s": value for n, value in seconds.items()},
      clock="wall",
      note="once each" + ("" if name == "loop" else ", to compare with"),
    )


def milliseconds(times: measure.Times) -> dict[str, float]:
  """Median time of each contender, by name."""
  return {
    f"{name} ms": 1e3 * times.spread(name).median for name in times.seconds
  }
