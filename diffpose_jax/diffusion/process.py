"""The forward process on heatmaps: schedules, noising and conversions.

`time` is continuous in [0, 1]: 0 is the clean heatmap, 1 is noise. It is step
/ T of the papers' discrete chain; alpha_bar is exact at the T + 1 steps.

===========  =======================================
here         DDPM (Ho et al. 2020, arXiv 2006.11239)
===========  =======================================
`alpha_bar`  product of 1 - beta up to the step
`x0`, `xt`   clean and noisy signal
`noise`      epsilon
===========  =======================================
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@functools.cache
def _table(schedule: str, steps: int) -> np.ndarray:
  """alpha_bar at steps 0 (= 1) to T, float64."""
  if schedule == "cosine":
    # Nichol & Dhariwal 2021 (arXiv 2102.09672), eq. 17; s = 0.008.
    u = np.linspace(0, 1, steps + 1)
    f = np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2
    beta = np.clip(1 - f[1:] / f[:-1], 0, 0.999)
  elif schedule == "linear":
    # Ho et al. 2020, section 4, at T = 1000.
    beta = np.linspace(1e-4, 0.02, steps)
  else:
    raise ValueError(f"schedule is {schedule!r}, must be 'cosine' or 'linear'")
  return np.concatenate([[1.0], np.cumprod(1 - beta)])


def alpha_bar(
  time: Float[Array, "*b"], *, schedule: str = "cosine", steps: int = 1000
) -> Float[Array, "*b"]:
  """Share of the signal's variance left at `time`; linear between steps."""
  table = _table(schedule, steps)
  return jnp.interp(time * steps, np.arange(steps + 1.0), table)


def alpha_bar_of_sums(
  time: Float[Array, ""], *, schedule: str = "cosine", steps: int = 1000
) -> Float[Array, ""]:
  """`alpha_bar` without a search for the place in the table.

  Each entry counts as much as `time` is near it. For formats that know sums and
  products but no search; the same but for rounding.
  """
  away = jnp.abs(time * steps - np.arange(steps + 1, dtype=np.float32))
  near = jnp.maximum(1 - away, np.float32(0))
  return (near * _table(schedule, steps).astype(np.float32)).sum()


def log_snr(
  time: Float[Array, "*b"], *, schedule: str = "cosine", steps: int = 1000
) -> Float[Array, "*b"]:
  """Logarithm of the signal's amplitude over the noise's; finite at the ends."""
  kept = alpha_bar(time, schedule=schedule, steps=steps)
  kept = jnp.clip(kept, 1e-12, 1 - 1e-6)
  return (jnp.log(kept) - jnp.log1p(-kept)) / 2


def to_signal(heatmaps: Float[Array, "*b"], scale: float) -> Float[Array, "*b"]:
  """Heatmaps in [0, 1] as the signal in [-scale, scale] that is diffused.

  Source: Chen et al. 2022, DiffusionDet (arXiv 2211.09788), for the scaling.
  """
  return (2 * heatmaps - 1) * scale


def add_noise(
  x0: Float[Array, "b y x k"],
  noise: Float[Array, "b y x k"],
  kept: Float[Array, "b"],
) -> Float[Array, "b y x k"]:
  """xt for `kept` = alpha_bar per clip. Source: Ho et al. 2020, eq. 4."""
  kept = kept[:, None, None, None]
  return jnp.sqrt(kept) * x0 + jnp.sqrt(1 - kept) * noise


def noise_of(
  xt: Float[Array, "b y x k"],
  x0: Float[Array, "b y x k"],
  kept: Float[Array, ""],
) -> Float[Array, "b y x k"]:
  """The noise that makes `xt` of `x0`; 0 at alpha_bar = 1, where none is."""
  spread = jnp.sqrt(1 - kept)
  signal = jnp.sqrt(kept)
  safe = jnp.where(spread > 0, spread, 1.0)
  return jnp.where(spread > 0, (xt - signal * x0) / safe, 0.0)
