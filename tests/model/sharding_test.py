"""Placement on the 8 fake devices."""

import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax.inference import network
from diffpose_jax.model import sharding
from diffpose_jax.pose.skeleton import POSETRACK

P = jax.sharding.PartitionSpec


def test_the_mesh_holds_all_devices_with_automatic_axes():
  mesh = sharding.mesh()
  assert mesh.axis_names == ("data", "fsdp", "tensor")
  assert dict(mesh.shape) == {"data": 8, "fsdp": 1, "tensor": 1}
  assert sorted(d.id for d in mesh.devices.flat) == list(range(8))
  assert set(mesh.axis_types) == {jax.sharding.AxisType.Auto}


@pytest.mark.parametrize(
  ("wanted", "sizes", "words"),
  [
    ((-1, 1, 1), (8, 1, 1), "data 8"),
    ((1, -1, 1), (1, 8, 1), "fsdp 8"),
    ((-1, 2, 2), (2, 2, 2), "data 2 x fsdp 2 x tensor 2"),
    ((4, 1, 2), (4, 1, 2), "data 4 x tensor 2"),
    ((8, 1, -1), (8, 1, 1), "data 8"),
  ],
)
def test_minus_one_takes_what_the_others_leave(wanted, sizes, words):
  mesh = sharding.mesh(*wanted)
  assert tuple(mesh.shape.values()) == sizes
  assert sharding.describe(mesh) == words


@pytest.mark.parametrize(
  ("wanted", "message"),
  [
    (
      (3, 1, 1),
      "mesh of data 3 x fsdp 1 x tensor 1 is for 3 devices, but there are 8; "
      "make the product 8, -1 takes the rest",
    ),
    ((-1, 3, 1), "fsdp 3 x tensor 1 is for a multiple of 3 devices, but there"),
    ((-1, 16, 1), "is for a multiple of 16 devices, but there are 8"),
    ((4, 4, 1), "is for 16 devices, but there are 8"),
    ((-1, -1, 1), "give each axis a size from 1 on, or one of them -1"),
    ((0, 8, 1), "give each axis a size from 1 on, or one of them -1"),
    ((-2, 8, 1), "give each axis a size from 1 on, or one of them -1"),
  ],
)
def test_a_mesh_that_is_not_all_devices_is_refused(wanted, message):
  with pytest.raises(ValueError) as caught:
    sharding.mesh(*wanted)
  assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_batch_is_split_in_order_and_keeps_its_types():
  batch = {
    "frames": np.arange(16 * 3 * 5, dtype=np.uint8).reshape(16, 3, 5),
    "index": np.arange(16, dtype=np.int32),
    "valid": np.arange(16) % 3 == 0,
  }
  placed = sharding.to_global(batch, sharding.mesh())
  for name, value in batch.items():
    assert placed[name].dtype == value.dtype
    np.testing.assert_array_equal(placed[name], value)
    shards = placed[name].addressable_shards
    assert len(shards) == 8
    for shard in shards:
      place = shard.device.id
      np.testing.assert_array_equal(
        shard.data, value[2 * place : 2 * place + 2]
      )


def test_replicated_is_whole_on_every_device():
  value = np.arange(11)
  placed = jax.device_put(value, sharding.replicated(sharding.mesh()))
  assert len(placed.addressable_shards) == 8
  for shard in placed.addressable_shards:
    np.testing.assert_array_equal(shard.data, value)


@pytest.mark.parametrize(
  ("batch", "fitting"),
  [(13, "8 or 16"), (9, "8 or 16"), (23, "16 or 24"), (7, "8"), (1, "8")],
)
def test_a_batch_that_does_not_fit_is_told_what_would(batch, fitting):
  message = (
    f"batch of {batch} clips is not divisible by 8 devices; {fitting} would be"
  )
  with pytest.raises(ValueError, match=f"^{message}$"):
    sharding.check_batch(batch, sharding.mesh())


@pytest.mark.parametrize("batch", [8, 16, 40])
def test_a_batch_that_fits_is_taken(batch):
  sharding.check_batch(batch, sharding.mesh())


@pytest.mark.parametrize(("data", "fsdp"), [(8, 1), (1, 8), (2, 4)])
def test_data_and_fsdp_share_a_batch(data, fsdp):
  mesh = sharding.mesh(data, fsdp)
  placed = sharding.to_global({"i": np.arange(16)}, mesh)["i"]
  assert sorted(int(s.data[0]) for s in placed.addressable_shards) == list(
    range(0, 16, 2)
  )


