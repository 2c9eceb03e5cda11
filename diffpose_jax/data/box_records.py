"""What every reader of person boxes gives, and the checks that all share."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float64

from diffpose_jax.data import annotation_fields as fields
from diffpose_jax.data import strict_json

PERSON = 1  # category of people in COCO, PoseTrack and MOT files


@dataclasses.dataclass(frozen=True)
class FrameNumber:
  """A frame by its number, where a file has no names of pictures."""

  source: str  # the file
  videos: tuple[str, ...]  # names the video may have, the likeliest first
  number: int
  first: int | None  # number of a video's first frame; None: 0 or 1


@dataclasses.dataclass(frozen=True)
class Record:
  """One box as the file has it."""

  place: str  # file and record or line
  image: str | int | FrameNumber  # file name, else image id, else number
  box: np.ndarray  # float64 (4,) xyxy edges
  score: float  # in [0, 1]
  track_id: int = -1  # -1: none
  category: Any = PERSON


def edges(
  x1: int | float, y1: int | float, x2: int | float, y2: int | float, place: str
) -> Float64[np.ndarray, "4"]:
  """The box as float64 edges. Raises ValueError where it cannot be used."""
  box = strict_json.numbers([x1, y1, x2, y2], place)
  if np.abs(box).max() > fields.FARTHEST:
    raise ValueError(
      f"{place}: box {box.tolist()} reaches beyond {fields.FARTHEST:g} pixels; no "
      "picture is as large: correct or remove it"
    )
  sides = box[2:] - box[:2]
  if np.any(sides < fields.THINNEST):
    why = "its corners swapped" if np.any(sides < 0) else "no area"
    raise ValueError(
      f"{place}: box {box.tolist()} has {why}; left must be below right, top "
      f"below bottom, by at least {fields.THINNEST:g} pixels: correct or remove "
      "it"
    )
  return box


def sized(
  x: int | float, y: int | float, w: int | float, h: int | float, place: str
) -> Float64[np.ndarray, "4"]:
  """The same for a box given as corner and size."""
  x1, y1, x2, y2 = fields.box([x, y, w, h], place)
  return edges(float(x1), float(y1), float(x2), float(y2), place)


def score(value: int | float, place: str) -> float:
  """The score as float. Raises ValueError where it is not in [0, 1]."""
  if not 0 <= value <= 1:
    raise ValueError(
      f"{place}: score is {value:g}; it must be in [0, 1]: map all scores into "
      "it, percent by / 100, others by 1 / (1 + exp(-score))"
    )
  return float(value)


def image_name(name: Any, place: str) -> str:
  """The name with / between folders, which may be absolute: none is opened."""
  if not isinstance(name, str):
    return fields.file_name(name, place)
  name = name.replace("\\", "/")
  fields.file_name("/".join(name.lstrip("/").split("/")[-2:]), place)
  return name
