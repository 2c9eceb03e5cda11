"""The machine, its settings and its folders, told without secrets."""

import os
import pathlib
import platform
import re
import shutil

from diffpose_jax import compile_cache
from diffpose_jax.doctor import finding

# Of the environment these are told and no others.
VARIABLES = (
  *("JAX_PLATFORMS", "JAX_ENABLE_X64", "JAX_DEFAULT_MATMUL_PRECISION"),
  *("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"),
  *("XLA_FLAGS", "XLA_PYTHON_CLIENT_PREALLOCATE"),
  *("XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_ALLOCATOR"),
  *("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "TPU_VISIBLE_DEVICES"),
  *("GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "LD_PRELOAD"),
  *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE"),
  *("OPENCV_FFMPEG_CAPTURE_OPTIONS", "PYTHONPATH", "PYTHONHASHSEED"),
  *("DIFFPOSE_DATA_ROOT", "XDG_CACHE_HOME", "LANG"),
)
_LITTLE = 2.0  # GB of disk
_TIGHT = 2.0  # GB of memory
_HUGE = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
_CPUINFO = pathlib.Path("/proc/cpuinfo")
_MEMINFO = pathlib.Path("/proc/meminfo")
_TUNABLE = "glibc.malloc.hugetlb"


def check() -> list[finding.Finding]:
  """Lines on system, processor, memory, environment, cache and disk."""
  return [
    finding.Finding("system", f"{platform.platform()}, {_libc()}"),
    finding.Finding("processor", f"{_processor()}, {cores()} cores to be used"),
    memory(),
    huge_pages(),
    *environment(),
    cache(),
    disk(pathlib.Path.cwd()),
  ]


def _libc() -> str:
  return " ".join(platform.libc_ver()) or "no glibc"


def cores() -> int:
  """Cores that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def _processor() -> str:
  for line in _lines(_CPUINFO):
    key, _, value = line.partition(":")
    if key.strip() == "model name":
      return f"{value.strip()} ({platform.machine()})"
  return platform.processor() or platform.machine()


def _lines(path: pathlib.Path) -> list[str]:
  try:
    return path.read_text().splitlines()
  except OSError:
    return []


def memory() -> finding.Finding:
  """Main memory, all and free."""
  sizes = {}
  for line in _lines(_MEMINFO):
    key, _, value = line.partition(":")
    number = value.split()[:1]
    if number and number[0].isdecimal():
      sizes[key] = int(number[0]) * 1024 / 1e9
  if not {"MemTotal", "MemAvailable"} <= sizes.keys():
    return finding.Finding("memory", "not told by this system")
  free = sizes["MemAvailable"]
  text = f"{sizes['MemTotal']:.1f} GB, {free:.1f} GB free"
  if free < _TIGHT:
    return finding.Finding(
      "memory",
      text,
      finding.NOTE,
      "close other programs, or take a smaller --config.evaluate.batch",
    )
  return finding.Finding("memory", text)


def huge_pages() -> finding.Finding:
  """Whether malloc asks for huge pages, which a CPU's steps gain from."""
  given = os.environ.get("GLIBC_TUNABLES", "")
  kernel = " ".join(_lines(_HUGE)) or "not told"
  if f"{_TUNABLE}=" in given:
    return finding.Finding("huge pages", f"asked for; kernel: {kernel}")
  if "glibc" not in _libc():
    return finding.Finding("huge pages", "only with glibc")
  return finding.Finding(
    "huge pages",
    f"not asked for; kernel: {kernel}",
    finding.NOTE,
    f"export GLIBC_TUNABLES={_TUNABLE}=1, which makes training on CPU 1.3 "
    "times as fast",
  )


def environment() -> list[finding.Finding]:
  """The variables that are set, of those that matter."""
  return [
    finding.Finding(name, public(os.environ[name]))
    for name in VARIABLES
    if os.environ.get(name)
  ]


def public(text: str) -> str:
  """A text without passwords in addresses and the home folder's name."""
  text = re.sub(r"://[^/@\s]*@", "://…@", text)
  home = str(pathlib.Path.home())
  return text.replace(home, "~") if len(home) > 1 else text


def cache() -> finding.Finding:
  """Where compiled programs are kept."""
  folder = compile_cache.folder()
  if folder is None:
    return finding.Finding(
      "cache",
      "compiled programs are not kept",
      finding.NOTE,
      f"set {compile_cache.VARIABLE} to a folder of your own, and do not set "
      "JAX_ENABLE_COMPILATION_CACHE=0",
    )
  count, size = 0, 0
  for entry in os.scandir(folder):
    try:
      size += entry.stat(follow_symlinks=False).st_size
      count += 1
    except OSError:  # Another process tidies up.
      continue
  text = f"{public(str(folder))}, {count} files, {size / 1e6:.0f} MB"
  return finding.Finding("cache", text)


def disk(folder: pathlib.Path) -> finding.Finding:
  """Free space where the command was called."""
  free = shutil.disk_usage(folder).free / 1e9
  text = f"{free:.1f} GB free in {public(str(folder))}"
  if free < _LITTLE:
    return finding.Finding(
      "disk", text, finding.NOTE, "make room, or work on another disk"
    )
  return finding.Finding("disk", text)
