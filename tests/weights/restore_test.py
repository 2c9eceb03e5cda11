"""What is read back: the same bits, or a line that says what is wrong."""

import itertools
import re
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from absl import logging

from diffpose_jax.model import sharding
from diffpose_jax.weights import restore, seal


@pytest.fixture(scope="module")
def saved(states, tmp_path_factory):
  """A workdir with steps 1, the best, and 3, the newest."""
  workdir = tmp_path_factory.mktemp("run")
  states.save(workdir, [5.0, 1.0, 2.0])
  return workdir


@pytest.fixture
def run(saved, tmp_path):
  """A copy of it that may be damaged."""
  shutil.copytree(saved, tmp_path / "run")
  return tmp_path / "run"


@pytest.fixture
def said(monkeypatch):
  """The warnings."""
  lines = []
  monkeypatch.setattr(
    logging, "warning", lambda text, *values: lines.append(text % values)
  )
  return lines


def _files(place):
  return sorted(
    path
    for path in place.rglob("*")
    if path.is_file() and path.name != seal.NAME
  )


def _whole(run, like) -> Any:
  folder = run / "checkpoints"
  return restore.newest(folder, lambda place: restore.whole(place, like)[0])


def test_a_flipped_bit_in_any_file_is_named(run, states):
  """A hundred places, spread over all files."""
  place = run / "checkpoints" / "3"
  like = states.like(states.state(0.0))
  files = [path for path in _files(place) if path.stat().st_size]
  assert {"_METADATA", "manifest.ocdbt", "_sharding"} <= {f.name for f in files}
  rng = np.random.default_rng(0)
  for i in range(100):
    path = files[i % len(files)]
    position, bit = rng.integers(path.stat().st_size), rng.integers(8)
    states.flip(path, position, bit)
    with pytest.raises(seal.Damaged, match=re.escape(str(path))):
      restore.whole(place, like)
    states.flip(path, position, bit)
  states.equal(restore.whole(place, like)[0], states.state(3.0))


def test_orbax_is_not_given_what_is_damaged(tmp_path, states, monkeypatch):
  """Large files too: it leaves reads behind where one of many fails."""
  state = {"ema": {"a": jax.random.normal(jax.random.key(0), (1 << 19,))}}
  states.save_one(tmp_path, state)
  place = tmp_path / "checkpoints" / "1"
  large = max(_files(place), key=lambda path: path.stat().st_size)
  states.flip(large, 0)
  asked = []
  monkeypatch.setattr(
    ocp.Checkpointer, "restore", lambda *_, **__: asked.append(1)
  )
  like = states.like(state)
  with pytest.raises(seal.Damaged, match=re.escape(str(large))):
    restore.whole(place, like)
  with pytest.raises(seal.Damaged, match=re.escape(str(large))):
    restore.part(place, "ema", like["ema"])
  assert large.stat().st_size > 1 << 20 and not asked


def test_each_kind_of_damage_falls_back(saved, states, tmp_path, said):
  like = states.like(states.state(0.0))
  names = [p.relative_to(saved) for p in _files(saved / "checkpoints" / "3")]
  damages = (
    lambda path: path.unlink(),
    lambda path: path.write_bytes(path.read_bytes()[:-1]),
    lambda path: path.write_bytes(bytes(path.stat().st_size)),
    lambda path: path.write_bytes(b"\xff{garbage"),
  )
  for name, damage in itertools.product(names, damages):
    run = tmp_path / "run"
    shutil.copytree(saved, run)
    damage(run / name)
    said.clear()
    state, step = _whole(run, like)
    assert step == 1
    states.equal(state, states.state(1.0))
    assert str(name) in said[0] and "checkpoint 3 is damaged" in said[0]
    assert "going back to checkpoint 1" in said[1]
    shutil.rmtree(run)


def test_a_leaf_is_named_where_the_files_are_as_written(run, states):
  """Such as when memory changed before they were."""
  place = run / "checkpoints" / "3"
  leaves = seal.read(place)["leaves"]
  other = seal.leaf_sums(seal.views(states.state(2.0)))
  leaves["optimiser/1/mu"] = other["optimiser/1/mu"]
  seal.write(place, step=3, quality=2.0, about={}, leaves=leaves)
  like = states.like(states.state(0.0))
  with pytest.raises(seal.Damaged, match="3: optimiser/1/mu is not what was"):
    restore.whole(place, like)
  # Only what is read is judged.
  states.equal(
    restore.part(place, "ema", like["ema"]), states.state(3.0)["ema"]
  )
  leaves["ema/bias"] = other["ema/bias"]
  seal.write(place, step=3, quality=2.0, about={}, leaves=leaves)
  with pytest.raises(seal.Damaged, match="3: ema/bias is not what was saved"):
    restore.part(place, "ema", like["ema"])


def test_averaged_weights_are_refused_of_a_damaged_step(run, states):
  """Whatever bit of whatever file flips."""
  place = run / "checkpoints" / "3"
  like = states.like(states.state(0.0)["ema"])
  rng = np.random.default_rng(1)
  for path in _files(place):
    for position in rng.integers(path.stat().st_size, size=5):
      states.flip(path, position)
      with pytest.raises(seal.Damaged, match=re.escape(str(path))):
        restore.part(place, "ema", like)
      states.flip(path, position)
  states.equal(restore.part(place, "ema", like), states.state(3.0)["ema"])


