"""An update that is not finite is not made: all bits stay but the step's."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax.model import diffpose, sharding
from diffpose_jax.pose.skeleton import POSETRACK
from diffpose_jax.training import guard, optim
from diffpose_jax.training import step as step_lib

CASES = {  # mesh of data, fsdp, tensor; micro-batches
  "1, accumulating": ((1, 1, 1), 2),
  "8": ((8, 1, 1), 1),
  "8 in three ways": ((2, 2, 2), 1),
}
BATCH = 8


@pytest.fixture(scope="module", autouse=True)
def _tiny():
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(diffpose.SIZES, "tiny", diffpose.Size(64, 1, 4))
    yield


def _config(parts=1):
  config = config_lib.default()
  config.update_from_flattened_dict(
    {
      "data.size": (32, 24),
      "data.span": 1,
      "model.size": "tiny",
      "model.patch": 8,
      "model.strl_depth": 1,
      "model.decoder_width": 16,
      "model.heatmap_width": 8,
      "model.scales": 1,
      "train.batch": BATCH,
      "train.warmup": 0,
      "train.accumulate": parts,
    }
  )
  return config


def _batch(seed=0) -> dict[str, np.ndarray]:
  """Clip 2 and some joints have no weight."""
  rng = np.random.default_rng(seed)
  labelled = rng.random((BATCH, 17)) < 0.7
  labelled[[0, 2, 5], 3] = True
  labelled[1, 4] = False
  return {
    "frames": rng.integers(0, 256, (BATCH, 3, 32, 24, 3), np.uint8),
    "joints": rng.uniform(0, 23, (BATCH, 17, 2)).astype(np.float32),
    "labelled": labelled,
    "valid": np.arange(BATCH) != 2,
    "index": np.arange(BATCH, dtype=np.int32),
    "noise_id": np.zeros(BATCH, np.uint32),
  }


def _init(config, optimiser):
  return vars(step_lib.init_state(config, POSETRACK, optimiser))


def _make(config):
  optimiser = optim.optimiser(config.train, 100)
  return step_lib.make_step(config, POSETRACK, optimiser)


def _on_dicts(step):
  """The step on states that may be on the host: the class checks its fields."""

  def run(state, batch):
    state, metrics = step(step_lib.State(**state), batch)
    return vars(state), metrics

  return run


class _Training:
  """A compiled step on a mesh; states are given and returned on the host."""

  def __init__(self, case: str):
    sizes, parts = CASES[case]
    axes = (jax.sharding.AxisType.Auto,) * 3
    devices = jax.devices()[: math.prod(sizes)]
    self.mesh = jax.make_mesh(sizes, sharding.AXES, axes, devices=devices)
    config = _config(parts)
    optimiser = optim.optimiser(config.train, 100)
    init = functools.partial(_init, config, optimiser)
    self.places = sharding.places(jax.eval_shape(init), self.mesh)
    self._step = jax.jit(
      _on_dicts(step_lib.make_step(config, POSETRACK, optimiser, self.mesh)),
      in_shardings=(self.places, sharding.split(self.mesh)),
      out_shardings=(self.places, sharding.replicated(self.mesh)),
      donate_argnums=0,
    )
    rng = np.random.default_rng(1)
    start = jax.device_get(jax.jit(init)())
    params = jax.tree.map(
      lambda v: (v + 0.02 * rng.standard_normal(v.shape)).astype(v.dtype),
      start["params"],
    )
    start |= {"params": params, "ema": params}
    # Two steps on, so that no moment is zero.
    self.start, _ = self(self(start, _batch(1))[0], _batch(2))

  def __call__(self, state, batch):
    state = jax.device_put(state, self.places)
    given = sharding.to_global(batch, self.mesh)
    state, metrics = self._step(state, given)
    return jax.device_get(state), {k: float(v) for k, v in metrics.items()}


@functools.cache
def _training(case: str) -> _Training:
  return _Training(case)


def _bits(state) -> dict[str, bytes]:
  """The bytes of each leaf but the step, by path."""
  flat = jax.tree_util.tree_flatten_with_path(state)[0]
  return {
    jax.tree_util.keystr(path): np.asarray(leaf).tobytes()
    for path, leaf in flat
    if jax.tree_util.keystr(path) != "['step']"
  }


def _with(state, field: str, value: float, *names: Any):
  """A state with one number of one large leaf changed."""
  tree: Any = state[field]
  for name in names:
    tree = getattr(tree, name) if isinstance(name, str) else tree[name]
  changed = jax.tree.map(np.array, tree)
  changed["strl"]["mlp"]["hidden"]["kernel"][3, 5] = value
  if field != "optimiser":
    return state | {field: changed}
  moments = list(state["optimiser"])
  moments[1] = moments[1]._replace(**{names[1]: changed})
  return state | {"optimiser": tuple(moments)}


STATES = {
  "parameter NaN": ("params", np.nan),
  "parameter infinite": ("params", np.inf),
  "average NaN": ("ema", np.nan),
  "average infinite": ("ema", -np.inf),
  "mean NaN": ("optimiser", np.nan, 1, "mu"),
  "mean infinite": ("optimiser", np.inf, 1, "mu"),
  # Alone it would make a step of 0, for ever.
  "square infinite": ("optimiser", np.inf, 1, "nu"),
  "square NaN": ("optimiser", np.nan, 1, "nu"),
  "square negative": ("optimiser", -1e-3, 1, "nu"),  # as of a flipped bit
  # The step that this makes is beyond all numbers: its root is 0.
  "mean far too large": ("optimiser", 3e38, 1, "mu"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_sound_step_changes_everything(case):
  training = _training(case)
  after, metrics = training(training.start, _batch())
  assert metrics["skipped"] == 0 and np.isfinite(metrics["loss"])
  before, now = _bits(training.start), _bits(after)
  assert before.keys() == now.keys() and len(before) > 100
  assert [name for name in before if before[name] == now[name]] == []


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("case", CASES)
def test_a_state_that_is_not_finite_is_never_taken_for_good(case, name):
  """Parameters show in the loss; the others may not, and are found as such."""
  training = _training(case)
  state = _with(training.start, *STATES[name])
  assert _bits(state) != _bits(training.start)
  after, metrics = training(state, _batch())
  assert not guard.is_sound({k: after[k] for k in after if k != "step"})
  if name.startswith("parameter"):
    assert metrics["skipped"] == 1
    assert _bits(after) == _bits(state)
  assert int(after["step"]) == int(state["step"]) + 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("case", CASES)
def test_a_label_that_is_not_finite_skips_the_update(case, value):
  training, batch = _training(case), _batch()
  batch["joints"][5, 3, 0] = value
  after, metrics = training(training.start, batch)
  if value == np.inf:  # A heatmap of nothing, far from there.
    assert metrics["skipped"] == 0 and np.isfinite(metrics["loss"])
    return
  assert np.isnan(metrics["loss"]) and metrics["skipped"] == 1
  assert _bits(after) == _bits(training.start)
  assert int(after["step"]) == int(training.start["step"]) + 1
  # And it goes on as if the step had not been.
  again, metrics = training(after, _batch())
  assert metrics["skipped"] == 0 and _bits(again) != _bits(after)


@pytest.mark.parametrize("case", CASES)
def test_what_has_no_weight_may_be_anything(case):
  training = _training(case)
  expected, _ = training(training.start, _batch())
  batch = _batch()
  batch["joints"][2] = np.nan  # a clip of padding
  batch["joints"][1, 4] = np.inf  # a joint that is not labelled
  after, metrics = training(training.start, batch)
  assert metrics["skipped"] == 0
  assert _bits(after) == _bits(expected)


def test_a_gradient_that_is_not_finite_skips_although_the_loss_is(monkeypatch):
  """The root of a square has none at 0, times 0 or not."""
  real = step_lib.loss_sum

  def broken(config, skeleton, params, key, batch):
    bias = params["decoder"]["head"]["bias"]
    return real(config, skeleton, params, key, batch) + jnp.sqrt(
      jnp.sum(jnp.square(0 * bias))
    )

  monkeypatch.setattr(step_lib, "loss_sum", broken)
  start = _training("1, accumulating").start
  config = _config()
  step = jax.jit(_on_dicts(_make(config)))
  after, metrics = step(jax.device_put(start), jax.device_put(_batch()))
  assert np.isfinite(metrics["loss"]) and np.isnan(metrics["gradient_norm"])
  assert metrics["skipped"] == 1
  assert _bits(jax.device_get(after)) == _bits(start)


def test_bits_are_kept_not_computed():
  """A NaN keeps its payload, a zero its sign; and no number is made up."""
  odd = np.array([0x7FC01234, 0xFFA00001, 0x80000000, 0x7F800000], np.uint32)
  old = (jnp.asarray(odd.view(np.float32)), jnp.int32(2))

  def update(array, count):
    return (array * jnp.nan, count + 1), {"size": array.sum()}

  run = jax.jit(lambda sound: guard.made(sound, update, old))
  found, numbers = run(jnp.array(False))
  np.testing.assert_array_equal(np.asarray(found[0]).view(np.uint32), odd)
  assert int(found[1]) == 2 and float(numbers["size"]) == 0
  assert int(run(jnp.array(True))[0][1]) == 3


@pytest.mark.parametrize(
  ("value", "sound"),
  [
    (0.0, True),
    (-1e18, True),
    (2e19, False),
    (np.nan, False),
    (-np.inf, False),
  ],
)
def test_what_a_sound_state_is(value, sound):
  tree = {"a": {"kernel": jnp.full((2, 3), value)}, "count": jnp.int32(7)}
  assert bool(guard.is_sound(tree)) is sound
  assert bool(guard.is_sound((tree, {"a": jnp.zeros(5)}))) is sound


def test_a_sound_state_and_clipped_gradients_make_a_finite_step():
  """At the ends of what counts as sound."""
  config = _config().train
  optimiser = optim.optimiser(config, 100)
  edge = np.float32(5e18)
  values = np.array([edge, -edge, 1.0, 0.0, 1e-38], np.float32)
  params = {"vit": {"kernel": jnp.asarray(values)}}
  state = list(optimiser.init(params))
  for count in (0, 1, 1 << 30):
    for nu in (0.0, 1e-38, 1.0, 3e38):
      state[1] = state[1]._replace(
        count=jnp.int32(count),
        mu=params,
        nu=jax.tree.map(lambda v: jnp.full_like(v, nu), params),  # noqa: B023
      )
      for gradient in (0.0, 1e18, -1e18):
        grads = jax.tree.map(lambda v: jnp.full_like(v, gradient), params)  # noqa: B023
        assert bool(guard.is_sound((params, tuple(state))))
        updates, after = optimiser.update(grads, tuple(state), params)
        moved = jax.tree.map(jnp.add, params, updates)
        ema = optim.average(params, moved, jnp.int32(3), config.ema)
        for leaf in jax.tree.leaves((moved, ema, after)):
          assert np.isfinite(leaf).all()
