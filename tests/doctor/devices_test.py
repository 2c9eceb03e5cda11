"""Devices as JAX tells of them, made up where there are none."""

import types

import jax

from diffpose_jax.doctor import devices, finding


def _device(**stats):
  return types.SimpleNamespace(
    id=3, platform="gpu", device_kind="H", memory_stats=lambda: stats or None
  )


def test_memory_of_a_device(monkeypatch):
  one = _device(bytes_limit=60_000_000_000, bytes_in_use=1_500_000_000)
  monkeypatch.setattr(jax, "devices", lambda: [one, _device()])
  first, second = devices.check()
  assert str(first).endswith("device 3: gpu, H, 60.0 GB for JAX, 1.5 in use")
  assert second.value == "gpu, H"


def test_no_device(monkeypatch):
  def broken():
    raise RuntimeError("Unable to initialize backend 'cuda'")

  monkeypatch.setattr(jax, "devices", broken)
  [found] = devices.check()
  assert found.state == finding.PROBLEM
  assert "Unable to initialize" in found.value
  assert "JAX_PLATFORMS=cpu" in found.remedy


def test_an_accelerator_that_is_not_used(monkeypatch, tmp_path):
  driver = tmp_path / "version"
  monkeypatch.setattr(devices, "_NVIDIA", driver)
  monkeypatch.setenv("JAX_PLATFORMS", "")
  assert not devices._unused("cpu")
  driver.touch()
  assert devices._unused("cpu") and not devices._unused("gpu")
  assert devices.check()[-1].state == finding.PROBLEM
  monkeypatch.setenv("JAX_PLATFORMS", "cpu")
  assert devices.check()[-1].state == finding.OK
