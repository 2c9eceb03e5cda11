"""What JAX computes on."""

import contextlib
import os
import pathlib
from typing import Any

import jax

from diffpose_jax.doctor import finding

_NVIDIA = pathlib.Path("/proc/driver/nvidia/version")


def check() -> list[finding.Finding]:
  """A line for each device, and one where an accelerator is not used."""
  try:
    devices = jax.devices()
  except RuntimeError as error:
    return [
      finding.broken(
        "devices",
        error,
        "set JAX_PLATFORMS=cpu, or install JAX for this accelerator: pip "
        "install 'diffpose-jax[cuda]' or '[tpu]'",
      )
    ]
  found = [_device(device) for device in devices]
  if _unused(devices[0].platform):
    found.append(
      finding.Finding(
        "accelerator",
        "there is a driver of NVIDIA's, but JAX computes on the CPU",
        finding.PROBLEM,
        "pip install 'diffpose-jax[cuda]'; or, if that is meant, "
        "JAX_PLATFORMS=cpu",
      )
    )
  return found


def _device(device: Any) -> finding.Finding:
  text = f"{device.platform}, {device.device_kind}"
  stats = None
  with contextlib.suppress(RuntimeError):  # where a platform does not tell
    stats = device.memory_stats()
  if stats and "bytes_limit" in stats:
    used = stats.get("bytes_in_use", 0) / 1e9
    text += f", {stats['bytes_limit'] / 1e9:.1f} GB for JAX, {used:.1f} in use"
  return finding.Finding(f"device {device.id}", text)


def _unused(platform: str) -> bool:
  """True where JAX takes the CPU, nobody said so, and there is a GPU."""
  asked = os.environ.get("JAX_PLATFORMS", "")
  return platform == "cpu" and not asked and _NVIDIA.exists()
