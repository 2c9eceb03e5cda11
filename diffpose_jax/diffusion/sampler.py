"""The reverse process: steps of a solver, one sample, an ensemble of samples.

The sampler knows nothing of the network. It takes `denoise(noisy, time)`,
which maps a noisy signal (b, y, x, k) and times (b,) to clean heatmaps in
[0, 1] of the same shape; and, where the process says so, also the clean
heatmaps of the step before, of which there are none (zeros) at the first.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt

from diffpose_jax.diffusion import process

Denoise = Callable[..., Float[Array, "b y x k"]]
SOLVERS = ("ddim", "dpm2m")


@dataclasses.dataclass(frozen=True)
class Process:
  """What the sampler must know of the forward process."""

  schedule: str = "cosine"
  steps: int = 1000  # T
  signal_scale: float = 1.0
  eta: float = 0.0  # 0: deterministic DDIM; 1: as much noise as DDPM
  solver: str = "ddim"  # of first order; or dpm2m, of second
  conditioned: bool = False  # `denoise` takes the heatmaps of the step before


def time_grid(steps: int, max_steps: int) -> Float[np.ndarray, "n"]:
  """Times 1 = t[0] > ... > t[steps] = 0, padded with zeros to max_steps + 1.

  Raises ValueError unless 1 <= steps <= max_steps.
  """
  if not 1 <= steps <= max_steps:
    raise ValueError(f"steps is {steps}, must be from 1 to {max_steps}")
  grid = np.zeros(max_steps + 1, np.float32)
  grid[: steps + 1] = np.linspace(1, 0, steps + 1)
  return grid


def ddim_step(
  xt: Float[Array, "b y x k"],
  heatmaps: Float[Array, "b y x k"],
  times: tuple[Float[Array, ""], Float[Array, ""]],
  noise: Float[Array, "b y x k"] | None,
  spec: Process,
) -> Float[Array, "b y x k"]:
  """The signal at times[1], given the clean heatmaps predicted at times[0].

  Source: Song et al. 2021, DDIM (arXiv 2010.02502), eq. 12 and 16. The clean
  signal is clamped to its range first, as in DiffusionDet.
  """
  kept, kept_next = (
    process.alpha_bar(t, schedule=spec.schedule, steps=spec.steps)
    for t in times
  )
  return moved(xt, heatmaps, (kept, kept_next), noise, spec)


def moved(
  xt: Float[Array, "b y x k"],
  heatmaps: Float[Array, "b y x k"],
  shares: tuple[Float[Array, ""], Float[Array, ""]],
  noise: Float[Array, "b y x k"] | None,
  spec: Process,
) -> Float[Array, "b y x k"]:
  """What `ddim_step` gives, from alpha_bar at both of its times."""
  kept, kept_next = shares
  x0 = process.to_signal(jnp.clip(heatmaps, 0, 1), spec.signal_scale)
  direction = process.noise_of(xt, x0, kept)
  sigma = spec.eta * jnp.sqrt(
    jnp.maximum(1 - kept / kept_next, 0)
    * (1 - kept_next)
    / jnp.maximum(1 - kept, 1e-12)
  )
  rest = jnp.sqrt(jnp.maximum(1 - kept_next - sigma**2, 0))
  result = jnp.sqrt(kept_next) * x0 + rest * direction
  return result if noise is None else result + sigma * noise


def extrapolated(
  heatmaps: Float[Array, "b y x k"],
  previous: Float[Array, "b y x k"],
  times: tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]],
  spec: Process,
) -> Float[Array, "b y x k"]:
  """Clean heatmaps half a step ahead of times[1], for the step to times[2].

  With them, a step of `ddim_step` is of second order. They may leave [0, 1].

  Args:
    heatmaps: predicted at times[1].
    previous: predicted at times[0], that of the step before.
    times: falling.
    spec: the process.

  Source: Lu et al. 2022, DPM-Solver++ (arXiv 2211.01095), algorithm 2, whose
  step of first order is DDIM's. Differs: what is extrapolated is clamped to its
  range first, as in `ddim_step`.
  """
  before, at, after = (
    process.log_snr(t, schedule=spec.schedule, steps=spec.steps) for t in times
  )
  share = (after - at) / jnp.maximum(at - before, 1e-6) / 2
  heatmaps, previous = jnp.clip(heatmaps, 0, 1), jnp.clip(previous, 0, 1)
  return heatmaps + share * (heatmaps - previous)


def _normal(
  keys: Key[Array, "b"], shape: tuple[int, int, int], tag: UInt[Array, ""]
):
  draw = lambda key: jax.random.normal(jax.random.fold_in(key, tag), shape)  # noqa: E731
  return jax.vmap(draw)(keys)


def sample(
  denoise: Denoise,
  keys: Key[Array, "b"],
  shape: tuple[int, int, int],
  times: Float[Array, "n"],
  steps: int | Int[Array, ""],
  spec: Process = Process(),
) -> Float[Array, "b y x k"]:
  """Clean heatmaps after `steps` evaluations of `denoise`, from pure noise.

  Args:
    keys: one per clip; all its noise is a function of it, so that a result
      does not depend on what else is in the batch.
    shape: (y, x, k).
    times: `time_grid(...)`; may be padded.
    steps: a traced integer walks the grid in a loop, so that another number
      needs no compilation; a Python integer unrolls it.

  The noise of a step is the same for all people of one key.

  Raises ValueError for a Python integer below 1.
  """
  if isinstance(steps, int) and steps < 1:
    raise ValueError(f"steps is {steps}, must be at least 1")
  tag = lambda number: jnp.asarray(number, jnp.uint32)  # noqa: E731
  xt = _normal(keys, shape, tag(0))

  def predict(xt, i, before):
    before = (before,) if spec.conditioned else ()
    return denoise(xt, jnp.broadcast_to(times[i], keys.shape), *before)

  def advance(i, xt, heatmaps, previous):
    if spec.solver == "dpm2m":
      around = times[jnp.maximum(i - 1, 0)], times[i], times[i + 1]
      ahead = extrapolated(heatmaps, previous, around, spec)
      heatmaps = jnp.where(i > 0, ahead, heatmaps)
    noise = _normal(keys, shape, tag(1) + tag(i)) if spec.eta > 0 else None
    return ddim_step(xt, heatmaps, (times[i], times[i + 1]), noise, spec)

  heatmaps = jnp.zeros_like(xt)  # before the first step there are none
  if isinstance(steps, int):
    for i in range(steps - 1):
      previous, heatmaps = heatmaps, predict(xt, i, heatmaps)
      xt = advance(i, xt, heatmaps, previous)
    return predict(xt, steps - 1, heatmaps)

  # The last step's move is for nothing, so that `denoise` stands in the program
  # once: it is what takes long to compile.
  def step(i, state):
    xt, previous = state
    heatmaps = predict(xt, i, previous)
    return advance(i, xt, heatmaps, previous), heatmaps

  return jax.lax.fori_loop(0, steps, step, (xt, heatmaps))[1]


def ensemble(  # noqa: PLR0913 - what `sample` takes, and how often
  denoise: Denoise,
  keys: Key[Array, "b"],
  shape: tuple[int, int, int],
  times: Float[Array, "n"],
  steps: int | Int[Array, ""],
  spec: Process = Process(),
  *,
  samples: int | UInt[Array, "m"],
  together: bool = True,
) -> Float[Array, "m b y x k"]:
  """Members of independent noise; they share what `denoise` holds.

  `samples` is how many, the first ones, or their numbers. They are computed together, or one after the other where `denoise` cannot be
  mapped over an axis.

  Raises ValueError for fewer than one.
  """
  if isinstance(samples, int) and samples < 1:
    raise ValueError(f"samples is {samples}, must be at least 1")

  def member(number):
    fold = lambda key: jax.random.fold_in(key, number)  # noqa: E731
    return sample(denoise, jax.vmap(fold)(keys), shape, times, steps, spec)

  numbers = samples
  if isinstance(samples, int):
    numbers = jnp.arange(samples, dtype=jnp.uint32)
  return jax.vmap(member)(numbers) if together else jax.lax.map(member, numbers)
