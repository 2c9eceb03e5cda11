"""Weights of detectors that are fetched by name, and the verb that does it.

None is fetched but by that verb: a run that needs weights says how to get them.
Sizes and checksums are those that several unconnected projects state of the
files which they got from these addresses; `docs/prediction.md` says more.
"""

import dataclasses
import os
import pathlib

from diffpose_jax.inference import onnx_detector
from diffpose_jax.weights import download, source

_YOLOX = (
  "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0"
)
_OPENMMLAB = (
  "https://download.openmmlab.com/mmpose/v1/projects/rtmposev1/onnx_sdk"
)


@dataclasses.dataclass(frozen=True)
class Published:
  """A file that its authors published."""

  kind: onnx_detector.Kind
  url: str
  sha256: str  # of the ONNX file
  most: int  # bytes of it, or where it is in a zip, of either
  licence: str  # of the project that published it
  member: str | None = None  # where the address is a zip


PUBLISHED = {
  "yolox-nano": Published(
    "yolox",
    f"{_YOLOX}/yolox_nano.onnx",
    "c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d",
    3_659_407,
    "Apache-2.0",
  ),
  "yolox-tiny": Published(
    "yolox",
    f"{_YOLOX}/yolox_tiny.onnx",
    "427cc366d34e27ff7a03e2899b5e3671425c262ea2291f88bb942bc1cc70b0f7",
    20_219_662,
    "Apache-2.0",
  ),
  "yolox-s": Published(
    "yolox",
    f"{_YOLOX}/yolox_s.onnx",
    "c5c2d13e59ae883e6af3b45daea64af4833a4951c92d116ec270d9ddbe998063",
    35_858_002,
    "Apache-2.0",
  ),
  "rtmdet-nano": Published(
    "rtmdet",
    f"{_OPENMMLAB}/rtmdet_nano_8xb32-100e_coco-obj365-person-05d8511e.zip",
    "8297e829ccc5590c8e2d32d5a211f322a0585fb7467eec85eb12c9525b0b95d6",
    32 << 20,
    "Apache-2.0",
    member="end2end.onnx",
  ),
}


def folder() -> pathlib.Path:
  """Where weights are kept: in XDG_CACHE_HOME or ~/.cache."""
  base = os.environ.get("XDG_CACHE_HOME")
  home = pathlib.Path(base) if base else pathlib.Path.home() / ".cache"
  return home / "diffpose_jax" / "detectors"


def published(name: str) -> Published:
  """The weights of a name. Raises ValueError for a name that is not known."""
  if name not in PUBLISHED:
    raise ValueError(
      f"no detector is called {name!r}; there are {', '.join(PUBLISHED)}"
    )
  return PUBLISHED[name]


def find(name: str) -> pathlib.Path:
  """The fetched file of a name, checked once more.

  Raises ValueError where it was not fetched or is not what was fetched.
  """
  wanted, path = published(name), folder() / f"{name}.onnx"
  remedy = f"fetch it by `python -m diffpose_jax.main fetch --name={name}`"
  if not path.is_file():
    raise ValueError(f"{path}: no such file; {remedy}")
  if source.sha256(path) != wanted.sha256:
    raise ValueError(
      f"{path}: is not what was fetched; remove it, and {remedy}"
    )
  return path


def fetch(*, name: str, out: pathlib.Path | None = None) -> pathlib.Path:
  """Fetches the weights of a name, unless they are there; returns the file.

  Args:
    name: one of `PUBLISHED`.
    out: folder; where it is given, `--detector` is to be given the file.

  Raises:
    ValueError: an unknown name, no answer, or another file than is known.
  """
  wanted = published(name)
  path = (folder() if out is None else pathlib.Path(out)) / f"{name}.onnx"
  if path.is_file() and source.sha256(path) == wanted.sha256:
    print(f"{path}: is there already")
    return path
  download.download(
    wanted.url,
    path,
    sha256=wanted.sha256,
    most=wanted.most,
    member=wanted.member,
  )
  print(
    f"{path}\nfrom {wanted.url}\nSHA-256 {wanted.sha256}, as known here; of a "
    f"project under {wanted.licence}"
  )
  use = name if out is None else path
  print(f"use: --detector={use}")
  return path
