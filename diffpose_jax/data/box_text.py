"""Person boxes as text: MOT files, and CSV files with a header.

MOT counts pixels from 1 (the first pixel of a picture is (1, 1)), CSV files
here from 0, as COCO and this program do: 1 is taken from MOT's x and y. Widths
and heights are the same. Empty lines say nothing; a byte order mark and any
ends of lines are accepted.

Source: https://motchallenge.net/instructions, which says of its columns that
"all frame numbers, target IDs and bounding boxes are 1-based".
"""

import csv
import pathlib
import re
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64

from diffpose_jax.data import box_records, strict_json

_LONGEST = (
  1 << 16
)  # bytes of a line; the csv module bounds a cell by twice that
_ROUNDING = 0.02  # pixels by which x1 + w may miss x2: two printed decimals
_MOT_LENGTHS = (7, 9, 10)  # columns
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
# Names of columns in the header of a CSV file, and what they are.
_COLUMNS = {
  **{name: name for name in ("x1", "y1", "x2", "y2", "x", "y", "w", "h")},
  **dict.fromkeys(("image", "image_name", "file_name"), "image"),
  **{name: name for name in ("video", "frame", "frame_index", "frame_number")},
  **dict.fromkeys(("score", "confidence", "conf"), "score"),
  **{name: name for name in ("track_id", "id", "category_id")},
  "width": "w",
  "height": "h",
}
_FRAMES = {"frame": None, "frame_index": 0, "frame_number": 1}  # their first


def read_mot(
  path: pathlib.Path, videos: tuple[str, ...], *, sure: bool
) -> list[box_records.Record]:
  """The boxes of a MOT file: frame, id, x, y, w, h, conf and what follows.

  Of 9 columns the 8th is the class, where 1 is a pedestrian, and -1 unknown;
  other columns beyond conf are ignored. An id of -1 is none. Where every conf
  is -1, and every box has an id, they are a tracker's that has no scores: 1.

  Args:
    path: comma-separated or space-separated.
    videos: names that the video may have.
    sure: False refuses 7 columns that edges would fit as well.

  Raises:
    ValueError: anything else; names file and line.
  """
  rows = []
  for number, line in enumerate(_lines(path), 1):
    if not line.strip():
      continue
    place = f"{path}: line {number}"
    cells = line.split(",") if "," in line else line.split()
    if not rows and not _is_number(cells[0]):
      raise ValueError(
        f"{place}: {strict_json.describe(cells[0])} is no frame number, with "
        "which MOT text begins; a file with a header is CSV: call it .csv"
      )
    lengths = (len(rows[0][1]),) if rows else _MOT_LENGTHS
    if len(cells) not in lengths:
      raise ValueError(
        f"{place}: {len(cells)} columns where MOT text has "
        f"{' or '.join(map(str, lengths))}: frame, id, x, y, w, h, conf, ..."
      )
    rows.append((place, [_number(cell, place) for cell in cells]))
  _check_mot(path, rows, sure)
  scored = any(row[6] != -1 or row[1] == -1 for _, row in rows)
  return [_mot_record(path, videos, place, row, scored) for place, row in rows]


def _check_mot(
  path: pathlib.Path, rows: list[tuple[str, list[int | float]]], sure: bool
) -> None:
  if not rows:
    raise ValueError(f"{path}: is empty; remove it if there are no boxes")
  if sure or len(rows[0][1]) > _MOT_LENGTHS[0]:
    return
  if all(row[4] > row[2] and row[5] > row[3] for _, row in rows):
    raise ValueError(
      f"{path}: columns 3 to 6 may be MOT's x, y, w, h, or edges x1, y1, x2, "
      "y2: nothing in them says which; call the file det.txt or say "
      "format='mot' if it is MOT text, else write CSV with a header"
    )


def _mot_record(
  path: pathlib.Path,
  videos: tuple[str, ...],
  place: str,
  row: list[int | float],
  scored: bool,
) -> box_records.Record:
  frame = strict_json.integer(row[0], f"{place}: frame")
  if frame < 1:
    raise ValueError(f"{place}: frame is {frame}; MOT text counts from 1")
  category = (
    strict_json.integer(row[7], f"{place}: class") if len(row) == 9 else -1
  )
  return box_records.Record(
    place=place,
    image=box_records.FrameNumber(str(path), videos, frame, first=1),
    box=box_records.sized(row[2] - 1, row[3] - 1, row[4], row[5], place),
    score=box_records.score(row[6], place) if scored else 1.0,
    track_id=_track_id(row[1], place),
    category=box_records.PERSON if category == -1 else category,
  )


def read_csv(
  path: pathlib.Path, videos: tuple[str, ...]
) -> list[box_records.Record]:
  """The boxes of a CSV file, whose header names its columns in any order.

  The picture is `image` (or image_name, file_name), or else a frame number of
  `video` (of the file's own video where there is no such column): frame_index
  counts from 0, frame_number from 1, and frame from what the numbers show. The
  box is x1, y1, x2, y2 (edges) or x, y, w, h (or width, height), or both where
  they agree. `score` (or confidence, conf) is 1 without a column, `track_id`
  (or id) none where it is -1 or empty; `category_id` is 1 for people. Other
  columns are ignored.

  Args:
    path: comma-separated.
    videos: names that the video may have.

  Raises:
    ValueError: anything else; names file and line.
  """
  reader = csv.reader(_lines(path), strict=True, skipinitialspace=True)
  columns: dict[str, int] = {}
  header, records = [], []
  try:
    for cells in reader:
      place = f"{path}: line {reader.line_num}"
      if not any(cell.strip() for cell in cells) and len(cells) < 2:
        continue
      if not header:
        header = cells
        columns = _columns(header, place)
        continue
      if len(cells) != len(header):
        raise ValueError(
          f"{place}: {len(cells)} columns where the header has {len(header)}"
        )
      row = {key: cells[i].strip() for key, i in columns.items()}
      records.append(_csv_record(path, videos, row, place))
  except csv.Error as error:
    raise ValueError(f"{path}: line {reader.line_num}: {error}") from None
  if not header:
    raise ValueError(f"{path}: is empty; a file without boxes has a header")
  return records