def test_the_devices_of_tensor_see_the_same_clips():
  mesh = sharding.mesh(2, 2, 2)
  assert sharding.shares(mesh) == 4
  placed = sharding.to_global({"i": np.arange(12)}, mesh)["i"]
  firsts = [int(shard.data[0]) for shard in placed.addressable_shards]
  assert sorted(firsts) == [0, 0, 3, 3, 6, 6, 9, 9]
  with pytest.raises(
    ValueError, match="by 4 groups of 2 devices; 4 or 8 would"
  ):
    sharding.check_batch(6, mesh)


def test_one_host_gives_all_rows_and_gets_them_back():
  mesh = sharding.mesh(2, 2, 2)
  assert sharding.rows(12, mesh) == list(range(12))
  value = np.arange(3 * 8 * 5).reshape(3, 8, 5)
  placed = jax.device_put(value, sharding.split(mesh, axis=1))
  assert placed.addressable_shards[0].data.shape == (3, 2, 5)
  np.testing.assert_array_equal(sharding.to_local(placed, 1), value)
  np.testing.assert_array_equal(sharding.to_host({"a": placed})["a"], value)


class _Place:
  """Stands for a sharding of which this host sees some parts."""

  def __init__(self, parts, count):
    self._parts, self._count = parts, count

  def addressable_devices_indices_map(self, shape):
    assert shape == (self._count,)
    return {i: (slice(p, p + 1),) for i, p in enumerate(self._parts)}


@pytest.mark.parametrize(
  ("parts", "rows"),
  [
    ([0, 1], [0, 1, 2, 3]),
    ([3, 2], [4, 5, 6, 7]),
    # Hosts of a torus: neither one after the other nor all in one place.
    ([0, 3], [0, 1, 6, 7]),
    # `tensor` within the host: two devices see the same clips.
    ([1, 1], [2, 3]),
  ],
)
def test_rows_are_those_of_the_host_s_devices(monkeypatch, parts, rows):
  mesh = sharding.mesh(4, 1, 2)
  monkeypatch.setattr(sharding, "split", lambda _: _Place(parts, 4))
  assert sharding.rows(8, mesh) == rows


def _params(**changes) -> Any:
  """Shapes of the parameters of a network of the paper's size."""
  config = config_lib.default()
  config.model.update(changes)
  return jax.eval_shape(
    lambda key: network.init_params(config, POSETRACK, key), jax.random.key(0)
  )


def _named(tree) -> dict[str, Any]:
  flat = jax.tree_util.tree_flatten_with_path(tree)[0]
  name = lambda p: jax.tree_util.keystr(p, simple=True, separator="/")  # noqa: E731
  return {name(path): leaf for path, leaf in flat}


@pytest.mark.parametrize(
  "changes",
  [
    {},
    {"size": "cpu", "stem": "conv", "scales": 1, "lookup": False},
    {"size": "H", "strl_depth": 2},
  ],
)
def test_every_leaf_has_exactly_one_rule(changes):
  names = _named(_params(**changes))
  assert len(names) > 100
  for name in names:
    assert isinstance(sharding.rule(name), sharding.Rule), name


@pytest.mark.parametrize("name", ["vit/block_00/gate", "kernels", "", "scale2"])
def test_a_leaf_without_a_rule_is_named(name):
  with pytest.raises(ValueError, match=f"^{name}: 0 rules of RULES"):
    sharding.rule(name)


def test_a_leaf_with_two_rules_is_named(monkeypatch):
  twice = (*sharding.RULES, sharding.Rule("out/kernel"))
  monkeypatch.setattr(sharding, "RULES", twice)
  with pytest.raises(ValueError, match="^a/out/kernel: 2 rules of RULES"):
    sharding.rule("a/out/kernel")


