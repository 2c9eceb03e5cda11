"""What a measurement was made on: the machine, versions and settings."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import subprocess
from collections.abc import Sequence
from typing import Any

import jax

_CPUINFO = pathlib.Path("/proc/cpuinfo")
PACKAGE = pathlib.Path(__file__).resolve().parent.parent
VERSIONS = ("jax", "jaxlib", "flax", "optax", "numpy")
# Settings that change a time; empty where they are not set.
SETTINGS = ("XLA_FLAGS", "GLIBC_TUNABLES", "OPENBLAS_CORETYPE")


def describe(packages: Sequence[str] = ()) -> dict[str, Any]:
  """The machine, as text and numbers; versions of `packages` too."""
  devices = jax.devices()
  versions = {name: _version(name) for name in (*VERSIONS, *packages)}
  return {
    "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    "commit": _commit(),
    "cpu": _cpu(),
    "cores": cores(),
    "memory_gib": _memory(),
    "system": f"{platform.system()} {platform.machine()}",
    "platform": devices[0].platform,
    "device": devices[0].device_kind,
    "devices": len(devices),
    "versions": {"python": platform.python_version()} | versions,
    "settings": {name: os.environ.get(name, "") for name in SETTINGS},
  }


def _version(package: str) -> str:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return "not installed"


def line(machine: dict[str, Any]) -> str:
  """The same in one line."""
  versions = [f"{n} {v}" for n, v in machine["versions"].items()]
  settings = [f"{n}={v}" for n, v in machine["settings"].items() if v]
  where = f"{machine['cpu']}, {machine['cores']} cores used"
  if machine["memory_gib"]:
    where += f", {machine['memory_gib']} GiB"
  if machine["platform"] != "cpu":
    where += f"; {machine['devices']} × {machine['device']}"
  parts = [where, ", ".join(versions), *settings, machine["date"]]
  if machine["commit"]:
    parts.append(f"commit {machine['commit']}")
  return "; ".join(parts)


def cores() -> int:
  """Cores that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def _cpu() -> str:
  """The model's name as Linux tells it; elsewhere what Python knows."""
  try:
    text = _CPUINFO.read_text()
  except OSError:
    return platform.processor() or platform.machine()
  for text_line in text.splitlines():
    key, _, value = text_line.partition(":")
    if key.strip() == "model name":
      return value.strip()
  return platform.machine()


def _memory() -> int:
  """GiB of main memory, rounded; 0 where it is not told."""
  try:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  except (ValueError, OSError, AttributeError):
    return 0
  return round(size / 2**30)


def _commit() -> str:
  """The checkout's commit, with + where files differ; empty without git."""
  git = ("git", "-C", str(PACKAGE))
  try:
    run = subprocess.run(
      [*git, "describe", "--always", "--dirty=+", "--exclude=*"],
      capture_output=True,
      text=True,
      check=False,
      timeout=10,
    )
  except (OSError, subprocess.TimeoutExpired):
    return ""
  return run.stdout.strip() if run.returncode == 0 else ""
