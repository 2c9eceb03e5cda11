"""A first look for all and more for some, on samples whose spread is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpose_jax.inference import adaptive

COUNT, JOINTS = 20, 3


def _run(features, keys, members, groups=None):
  """Member n of a person is a plane of n times its own spread, and its noise."""
  if groups is not None:
    jax.debug.callback(lambda: groups.append(len(members)))
  noise = jax.vmap(lambda key: jax.random.uniform(key))(keys)
  sign = jnp.where(members % 2 == 1, 1.0, -1.0)
  spread = features["spread"][None]
  value = spread * sign[:, None] * (1 + members[:, None]) + 1000 * noise[None]
  return jnp.broadcast_to(
    value[:, :, None, None, None], (len(members), len(keys), 2, 2, JOINTS)
  )


def _look(features, keys, members):
  """The same, and half a pixel beside it: another estimate."""
  return _run(features, keys, members) + 0.5


def _decode(maps):
  """Joints (x, y) that are both the plane's value."""
  plane = maps[:, 0, 0]
  return jnp.stack([plane, plane], axis=-1)


def _found(spread, threshold, samples=6, run=_run):
  features = {"spread": jnp.asarray(spread, jnp.float32)}
  keys = jax.random.split(jax.random.key(0), len(spread))
  maps = jax.jit(
    functools.partial(
      adaptive.ensemble,
      _look,
      run,
      decode=_decode,
      samples=samples,
      threshold=threshold,
    )
  )(features, keys)
  numbers = jnp.arange(samples, dtype=jnp.uint32)
  first = _look(features, keys, numbers[: adaptive.FIRST])
  return np.asarray(maps), *map(
    np.asarray, (run(features, keys, numbers), first)
  )


# Members 0 and 1 are -s and 2 s around the noise: 1.5 s from their mean, in x
# and in y.
@pytest.fixture
def spreads():
  values = np.full(COUNT, 0.1, np.float32)
  values[[2, 3, 11, 19]] = 5.0
  return values


def test_only_those_who_disagree_go_on(spreads):
  maps, whole, first = _found(spreads, threshold=1.0)
  wide = spreads > 1
  np.testing.assert_array_equal(maps[:, wide], whole[:, wide])
  for member in range(6):
    np.testing.assert_array_equal(maps[member, ~wide], first[member % 2, ~wide])
  joints = np.stack([np.asarray(_decode(one)) for one in maps])
  np.testing.assert_array_equal(adaptive.whole(joints), wide)
  # The mean and the variance over all members are those of the samples made.
  easy = joints[:, ~wide].astype(np.float64)
  two = easy[:2]
  np.testing.assert_allclose(easy.mean(axis=0), two.mean(axis=0), rtol=1e-6)
  np.testing.assert_allclose(easy.var(axis=0), two.var(axis=0), rtol=1e-5)


@pytest.mark.parametrize(
  ("wide", "groups"), [(0, 0), (1, 1), (3, 1), (4, 2), (20, 7)]
)
def test_the_work_is_that_of_those_who_go_on(wide, groups):
  """In groups of an eighth of the batch, rounded up: 3 of 20 people."""
  seen = []
  spreads = np.where(np.arange(COUNT) < wide, 5.0, 0.1)
  maps, _, _ = _found(
    spreads, threshold=1.0, run=functools.partial(_run, groups=seen)
  )
  jax.effects_barrier()
  # The last call is that of all members, for comparison.
  assert seen == [6] * (groups + 1)
  assert np.isfinite(maps).all()


def test_a_person_s_samples_do_not_depend_on_the_others(spreads):
  maps, _, _ = _found(spreads, threshold=1.0)
  crowd = np.where(np.arange(COUNT) == 7, 0.1, 5.0).astype(np.float32)
  others, _, _ = _found(crowd, threshold=1.0)
  np.testing.assert_array_equal(maps[:, 7], others[:, 7])
  np.testing.assert_array_equal(maps[:, 11], others[:, 11])


def test_spread_is_the_root_mean_square_distance_from_the_mean():
  joints = np.zeros((2, 2, 3, 2), np.float32)
  joints[0, 0, 1] = (3, 4)  # 2.5 from the mean, in one joint of three
  joints[:, 1] = 7
  np.testing.assert_allclose(
    adaptive.spread(jnp.asarray(joints)), [2.5 / np.sqrt(3), 0], rtol=1e-6
  )
  joints[1, 1, 0, 0] = np.nan
  assert np.isinf(adaptive.spread(jnp.asarray(joints))[1])


@pytest.mark.parametrize(
  ("threshold", "samples", "message"),
  [
    (-0.1, 4, "adaptive is -0.1, must be at least 0"),
    (float("nan"), 4, "adaptive is nan"),
    (0.01, 2, "samples is 2; with adaptive, some have 2 and others all"),
    (0.01, 5, "samples is 5; with adaptive"),
  ],
)
def test_what_cannot_be_is_refused(threshold, samples, message):
  with pytest.raises(ValueError, match=message):
    adaptive.check(threshold, samples)
  adaptive.check(0.01, 4)
  adaptive.check(0.0, 1)


def test_evaluations_are_those_of_the_look_and_of_who_goes_on():
  assert adaptive.evaluations(0.0, 4, 8) == 2
  assert adaptive.evaluations(0.25, 4, 8) == 10
