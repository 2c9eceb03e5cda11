"""Second differences of motion that is known in closed form."""

import math

import numpy as np

from diffpose_jax.pose import temporal


def test_acceleration_of_known_motion():
  time = np.arange(11.0)[:, None, None]
  line = np.concatenate([3 - 2 * time, 5 + 0.5 * time], axis=-1)
  np.testing.assert_allclose(temporal.acceleration(line), 0, atol=1e-12)
  throw = np.concatenate([4 * time, 3 * time**2], axis=-1)
  got = temporal.acceleration(np.tile(throw, (1, 7, 1)))
  assert got.shape == (9, 7, 2)
  np.testing.assert_allclose(got, np.tile([0, 6], (9, 7, 1)), atol=1e-12)
  # sin(w (t - 1)) - 2 sin(w t) + sin(w (t + 1)) = -4 sin²(w / 2) sin(w t).
  wave = np.concatenate([np.sin(0.7 * time), np.cos(0.7 * time)], axis=-1)
  want = -4 * math.sin(0.35) ** 2 * wave[1:-1]
  np.testing.assert_allclose(temporal.acceleration(wave), want, atol=1e-12)
  assert temporal.acceleration(line[:2]).shape == (0, 1, 2)
  wave[4] = np.nan
  gaps = np.isnan(temporal.acceleration(wave)[:, 0, 0])
  assert np.flatnonzero(gaps).tolist() == [2, 3, 4]
