"""Checkpoints on disk: which are kept, what comes back, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpose_jax.model import sharding
from diffpose_jax.weights import checkpoint


def _kept(workdir):
  return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def three(states, tmp_path_factory):
  """A workdir after three checkpoints, of which the first was the best."""
  workdir = tmp_path_factory.mktemp("run")
  states.save(workdir, [5.0, 1.0, 2.0])
  return workdir


def test_the_newest_and_the_best_are_kept(three):
  assert _kept(three) == [1, 3]


def test_a_checkpoint_that_was_not_measured_is_never_the_best(tmp_path, states):
  states.save(tmp_path, [0.0, float("nan"), float("nan")])
  assert _kept(tmp_path) == [1, 3]


def test_a_state_comes_back_bit_for_bit_where_it_is_wanted(three, states):
  checkpoints = checkpoint.Checkpoints(three)
  assert checkpoints.latest() == 3
  restored = checkpoints.restore(states.like(states.state(0.0)), 3)
  best = checkpoints.restore(states.like(states.state(0.0)), 1)
  checkpoints.close()
  states.equal(restored, states.state(3.0))
  states.equal(best, states.state(1.0))
  assert restored["step"].dtype == jnp.int32
  for leaf in jax.tree.leaves(restored):
    assert leaf.sharding == sharding.replicated(sharding.mesh())


def test_the_averaged_weights_are_the_newest(three, states):
  params, step = checkpoint.load_averaged(
    three, states.like(states.state(0.0)["ema"])
  )
  assert step == 3
  states.equal(params, states.state(3.0)["ema"])


def test_weights_of_another_shape_are_refused_by_name(three, states):
  like = states.like(states.state(0.0, rows=4)["ema"])
  message = r"3: .* vit/kernel is \(3, 5\), the model's is \(4, 5\); take"
  with pytest.raises(ValueError, match=message):
    checkpoint.load_averaged(three, like)


def test_weights_of_another_network_are_refused(three, states):
  like = states.like(states.state(0.0)["ema"])
  like["strl"] = like["bias"]
  message = r"checkpoints/3: .* strl is absent, the model's is \(7,\); take"
  with pytest.raises(ValueError, match=message) as caught:
    checkpoint.load_averaged(three, like)
  assert "\n" not in str(caught.value)
  del like["strl"], like["bias"]
  message = r"checkpoints/3: .* bias is \(7,\), the model's is absent; take"
  with pytest.raises(ValueError, match=message):
    checkpoint.load_averaged(three, like)


def test_a_folder_without_checkpoints_is_named(tmp_path, states):
  for make in (lambda: None, (tmp_path / "checkpoints").mkdir):
    make()
    with pytest.raises(ValueError, match=f"{tmp_path}: no checkpoint here"):
      checkpoint.load_averaged(tmp_path, states.like(states.state(0.0)["ema"]))


def test_a_new_run_has_no_checkpoint(tmp_path):
  checkpoints = checkpoint.Checkpoints(tmp_path)
  assert checkpoints.latest() is None
  checkpoints.close()


def test_a_write_that_was_cut_off_does_not_count(tmp_path, states):
  states.save(tmp_path, [1.0])
  left = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp-0"
  left.mkdir()
  params, step = checkpoint.load_averaged(
    tmp_path, states.like(states.state(0.0)["ema"])
  )
  assert step == 1
  states.equal(params, states.state(1.0)["ema"])
  checkpoints = checkpoint.Checkpoints(tmp_path)
  assert checkpoints.latest() == 1
  checkpoints.close()


def test_the_hash_changes_with_bit_name_shape_and_type_alone():
  values = np.arange(24, dtype=np.float32).reshape(8, 3)
  tree = {"a": values, "b": {"c": values[0]}}
  first = checkpoint.weights_hash(tree)
  bit = values.copy()
  bit.view(np.uint32)[7, 2] ^= 1
  others = [
    {"a": bit, "b": {"c": values[0]}},
    {"d": values, "b": {"c": values[0]}},
    {"a": values.reshape(3, 8), "b": {"c": values[0]}},
    {"a": values.view(np.int32), "b": {"c": values[0]}},
    {"a": values},
  ]
  hashes = {checkpoint.weights_hash(other) for other in others}
  assert len(hashes | {first}) == 6
  assert len(first) == 64 and int(first, 16) > 0
  mesh = sharding.mesh()
  for place in (sharding.replicated(mesh), jax.devices()[5]):
    assert checkpoint.weights_hash(jax.device_put(tree, place)) == first
  split = {"a": jax.device_put(values, sharding.split(mesh)), "b": tree["b"]}
  assert checkpoint.weights_hash(split) == first
  backwards = {"b": tree["b"], "a": tree["a"]}
  assert checkpoint.weights_hash(backwards) == first