def test_where_all_are_damaged_nothing_is_given(run, states, said):
  for step in (1, 3):
    (run / "checkpoints" / str(step) / "state" / "_METADATA").unlink()
  with pytest.raises(seal.Damaged) as caught:
    _whole(run, states.like(states.state(0.0)))
  line = str(caught.value)
  assert line.startswith(f"{run}/checkpoints/3/state/_METADATA: No such file")
  assert "(and 1 older); no good checkpoint is left" in line
  assert "\n" not in line
  assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["1", "3"]


def _with(state, *path, value):
  """The state with another leaf, or without it for None."""
  inner = state
  for name in path[:-1]:
    inner = inner[name]
  if value is None:
    del inner[path[-1]]
  else:
    inner[path[-1]] = value
  return state


@pytest.mark.parametrize(
  ("path", "value", "told"),
  [
    (
      ("params", "bias"),
      jnp.ones(7, jnp.int32),
      "params/bias is float32, the model's is int32",
    ),
    (
      ("params", "bias"),
      jnp.ones(7, jnp.bfloat16),
      "params/bias is float32, the model's is bfloat16",
    ),
    (
      ("ema", "vit", "kernel"),
      jnp.ones((5, 3)),
      r"ema/vit/kernel is \(3, 5\), the model's is \(5, 3\)",
    ),
    (("params", "bias"), None, r"params/bias is \(7,\), the model's is absent"),
    (
      ("params", "more"),
      jnp.ones(2),
      r"params/more is absent, the model's is \(2,\)",
    ),
  ],
)
def test_another_tree_is_refused_not_damaged(saved, states, path, value, told):
  like = states.like(_with(states.state(0.0), *path, value=value))
  with pytest.raises(ValueError, match=f"3: not weights .* {told}; ") as caught:
    _whole(saved, like)
  assert not isinstance(caught.value, seal.Damaged)
  if path[0] == "ema":
    with pytest.raises(ValueError, match="3: not weights of this model: vit/"):
      restore.part(saved / "checkpoints" / "3", "ema", like["ema"])


def test_looped_layers_are_not_single_ones(tmp_path, states):
  """The leaves of a loop over layers have one more axis and one name."""
  looped = {"layers": {"kernel": jnp.zeros((2, 3, 5))}}
  single = {f"layer{i}": {"kernel": jnp.zeros((3, 5))} for i in range(2)}
  for here, there in ((looped, single), (single, looped)):
    workdir = tmp_path / ("loop" if here is looped else "single")
    workdir.mkdir()
    states.save_one(workdir, {"params": here})
    with pytest.raises(ValueError, match="not weights of this model: ") as e:
      _whole(workdir, states.like({"params": there}))
    assert "params/layers/kernel" in str(e.value)
    assert "params/layer0/kernel" in str(e.value)


def test_another_spread_over_devices_gives_the_same_bits(tmp_path, states):
  values = np.random.default_rng(0).normal(size=(16, 7)).astype(np.float32)
  many = sharding.split(sharding.mesh())
  one = jax.sharding.SingleDeviceSharding(jax.devices()[3])
  all_ = sharding.replicated(sharding.mesh())
  for i, before in enumerate((many, one, all_)):
    workdir = tmp_path / str(i)
    workdir.mkdir()
    states.save_one(workdir, {"a": jax.device_put(values, before)})
    for after in (many, one, all_):
      like = {"a": jax.ShapeDtypeStruct((16, 7), jnp.float32, sharding=after)}
      state, _ = _whole(workdir, like)
      assert state["a"].sharding == after
      assert np.asarray(state["a"]).tobytes() == values.tobytes()


def test_what_is_whole_but_cannot_be_read_is_no_damage(
  run, states, monkeypatch
):
  def fail(*_, **__):
    raise RuntimeError("RESOURCE_EXHAUSTED: out of\nmemory")

  monkeypatch.setattr(ocp.Checkpointer, "restore", fail)
  with pytest.raises(ValueError, match="3: its files are as they") as caught:
    _whole(run, states.like(states.state(0.0)))
  assert not isinstance(caught.value, seal.Damaged)
  assert "\n" not in str(caught.value)


def test_a_moved_workdir_is_the_same(saved, states, tmp_path):
  shutil.copytree(saved, tmp_path / "elsewhere")
  state, step = _whole(tmp_path / "elsewhere", states.like(states.state(0.0)))
  assert step == 3
  states.equal(state, states.state(3.0))


def test_places_to_go_on_from(saved, states, tmp_path):
  like = states.like(states.state(0.0))
  checkpoints = saved / "checkpoints"
  for source, step in (
    (saved, 3),
    (checkpoints, 3),
    (checkpoints / "3", 3),
    (checkpoints / "1", 1),
  ):
    state, found = restore.elsewhere(source, like)
    assert found == step
    states.equal(state, states.state(float(step)))
  with pytest.raises(ValueError, match="none: no checkpoint here; give the"):
    restore.elsewhere(tmp_path / "none", like)
  (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
  with pytest.raises(ValueError, match="empty: no checkpoint here"):
    restore.elsewhere(tmp_path / "empty", like)
  with pytest.raises(ValueError, match="checkpoints/2: no such checkpoint"):
    restore.elsewhere(checkpoints / "2", like)
