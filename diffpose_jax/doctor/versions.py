"""Versions of Python and of the packages, against what this package needs."""

import importlib.metadata
import pathlib
import platform
import re
import sys
import tomllib

from diffpose_jax.doctor import finding

PACKAGE = pathlib.Path(__file__).resolve().parent.parent
NAME = "diffpose-jax"
# Not needed, but good to know of: who brings them, where it is us.
OPTIONAL = {
  "av": "pip install 'diffpose-jax[video]', for H.264 to be written",
  "onnxruntime": "pip install 'diffpose-jax[detect]', for a detector of people",
  "h5py": "pip install 'diffpose-jax[hdf5]', for poses as HDF5",
  "gradio": "pip install 'diffpose-jax[webdemo]', for the demo page",
  "jax2onnx": "pip install 'diffpose-jax[onnx]', for export --onnx",
  "torch": "",
  "tensorflow": "",
}
# They have the same files as opencv-python-headless.
_OPENCVS = (
  *("opencv-python", "opencv-contrib-python"),
  "opencv-contrib-python-headless",
)
_OLDEST = (3, 11)
_REMEDY = "pip install '{}', or make setup in a checkout"
_PARTS = re.compile(r"\s*([\w.-]+)\s*(?:\[[^\]]*\])?\s*([^;]*)(;.*)?")


def check() -> list[finding.Finding]:
  """A line for Python, this package, each that it needs, and optional ones."""
  python = platform.python_version()
  found = [
    finding.Finding("python", f"{python}, {sys.executable}")
    if sys.version_info >= _OLDEST
    else finding.Finding(
      "python", python, finding.PROBLEM, "take Python 3.11 or newer"
    ),
    finding.Finding(NAME, f"{version(NAME) or 'not installed'}, {PACKAGE}"),
  ]
  for wanted in needed():
    found.append(_package(wanted))
  found += _opencvs()
  for name, remedy in OPTIONAL.items():
    there = version(name)
    text = there or "not installed (optional)"
    found.append(finding.Finding(name, text, remedy="" if there else remedy))
  return found


def _opencvs() -> list[finding.Finding]:
  """A note where packages of OpenCV lie on top of each other."""
  others = [name for name in _OPENCVS if version(name)]
  if not others:
    return []
  return [
    finding.Finding(
      "OpenCV",
      f"{', '.join(others)} beside opencv-python-headless",
      finding.NOTE,
      f"if videos make trouble: pip uninstall {' '.join(others)}, and install "
      "opencv-python-headless again",
    )
  ]


def needed() -> list[str]:
  """Requirements, as `jax>=0.10`, without those of extras."""
  project = PACKAGE.parent / "pyproject.toml"
  try:
    with open(project, "rb") as file:
      return tomllib.load(file)["project"]["dependencies"]
  except (OSError, KeyError, tomllib.TOMLDecodeError):
    pass
  try:
    lines = importlib.metadata.requires(NAME) or []
  except importlib.metadata.PackageNotFoundError:
    lines = []
  return [line for line in lines if "extra ==" not in line]


def _package(wanted: str) -> finding.Finding:
  match = _PARTS.fullmatch(wanted)
  assert match is not None, wanted
  name, limits = match[1], match[2].strip()
  there = version(name)
  remedy = _REMEDY.format(f"{name}{limits}")
  if there is None:
    return finding.Finding(name, "not installed", finding.PROBLEM, remedy)
  if not fits(there, limits):
    text = f"{there}, needed is {limits}"
    return finding.Finding(name, text, finding.PROBLEM, remedy)
  return finding.Finding(name, there)


def version(name: str) -> str | None:
  """A package's version; None where it is not installed."""
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return None


def fits(there: str, limits: str) -> bool:
  """True where a version is inside of limits as `>=4.12,<5`."""
  for limit in filter(None, limits.split(",")):
    match = re.fullmatch(r"\s*(>=|<|==|!=|>|<=|~=)\s*([\w.*]+)\s*", limit)
    if match is None or match[1] not in (">=", "<"):
      continue
    enough = _numbers(there) >= _numbers(match[2])
    if enough != (match[1] == ">="):
      return False
  return True


def _numbers(version: str) -> tuple[int, ...]:
  """The leading numbers, as (4, 12) of 4.12.0.post1; without zeros at the end."""
  parts = re.match(r"\d+(\.\d+)*", version)
  numbers = [int(part) for part in parts[0].split(".")] if parts else []
  while numbers and not numbers[-1]:
    numbers.pop()
  return tuple(numbers)
