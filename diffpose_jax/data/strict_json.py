"""JSON as data files should have it: finite numbers, no key twice.

Also checks of single values. Every error is one line that names the place.
"""

import functools
import json
import math
import os
import pathlib
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float64

from diffpose_jax.data import whole_file

MAX_BYTES = 2**30  # a larger file is refused before it is read
_LARGEST = float(np.finfo(np.float32).max) / 4  # sums of two still fit


def _finite(text: str) -> float:
  value = float(text)
  if not math.isfinite(value):
    raise ValueError(f"number {text} is not finite")
  return value


def _refuse(text: str) -> float:
  raise ValueError(f"number {text} is not finite")


def _unique(
  pairs: list[tuple[str, Any]], without: Collection[str]
) -> dict[str, Any]:
  record = dict(pairs)
  if len(record) < len(pairs):
    seen = set()
    for key, _ in pairs:
      if key in seen:
        raise ValueError(f"key {describe(key)} is given twice in one record")
      seen.add(key)
  for key in without:
    record.pop(key, None)
  return record


def load(path: str | os.PathLike, *, without: Collection[str] = ()) -> Any:
  """The value in a JSON file.

  Args:
    path: of the file.
    without: keys that records are returned without. What stands under them is
      checked like the rest, but takes no memory.

  Raises:
    ValueError: the file is absent, unreadable or not JSON (line and column
      are named), holds a number that is not finite, or a key twice; or it has
      more than `MAX_BYTES`.
  """
  path = pathlib.Path(path)
  try:
    if path.stat().st_size > MAX_BYTES:
      raise ValueError(
        f"{path.stat().st_size} bytes are more than {MAX_BYTES}, which would "
        "fill the memory; split it"
      )
    text = path.read_text(encoding="utf-8")
  except FileNotFoundError:
    raise ValueError(f"{path}: no such file; check the path") from None
  except OSError as error:
    raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
  except ValueError as error:  # ours from above; not UTF-8
    raise ValueError(f"{path}: {error}; correct the file") from None
  return parse(text, str(path), without=without)


def parse(text: str, place: str, *, without: Collection[str] = ()) -> Any:
  """As `load`, of the text itself; `place` says in errors where it is from."""
  try:
    return json.loads(
      text,
      parse_float=_finite,
      parse_constant=_refuse,
      object_pairs_hook=functools.partial(_unique, without=without),
    )
  except json.JSONDecodeError as error:
    raise ValueError(
      f"{place}: not JSON at line {error.lineno} column {error.colno} "
      f"({error.msg}); the file is damaged or of another kind: restore or replace it"
    ) from None
  except RecursionError:
    raise ValueError(
      f"{place}: nested too deeply to be a data file; correct the file"
    ) from None
  except ValueError as error:  # ours from above; endless digits
    raise ValueError(f"{place}: {error}; correct the file") from None


def dump(path: str | os.PathLike, value: Any) -> None:
  """Writes JSON in one step: a reader sees the old file or the whole new one.

  Folders are made where they are missing. Raises ValueError for a number that
  is not finite: an unknown value is None.
  """
  try:
    content = text(value)
  except ValueError as error:
    raise ValueError(f"{path}: not written: {error}") from None
  with whole_file.text(path) as file:
    file.write(content)


def text(value: Any) -> str:
  """A value as JSON, in one line; ValueError for a number not finite."""
  return json.dumps(value, allow_nan=False)


def listed(values: Iterable[Any], between: str = ", ") -> Iterator[str]:
  """The text of a list without its brackets, value by value."""
  for position, value in enumerate(values):
    yield (between if position else "") + text(value)


def plain(values: np.ndarray) -> list:
  """Floats as short as their precision allows: 0.1, not 0.10000000149."""
  if values.ndim > 1:
    return [plain(row) for row in values]
  return [float(str(value)) for value in values]


def require(record: Any, keys: tuple[str, ...], place: str) -> dict[str, Any]:
  """`record`, once it is known to be an object that has all of `keys`."""
  if not isinstance(record, dict):
    raise ValueError(
      f"{place}: expected an object with {', '.join(keys)}, "
      f"found {describe(record)}"
    )
  missing = [key for key in keys if key not in record]
  if missing:
    raise ValueError(
      f"{place}: no key {', '.join(map(repr, missing))}; it has "
      f"{', '.join(map(repr, sorted(record)[:20])) or 'no keys'}; correct it"
    )
  return record


def listing(value: Any, place: str) -> list:
  """`value`, once it is known to be a list."""
  if not isinstance(value, list):
    raise ValueError(f"{place}: expected a list, found {describe(value)}")
  return value


def integer(value: Any, place: str) -> int:
  """`value`, once it is known to be a whole number that fits 64 bits."""
  if type(value) is float and value.is_integer():
    value = int(value)
  if type(value) is not int or not -(2**63) <= value < 2**63:
    raise ValueError(
      f"{place}: expected a whole number, found {describe(value)}"
    )
  return value


def numbers(
  value: Any, place: str, count: int | None = None
) -> Float64[np.ndarray, "n"]:
  """A list of `count` numbers (any count for None) that float32 can hold."""
  values = listing(value, place)
  if count is not None and len(values) != count:
    raise ValueError(f"{place}: expected {count} numbers, found {len(values)}")
  for item in values:
    if type(item) not in (int, float) or not abs(item) <= _LARGEST:
      raise ValueError(
        f"{place}: expected finite numbers, found {describe(item)}"
      )
  return np.array(values, np.float64)


def describe(value: Any) -> str:
  """A value in at most 60 characters, for error messages."""
  if isinstance(value, dict):
    return f"an object with {len(value)} keys"
  if isinstance(value, list):
    return f"a list of {len(value)}"
  text = repr(value)
  return text if len(text) <= 60 else text[:57] + "..."
