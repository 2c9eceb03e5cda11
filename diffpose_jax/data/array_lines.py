"""Records of numbers and arrays as lines of text, exact to the last bit.

A line is the CRC-32 of the rest, eight hex digits, and JSON, in which an array
is its dtype, its shape and its bytes in base 64. A file of such lines grows by
what is added to it and can be cut off anywhere: what follows the last whole line
is no record.
"""

import base64
import json
import os
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

_ARRAY = "array"  # the key of an array's parts
_DTYPES = ("<f4", "<f8", "<i8", "|b1", "|u1")
_CHUNK = 1 << 20  # bytes read at once


def dump(record: Any) -> bytes:
  """The line of a record: of dicts, lists, texts, numbers, arrays and None."""
  text = json.dumps(record, default=_plain, separators=(",", ":")).encode()
  return b"%08x %s\n" % (zlib.crc32(text), text)


def load(line: bytes) -> Any:
  """The record of a line; ValueError where it is not as it was written."""
  crc, space, text = line[:8], line[8:9], line[9:-1]
  if space != b" " or line[-1:] != b"\n" or crc != b"%08x" % zlib.crc32(text):
    raise ValueError("a line is damaged or cut off")
  return json.loads(text, object_hook=_array)


def lines(file: BinaryIO, start: int = 0) -> Iterator[tuple[int, bytes]]:
  """(offset of its end, line) of each line of a file, from an offset on.

  What is after the last end of a line is a line without one. The place at which
  the file is written stays.
  """
  left, end = b"", start
  while chunk := os.pread(file.fileno(), _CHUNK, start):
    start += len(chunk)
    *whole, left = (left + chunk).split(b"\n")
    for line in whole:
      end += len(line) + 1
      yield end, line + b"\n"
  if left:
    yield end + len(left), left


def _plain(value: Any) -> Any:
  if isinstance(value, np.ndarray):
    array = np.ascontiguousarray(value)
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    if array.dtype.str not in _DTYPES:
      raise TypeError(f"arrays of {array.dtype} are not stored")
    content = base64.b64encode(array.tobytes()).decode()
    return {_ARRAY: [array.dtype.str, list(value.shape), content]}
  if isinstance(value, np.generic):
    return value.item()
  raise TypeError(f"a {type(value).__name__} is not stored")


def _array(record: dict[str, Any]) -> Any:
  if set(record) != {_ARRAY}:
    return record
  dtype, shape, content = record[_ARRAY]
  if dtype not in _DTYPES:
    raise ValueError(f"an array of {dtype}")
  return np.frombuffer(base64.b64decode(content), dtype).reshape(shape)
