"""What a visitor asks of a clip, checked against what may be asked."""

import dataclasses
import math
from typing import Any

from diffpose_jax.webdemo import clip as clip_lib
from diffpose_jax.webdemo import drawing as drawing_lib
from diffpose_jax.webdemo import limits as limits_lib

# How people are given: the value, and what the page says.
DRAWN, WHOLE, FOUND = "drawn", "whole", "found"
WAYS = (DRAWN, WHOLE, FOUND)


@dataclasses.dataclass(frozen=True)
class Request:
  """A job, in JSON types."""

  path: str  # of the clip
  frames: int  # of it
  out: str  # folder for what is written, empty
  way: str  # of `WAYS`
  boxes: tuple[drawing_lib.Box, ...]  # of the first frame, where they are drawn
  steps: int
  samples: int

  @classmethod
  def of(cls, record: dict[str, Any]) -> "Request":
    """What `dataclasses.asdict` gave, by way of JSON."""
    boxes: Any = tuple(tuple(map(float, box)) for box in record["boxes"])
    given: dict[str, Any] = record | {"boxes": boxes}
    return cls(**given)


def check(
  clip: clip_lib.Clip | None,
  *,
  out: str,
  way: Any,
  drawing: drawing_lib.Drawing,
  steps: Any,
  samples: Any,
  limits: limits_lib.Limits,
) -> Request:
  """The job that is asked for.

  Raises ValueError for what is missing, not there, or above the limits: what
  comes from a page may be anything.
  """
  if clip is None:
    raise ValueError("there is no clip yet; upload one")
  if way not in WAYS:
    raise ValueError(
      f"people are given by one of {', '.join(WAYS)}, not {way!r}"
    )
  boxes = drawing.boxes if way == DRAWN else ()
  if way == DRAWN:
    check_boxes(boxes, clip, limits)
  return Request(
    path=clip.path,
    frames=clip.frames,
    out=out,
    way=way,
    boxes=boxes,
    steps=_whole(steps, "steps", limits.steps),
    samples=_whole(samples, "samples", limits.samples),
  )


def check_boxes(
  boxes: tuple[drawing_lib.Box, ...],
  clip: clip_lib.Clip,
  limits: limits_lib.Limits,
) -> None:
  """Raises ValueError unless there are some, and all lie in the picture."""
  if not boxes:
    raise ValueError(
      "no box is drawn; click on two opposite corners of each person in the "
      "first frame, or choose another way to give people"
    )
  if len(boxes) > limits.people:
    raise ValueError(f"{len(boxes)} boxes: at most {limits.people} are taken")
  for number, box in enumerate(boxes, 1):
    x1, y1, x2, y2 = box
    if not (x1 < x2 and y1 < y2):
      raise ValueError(f"box {number} has no area; draw it again")
    if min(x1, y1) < -1 or x2 > clip.width or y2 > clip.height:
      raise ValueError(
        f"box {number} is outside of the picture of {clip.width}×{clip.height} "
        "pixels; draw it again"
      )


def _whole(given: Any, name: str, most: int) -> int:
  """A number of steps or samples; raises ValueError unless it is one."""
  good = (
    isinstance(given, int | float)
    and not isinstance(given, bool)
    and math.isfinite(given)
    and given == int(given)
  )
  if not good or not 1 <= given <= most:
    raise ValueError(
      f"{name} is {given!r}: it must be a whole number from 1 to {most}"
    )
  return int(given)
