"""A ViT that is frozen for the first steps of a run, and then learns."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend import core as jax_core

from diffpose_jax import config as config_lib
from diffpose_jax.inference import network
from diffpose_jax.model import sharding
from diffpose_jax.pose.skeleton import POSETRACK
from diffpose_jax.training import freezing, optim
from diffpose_jax.training import step as step_lib
from diffpose_jax.weights import checkpoint

LATE = 2  # steps with a frozen ViT


def _config(**changes):
  config = config_lib.default()
  config.data.size = (32, 24)
  config.data.span = 1
  config.model.size = "cpu"
  config.model.patch = 8
  config.model.strl_depth = 1
  config.model.decoder_width = 8
  config.model.heatmap_width = 4
  config.model.scales = 1
  config.model.drop_path = 0.2
  config.model.init_from = "somewhere"
  config.train.batch = 8
  config.train.warmup = 0
  config.train.learning_rate = 1e-3
  config.train.weight_decay = 0.1
  config.train.layer_decay = 0.5
  config.train.ema = 0.9
  config.update_from_flattened_dict(
    {key.replace("__", "."): value for key, value in changes.items()}
  )
  config_lib.check(config)
  return config


def _batch(seed):
  rng = np.random.default_rng(seed)
  return jax.device_put(
    {
      "frames": rng.integers(0, 256, (8, 3, 32, 24, 3), np.uint8),
      "joints": rng.uniform(0, 23, (8, 17, 2)).astype(np.float32),
      "labelled": rng.random((8, 17)) < 0.7,
      "valid": np.ones(8, bool),
      "index": np.arange(8, dtype=np.int32),
      "noise_id": np.zeros(8, np.uint32),
    }
  )


@functools.cache
def _params():
  """No leaf is zero throughout; some numbers are -0."""
  shapes = jax.eval_shape(
    lambda: network.init_params(_config(), POSETRACK, jax.random.key(0))
  )
  rng = np.random.default_rng(0)

  def leaf(s):
    values = 0.1 * rng.standard_normal(s.shape, np.float32)
    values.reshape(-1)[::7] = -0.0
    return values

  return jax.device_put(jax.tree.map(leaf, shapes))


def _begin(config):
  """The jitted step of a config, and the state before the first one."""
  optimiser = optim.optimiser(config.train, 100)
  params = _params()
  state = step_lib.State(
    step=jnp.zeros((), jnp.int32),
    params=params,
    ema=params,
    optimiser=jax.jit(optimiser.init)(optim.trained(config.train, params)),
  )
  return jax.jit(step_lib.make_step(config, POSETRACK, optimiser)), state


@pytest.fixture(scope="module")
def run():
  """The states of four steps, of which the first two are frozen."""
  step, state = _begin(_config(train__freeze_steps=LATE))
  states, norms = [state], []
  for i in range(4):
    state, metrics = step(state, _batch(i))
    states.append(state)
    norms.append(metrics)
  jitted: Any = step
  assert jitted._cache_size() == 1  # one program does both
  return states, norms, step


def _bits(tree):
  return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def _moments(state):
  return state.optimiser[1]


def test_the_vit_is_bit_for_bit_as_it_was_until_it_learns(run):
  states, _, _ = run
  begin = _bits(states[0].params["vit"])
  for state in states[: LATE + 1]:
    assert _bits(state.params["vit"]) == begin
    assert _bits(state.ema["vit"]) == begin
    for moments in (_moments(state).mu, _moments(state).nu):
      assert not any(leaf.any() for leaf in jax.tree.leaves(moments["vit"]))
  for part in ("strl", "decoder"):
    for tree in ("params", "ema"):
      before, after = (getattr(s, tree)[part] for s in states[:2])
      assert all(
        a != b for a, b in zip(_bits(before), _bits(after), strict=True)
      )
  state = states[LATE + 1]
  for tree in (state.params, state.ema, _moments(state).mu):
    found = zip(_bits(tree["vit"]), begin, strict=True)
    assert all(a != b for a, b in found)


def test_until_then_it_is_a_run_with_a_frozen_vit(run):
  """In loss, gradient norm, the other parameters and their moments."""
  states, metrics, _ = run
  step, state = _begin(_config(train__freeze_backbone=True))
  for i in range(LATE):
    state, expected = step(state, _batch(i))
    for name in ("loss", "gradient_norm"):
      np.testing.assert_allclose(metrics[i][name], expected[name], rtol=1e-5)
  found = states[LATE]
  for part in ("strl", "decoder"):
    for a, b in (
      (found.params[part], state.params[part]),
      (_moments(found).mu[part], _moments(state).mu[part]),
    ):
      jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5),
        a,
        b,
      )


def test_its_first_updates_are_those_of_an_optimiser_that_begins():
  """By an Adam of optax that sees the ViT's gradients from then on alone."""
  config = _config(train__freeze_steps=LATE)
  rng = np.random.default_rng(1)
  grads = [
    {
      "vit": {"a": rng.standard_normal((3, 5), np.float32)},
      "strl": {"b": rng.standard_normal(7, np.float32)},
    }
    for _ in range(5)
  ]
  late = freezing.adam(LATE)
  whole = optax.scale_by_adam(b2=0.999)
  state = late.init(grads[0])
  theirs = whole.init(grads[0]), whole.init(grads[0]["vit"])
  assert jax.tree.structure(state) == jax.tree.structure(theirs[0])
  for i, grad in enumerate(grads):
    zero = jax.tree.map(np.zeros_like, grad["vit"])
    seen = grad if i >= LATE else grad | {"vit": zero}
    found, state = late.update(seen, state)
    rest, first = whole.update(seen, theirs[0])
    np.testing.assert_allclose(found["strl"]["b"], rest["strl"]["b"], rtol=1e-6)
    if i < LATE:
      assert not np.asarray(found["vit"]["a"]).any()
      theirs = first, theirs[1]
      continue
    vit, second = whole.update(grad["vit"], theirs[1])
    np.testing.assert_allclose(found["vit"]["a"], vit["a"], rtol=1e-6)
    theirs = first, second
  assert int(state.count) == 5
  # The whole optimiser has it: rate, factor and decay of the layer by hand.
  optimiser = optim.optimiser(config.train, 100)
  params = _params()
  kept = jax.jit(optimiser.init)(params)
  update = jax.jit(optimiser.update)
  zeros = jax.tree.map(jnp.zeros_like, params)
  for _ in range(LATE):
    _, kept = update(zeros, kept, params)
  signs = jax.tree.map(lambda v: jnp.where(v > 0, 1e-3, -1e-3), params)
  updates, _ = update(signs, kept, params)
  # Three blocks: block_01 is layer 2 of 4, and the ViT's factor is 0.1.
  for moved, sign in zip(
    jax.tree.leaves(updates["vit"]["block_01"]["norm_1"]),
    jax.tree.leaves(signs["vit"]["block_01"]["norm_1"]),
    strict=True,
  ):
    expected = -np.sign(sign) * 1e-3 * 0.1 * 0.25
    np.testing.assert_allclose(moved, expected, rtol=1e-3)


