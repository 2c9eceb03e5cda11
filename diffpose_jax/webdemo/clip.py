"""What an uploaded file is: looked at in full before anything is done with it."""

import dataclasses
import itertools
import pathlib
import re
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from diffpose_jax.data import sources, video
from diffpose_jax.inference import canvas
from diffpose_jax.webdemo import limits as limits_lib

PREVIEW = "first.png"
KINDS = (*sources.VIDEOS, *sources.PICTURES)
_NAME = "clip"


@dataclasses.dataclass(frozen=True)
class Clip:
  """An upload that can be done."""

  path: str
  width: int
  height: int
  fps: float
  frames: int
  seconds: float

  def text(self) -> str:
    """What the page says of it."""
    size = f"{self.width}×{self.height} pixels"
    if self.frames == 1:
      return f"A picture of {size}."
    return (
      f"{self.frames} frames of {size}, {self.seconds:.3g} s at "
      f"{self.fps:.4g} a second."
    )


def safe_name(given: str) -> str:
  """A name to keep an upload under, with the suffix of what it may be.

  Raises ValueError for a suffix of nothing that can be read.
  """
  given = re.split(r"[/\\]", given)[-1]
  stem, suffix = pathlib.Path(given).stem, pathlib.Path(given).suffix.lower()
  if suffix not in KINDS:
    raise ValueError(
      f"a file {suffix or 'without a suffix'} is no clip: give one of "
      f"{', '.join(kind.removeprefix('.') for kind in KINDS)}"
    )
  stem = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")[:40]
  return f"{stem or _NAME}{suffix}"


def look(
  path: pathlib.Path,
  limits: limits_lib.Limits,
  told: Callable[[int, int], None] = lambda done, count: None,
) -> Clip:
  """Decodes a file from end to end, and writes its first frame beside it.

  A header may say anything: so frames are counted, up to one too many.

  Args:
    path: a video or a picture; `PREVIEW` is written into its folder.
    limits: which it must keep.
    told: is called with the frames so far, and how many there seem to be.

  Raises:
    ValueError: it is neither, or there is more of it than the limits let.
  """
  source = sources.of(path)
  info = video.open_video(source)
  _check_header(info, limits)
  count, last, first = 0, 0.0, None
  frames = video.read(source)
  for _, time, picture in itertools.islice(frames, limits.frames + 1):
    first = picture if first is None else first
    count, last = count + 1, time
    told(count, max(count, info.count_hint))
    _check_length(count, last, limits)
  frames.close()
  assert first is not None  # as `read` saw to
  picture = canvas.shrunk(first)
  cv2.imwrite(
    str(path.with_name(PREVIEW)), np.ascontiguousarray(picture[..., ::-1])
  )
  height, width = first.shape[:2]
  seconds = last + 1 / info.fps
  return Clip(str(path), width, height, info.fps, count, seconds)


@dataclasses.dataclass(frozen=True)
class Look:
  """`look` as what a `worker.Worker` does."""

  limits: limits_lib.Limits

  def __call__(
    self, asked: dict[str, Any], told: Callable[[int, int], None]
  ) -> dict[str, Any]:
    """The fields of the `Clip` at `asked["path"]`."""
    found = look(pathlib.Path(asked["path"]), self.limits, told)
    return dataclasses.asdict(found)


def _check_header(info: video.VideoInfo, limits: limits_lib.Limits) -> None:
  if info.width * info.height > limits.pixels:
    raise ValueError(
      f"frames of {info.width}×{info.height} pixels: at most "
      f"{limits.pixels / 1e6:g} million are taken; make it smaller"
    )
  # Twice as much cannot be a mistake of the header.
  if info.count_hint > 2 * limits.frames:
    raise ValueError(_too_long(f"about {info.count_hint} frames", limits))


def _check_length(count: int, time: float, limits: limits_lib.Limits) -> None:
  if count > limits.frames:
    raise ValueError(_too_long(f"more than {limits.frames} frames", limits))
  if time > limits.seconds:
    raise ValueError(_too_long(f"more than {limits.seconds:g} s", limits))


def _too_long(what: str, limits: limits_lib.Limits) -> str:
  return (
    f"the clip has {what}: at most {limits.seconds:g} s and {limits.frames} "
    "frames are taken; cut a part out of it"
  )
