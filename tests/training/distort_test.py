"""Colour jitter and erasing, against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax.training import distort


def _clips(count=3):
  """Clips whose frames are all alike, random within."""
  rng = np.random.default_rng(1)
  frame = rng.integers(0, 256, (count, 1, 29, 23, 3), np.uint8)
  return jnp.asarray(np.repeat(frame, 5, axis=1))


def _settings(**changes):
  settings = config_lib.default().augment
  settings.update(changes)
  return settings


def _keys(count, seed=2):
  return jax.random.split(jax.random.key(seed), count)


def test_colour_is_alike_in_all_frames_and_off_at_zero():
  clip = _clips(1)[0]
  found = np.asarray(distort.jitter_colour(jax.random.key(2), clip, 0.4))
  assert found.dtype == np.uint8 and not np.array_equal(found, clip)
  assert all(np.array_equal(found[0], frame) for frame in found)
  still = distort.jitter_colour(jax.random.key(2), clip, 0.0)
  np.testing.assert_array_equal(still, clip)


def test_colour_follows_its_formula():
  """A channel is a line in the grey level, with the factors as told."""
  clip = jnp.asarray(
    np.arange(90, 170, dtype=np.uint8).reshape(1, 4, 20, 1).repeat(3, 3)
  )
  levels = np.asarray(clip, float)
  slopes = []
  for seed in range(300):
    key = jax.random.key(seed)
    found = np.asarray(distort.jitter_colour(key, clip, 0.1), float)
    x, y = levels[..., 0].ravel(), found.reshape(-1, 3)
    slope, offset = np.polyfit(x - 127.5, y, 1)
    # contrast times tint, brightness times tint
    assert np.all(np.abs(slope - 1) < 1.1 * 1.05 - 1 + 0.01)
    assert np.all(np.abs(offset / 127.5 - 1) < 1.1 * 1.05 - 1 + 0.01)
    np.testing.assert_allclose(
      y, x[:, None] * slope + offset - 127.5 * slope, atol=1
    )
    ratio = slope / offset  # the tint has no part in it
    np.testing.assert_allclose(ratio, ratio[0], rtol=0.02)
    slopes.append(slope[0] / slope[1])
  # Two tints, uniform in 1 ± 0.05: their ratio's deviation.
  np.testing.assert_allclose(np.std(slopes), 0.05 * np.sqrt(2 / 3), rtol=0.15)


def test_erase_covers_one_rectangle_of_all_frames():
  clip = jnp.zeros((5, 101, 89, 3), jnp.uint8)
  erase = jax.jit(distort.erase)
  shares, aspects = [], []
  for seed in range(60):
    found = np.asarray(erase(jax.random.key(seed), clip))
    assert all(np.array_equal(found[0], frame) for frame in found)
    rows, columns = np.nonzero(found[0].any(axis=-1))
    sides = np.ptp(rows) + 1, np.ptp(columns) + 1
    shares.append(sides[0] * sides[1] / (101 * 89))
    aspects.append(sides[0] / sides[1])
    inside = found[0][rows.min() : rows.max() + 1]
    assert inside.std() > 5  # a texture, not a grey area
  assert 0.015 < min(shares) < 0.05 and 0.1 < max(shares) < 0.16
  assert 0.35 < min(aspects) < 0.8 and 1.3 < max(aspects) < 2.8


def test_the_texture_is_bilinear_between_its_cells():
  weights = distort._weights(jnp.arange(8.0), jnp.asarray(8.0))
  np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
  # Cell centres of four cells on eight places: 0.5, 2.5, 4.5, 6.5.
  np.testing.assert_allclose(weights[0], [1, 0, 0, 0])
  np.testing.assert_allclose(weights[1], [0.75, 0.25, 0, 0])
  np.testing.assert_allclose(weights[4], [0, 0.25, 0.75, 0])
  np.testing.assert_allclose(weights[7], [0, 0, 0, 1])


@pytest.mark.parametrize(("probability", "share"), [(0, 0), (0.5, 0.5), (1, 1)])
def test_clips_are_erased_as_often_as_told(probability, share):
  settings = _settings(erase_probability=float(probability))
  clips = jnp.zeros((200, 1, 17, 13, 3), jnp.uint8)
  found = np.asarray(distort.distort(_keys(200), clips, settings))
  erased = found.any(axis=(1, 2, 3, 4)).mean()
  np.testing.assert_allclose(erased, share, atol=0.1 * (0 < share < 1))


def test_a_clip_depends_on_its_own_key_alone():
  settings = _settings(colour=0.3, erase_probability=0.5)
  clips, keys = _clips(), _keys(3)
  together = distort.distort(keys, clips, settings)
  for i in range(3):
    alone = distort.distort(keys[i : i + 1], clips[i : i + 1], settings)
    np.testing.assert_array_equal(alone[0], together[i])
  other = distort.distort(_keys(3, seed=5), clips, settings)
  assert not np.array_equal(other, together)


def test_nothing_is_changed_by_default():
  clips = _clips()
  assert distort.distort(_keys(3), clips, _settings()) is clips