def test_a_frozen_vit_takes_no_backward_pass():
  """What runs in the first steps is what runs with a ViT that never learns."""
  step, state = _begin(_config(train__freeze_steps=LATE))
  learning, frozen = (
    _dots(branch.jaxpr)
    for branch in _branches(jax.make_jaxpr(step)(state, _batch(0)).jaxpr)
  )
  always, state = _begin(_config(train__freeze_backbone=True))
  assert frozen == _dots(jax.make_jaxpr(always)(state, _batch(0)).jaxpr)
  # Three blocks of 4 layers and 2 products of attention, each with two
  # gradients; the stem's convolution, whose input needs none; and the gradient
  # that STRL's first layer hands down.
  assert learning - frozen == 3 * 6 * 2 + 1 + 1


def _equations(jaxpr):
  for equation in jaxpr.eqns:
    yield equation
    for inner in jax_core.jaxprs_in_params(equation.params):
      yield from _equations(inner)


def _dots(jaxpr) -> int:
  """Matrix products and convolutions in a program."""
  return sum(
    e.primitive.name in ("dot_general", "conv_general_dilated")
    for e in _equations(jaxpr)
  )


def _branches(jaxpr):
  """Of the largest choice in a program: where it is false, where true."""
  found = [e for e in _equations(jaxpr) if e.primitive.name == "cond"]
  return max(
    (e.params["branches"] for e in found),
    key=lambda bs: _dots(bs[0].jaxpr),
  )


@pytest.mark.parametrize("at", [1, LATE, 3])
def test_resuming_on_either_side_changes_nothing(run, tmp_path, at):
  """Through a checkpoint, whose leaves are the same before and after."""
  states, _, step = run
  place = sharding.replicated(sharding.mesh())
  shapes = jax.tree.map(
    lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=place),
    vars(states[0]),
  )
  checkpoints = checkpoint.Checkpoints(tmp_path)
  checkpoints.save(vars(states[at]), at, 0.0, wait=True)
  state = step_lib.State(**checkpoints.restore(shapes, at))
  checkpoints.close()
  state = jax.device_put(state, jax.devices()[0])
  for i in range(at, 4):
    state, _ = step(state, _batch(i))
  assert _bits(state) == _bits(states[4])


@pytest.mark.slow
def test_accumulated_and_on_a_mesh_it_is_the_same():
  """Micro-batches, and parameters that are split over devices."""
  config = _config(
    train__freeze_steps=1, train__accumulate=2, model__drop_path=0.0
  )
  plain = _config(train__freeze_steps=1, model__drop_path=0.0)
  mesh = sharding.mesh(data=1, fsdp=4, tensor=2)
  optimiser = optim.optimiser(config.train, 100)
  found, state = {}, _begin(plain)[1]
  for name, c, m in (("plain", plain, None), ("mesh", config, mesh)):
    places = sharding.places(state, mesh) if m else None
    given = jax.device_put(state, places)
    step = jax.jit(
      step_lib.make_step(c, POSETRACK, optimiser, m),
      out_shardings=(places, None),
    )
    found[name] = []
    for i in range(2):
      given, values = step(given, _batch(i))
      found[name].append(values)
    vit = given.params["vit"]
    assert not any(
      a == b
      for a, b in zip(_bits(vit), _bits(state.params["vit"]), strict=True)
    )
  for a, b in zip(found["plain"], found["mesh"], strict=True):
    np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-4)
    np.testing.assert_allclose(
      a["gradient_norm"], b["gradient_norm"], rtol=1e-3
    )