def _columns(header: list[str], place: str) -> dict[str, int]:
  """Where in a row each known thing stands."""
  if all(_is_number(cell) for cell in header):
    raise ValueError(
      f"{place}: numbers where the header should be; put one before them, such "
      "as image,x1,y1,x2,y2,score, or call MOT text .txt"
    )
  columns: dict[str, int] = {}
  for i, cell in enumerate(header):
    key = _COLUMNS.get(cell.strip().lower())
    if key in columns:
      raise ValueError(
        f"{place}: {header[columns[key]]!r} and {cell!r} are both {key}; keep "
        "one of them"
      )
    if key is not None:
      columns[key] = i
  frames = [key for key in _FRAMES if key in columns]
  corner = {"x1", "y1"} <= set(columns) or {"x", "y"} <= set(columns)
  reach = {"x2", "y2"} <= set(columns) or {"w", "h"} <= set(columns)
  if not (("image" in columns or len(frames) == 1) and corner and reach):
    raise ValueError(
      f"{place}: the columns do not say which box is meant: need image (or "
      "image_name, file_name) or one of frame, frame_index, frame_number; and "
      "x1,y1,x2,y2 or x,y,w,h; with commas between them; found "
      f"{', '.join(header)[:300]!r}"
    )
  return columns


def _csv_record(
  path: pathlib.Path, videos: tuple[str, ...], row: dict[str, str], place: str
) -> box_records.Record:
  if "image" in row:
    image = box_records.image_name(row["image"], place)
  else:
    [key] = [key for key in _FRAMES if key in row]
    number = _whole(row[key], f"{place}: {key}")
    if number < (_FRAMES[key] or 0):
      raise ValueError(
        f"{place}: {key} is {number}; it counts from {_FRAMES[key] or 0}"
      )
    if "video" in row:
      videos = (row["video"],)
    image = box_records.FrameNumber(str(path), videos, number, _FRAMES[key])
  score = _number(row["score"], f"{place}: score") if "score" in row else 1
  track_id = row.get("track_id", row.get("id", "")) or "-1"
  return box_records.Record(
    place=place,
    image=image,
    box=_csv_box(row, place),
    score=box_records.score(score, place),
    track_id=_track_id(_number(track_id, f"{place}: track_id"), place),
    category=_whole(row.get("category_id", "1"), f"{place}: category_id"),
  )


def _csv_box(row: dict[str, str], place: str) -> Float64[np.ndarray, "4"]:
  """The box of a row, of which columns that say it twice must agree."""

  def pair(first: str, second: str) -> list[int | float]:
    return [_number(row[key], f"{place}: {key}") for key in (first, second)]

  corners = [("x1", "y1"), ("x", "y")]
  corners = [pair(*keys) for keys in corners if set(keys) <= set(row)]
  boxes = []
  for corner in corners:
    if "x2" in row and "y2" in row:
      boxes.append(box_records.edges(*corner, *pair("x2", "y2"), place=place))
    if "w" in row and "h" in row:
      boxes.append(box_records.sized(*corner, *pair("w", "h"), place=place))
  for box in boxes[1:]:
    if np.abs(box - boxes[0]).max() > _ROUNDING:
      raise ValueError(
        f"{place}: the columns say both box {boxes[0].tolist()} and "
        f"{box.tolist()} (as edges); keep the right ones of them"
      )
  return boxes[0]


def _track_id(value: int | float, place: str) -> int:
  track_id = strict_json.integer(value, f"{place}: track id")
  if track_id < -1:
    raise ValueError(
      f"{place}: track id is {track_id}; it must be 0 or more, or -1 for none"
    )
  return track_id


def _is_number(text: str) -> bool:
  return _NUMBER.fullmatch(text.strip()) is not None


def _number(text: str, place: str) -> int | float:
  text = text.strip()
  if _WHOLE.fullmatch(text):
    return int(text)
  if not _NUMBER.fullmatch(text):
    raise ValueError(
      f"{place}: expected a finite number, found {strict_json.describe(text)}"
    )
  return float(text)  # an infinite one is refused by what it is for


def _whole(text: str, place: str) -> int:
  return strict_json.integer(_number(text, place), place)


def _lines(path: pathlib.Path) -> Iterator[str]:
  """The lines of a text file, each of bounded length."""
  number = 0
  try:
    with path.open("rb") as file:
      while line := file.readline(_LONGEST + 1):
        number += 1
        if len(line) > _LONGEST:
          raise ValueError(
            f"{path}: line {number}: longer than {_LONGEST} bytes; this is no "
            "file of boxes"
          )
        yield line.decode("utf-8-sig" if number == 1 else "utf-8")
  except UnicodeDecodeError:
    raise ValueError(
      f"{path}: line {number}: not UTF-8 text; save the file as UTF-8"
    ) from None
  except FileNotFoundError:
    raise ValueError(f"{path}: no such file; check the path") from None
  except OSError as error:
    raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
