"""Placement on the 8 fake devices."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from diffpose_jax.model import sharding


def test_the_mesh_holds_all_devices_with_automatic_axes():
  mesh = sharding.mesh()
  assert mesh.axis_names == ("data",)
  assert sorted(d.id for d in mesh.devices.flat) == list(range(8))
  assert mesh.axis_types == (jax.sharding.AxisType.Auto,)


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