# Of ViT-B, by hand: what 2 of fsdp and 2 of tensor split.
PLACES = {
  "vit/stem/embed/kernel": P(None, None, None, "fsdp"),  # 16, 16, 3, 768
  "vit/stem/embed/bias": P(),
  "vit/position": P(),
  "vit/block_07/norm_1/scale": P(),
  "vit/block_07/norm_1/bias": P(),
  "vit/block_07/attention/qkv/kernel": P("fsdp", "tensor"),  # 768, 2304
  "vit/block_07/attention/qkv/bias": P(),
  "vit/block_07/attention/out/kernel": P("tensor", "fsdp"),  # 768, 768
  "vit/block_07/attention/out/bias": P(),
  "vit/block_07/mlp/hidden/kernel": P("fsdp", "tensor"),  # 768, 3072
  "vit/block_07/mlp/hidden/bias": P("tensor"),
  "vit/block_07/mlp/out/kernel": P("tensor", "fsdp"),  # 3072, 768
  "strl/aggregate": P(),
  "strl/mlp/out/kernel": P("tensor", "fsdp"),
  "decoder/raise_3/up_0/kernel": P(None, None, None, "fsdp"),  # 4, 4, 128, 768
  "decoder/raise_3/up_1/kernel": P(None, None, None, "fsdp"),  # 4, 4, 128, 128
  "decoder/time_out/kernel": P(None, "fsdp"),  # 256, 256
  "decoder/modulate/kernel": P("fsdp"),  # 256, 128
  "decoder/time_out/bias": P(),
  "decoder/refine_1/embed/kernel": P(),  # 64, 64: small
  "decoder/head/kernel": P(None, None, "fsdp"),  # 3, 3, 128, 17
}


def test_places_by_hand():
  places = _named(sharding.places(_params(), sharding.mesh(2, 2, 2)))
  for name, spec in PLACES.items():
    assert places[name].spec == spec, name


def test_averages_and_moments_live_where_their_parameters_do():
  params = _params(size="cpu")
  state = {
    "step": jax.ShapeDtypeStruct((), jnp.int32),
    "params": params,
    "optimiser": (jax.ShapeDtypeStruct((), jnp.int32), {"mu": params}),
  }
  places = sharding.places(state, sharding.mesh(2, 2, 2))
  assert places["step"].spec == places["optimiser"][0].spec == P()
  assert places["optimiser"][1]["mu"] == places["params"]
  assert any("fsdp" in p.spec for p in jax.tree.leaves(places["params"]))


def test_in_use_only_fsdp_is_gathered():
  places = _named(sharding.places_in_use(_params(), sharding.mesh(2, 2, 2)))
  assert places["vit/stem/embed/kernel"].spec == P()
  block = "vit/block_07/"
  assert places[block + "attention/qkv/kernel"].spec == P(None, "tensor")
  assert places[block + "attention/out/kernel"].spec == P("tensor")
  assert places[block + "mlp/hidden/bias"].spec == P("tensor")
  assert places["decoder/modulate/kernel"].spec == P()


def test_a_mesh_of_data_alone_splits_nothing():
  mesh = sharding.mesh()
  for place in jax.tree.leaves(sharding.places(_params(), mesh)):
    assert place == sharding.replicated(mesh)


def test_what_cannot_be_split_is_whole_counted_and_named():
  shapes = {
    "odd/kernel": (131, 127),
    "fits/kernel": (256, 127),
    "small/kernel": (63, 65),
    "mlp": {"hidden": {"kernel": (256, 129), "bias": (129,)}},
  }
  tree = jax.tree.map(
    lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32),
    shapes,
    is_leaf=lambda v: isinstance(v, tuple),
  )
  mesh = sharding.mesh(1, 4, 2)
  places = sharding.places(tree, mesh)
  assert places["odd/kernel"].spec == P()
  assert places["fits/kernel"].spec == places["mlp"]["hidden"]["kernel"].spec
  assert places["fits/kernel"].spec == P("fsdp")
  assert sorted(sharding.whole(tree, mesh)) == [
    "mlp/hidden/bias",
    "mlp/hidden/kernel",
    "odd/kernel",
  ]
  # Of 131 x 127 + 256 x 127 + 63 x 65 + 256 x 129 + 129 numbers of 4 bytes, a
  # quarter of the second and of the fourth.
  numbers = 131 * 127 + 64 * 127 + 63 * 65 + 64 * 129 + 129
  assert sharding.device_bytes(tree, places) == 4 * numbers
  line = sharding.summary(tree, places)
  assert line.startswith(
    f"state: {0.345592:.1f} MB, {4 * numbers / 1e6:.1f} MB"
  )
  assert "on each of 8 devices (fsdp 4 x tensor 2); 3 leaves are whole" in line
  assert "odd/kernel" in line


def test_it_is_too_late_once_jax_has_started():
  assert jax.device_count() == 8
  sharding.use_cpu_devices(3)
  sharding.use_cpu_devices(0)
  assert jax.device_count() == 8


def test_the_cpu_appears_as_many_devices(monkeypatch):
  monkeypatch.delenv("XLA_FLAGS")
  monkeypatch.setenv("JAX_PLATFORMS", "cpu")
  code = (
    "import jax; from diffpose_jax.model import sharding;"
    "sharding.use_cpu_devices(3); print(sharding.mesh().size)"
  )
  run = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert run.stdout.strip() == "3"
