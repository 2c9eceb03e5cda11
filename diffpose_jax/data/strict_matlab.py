"""MATLAB files as data files should have them: whole, and real numbers.

Read are files of MATLAB 5 to 7 (`save -v6`, `-v7`), and of these only arrays
of numbers. It is done here, because `scipy.io.loadmat` ends the whole process
with a segmentation fault on some damaged files.

Source: MathWorks, MAT-File Format, "Level 5 MAT-File Format".
"""

import dataclasses
import math
import pathlib
import struct
import zlib

import numpy as np

_MOST = 1 << 28  # bytes of one variable, unpacked

_HEADER = 128  # bytes, of which the last four are version and byte order
_MATRIX, _COMPRESSED = 14, 15  # types of elements
_INT8, _INT32, _UINT32, _UTF8 = 1, 5, 6, 16
_NUMBERS = {
  _INT8: "i1",
  2: "u1",
  3: "i2",
  4: "u2",
  _INT32: "i4",
  _UINT32: "u4",
  7: "f4",
  9: "f8",
  12: "i8",
  13: "u8",
}
# Classes of arrays; the values of one may be stored in a smaller type.
_CLASSES = {
  6: "f8",
  7: "f4",
  8: "i1",
  9: "u1",
  10: "i2",
  11: "u2",
  12: "i4",
  13: "u4",
  14: "i8",
  15: "u8",
}
_OTHERS = {1: "cells", 2: "a structure", 3: "an object", 4: "text", 5: "sparse"}
_COMPLEX = 0x0800
_OPAQUE = (16, 17)  # functions and objects, which are laid out otherwise


@dataclasses.dataclass(frozen=True)
class _Variable:
  """A variable whose values are not looked at yet."""

  name: str
  kind: int  # class
  is_complex: bool
  shape: tuple[int, ...]
  values: memoryview  # the elements that follow the name


def load(path: pathlib.Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
  """The named arrays of a .mat file, in the shapes and types that it states.

  What else is in the file is passed over: no object is made of it, and nothing
  in it is executed. MATLAB leaves out last axes of length 1 beyond the second:
  of 2 x 15 x 1, 2 x 15 is written.

  Raises:
    ValueError: the file is absent, unreadable, damaged or of MATLAB 7.3 (which
      is HDF5); it has a name not once; an array is empty, huge or not of real
      numbers.
  """
  try:
    data = path.read_bytes()
  except FileNotFoundError:
    raise ValueError(f"{path}: no such file; restore it") from None
  except OSError as error:
    raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
  order = _byte_order(data, path)
  try:
    variables = _variables(memoryview(data)[_HEADER:], order)
    for name in names:
      _check_once(name, variables)
    return {v.name: _array(v, order) for v in variables if v.name in names}
  except ValueError as error:
    raise ValueError(f"{path}: {error}; restore the file") from None


def _byte_order(data: bytes, path: pathlib.Path) -> str:
  """`<` or `>`, once the header is known to be that of MATLAB 5 to 7."""
  order = {b"IM": "<", b"MI": ">"}.get(data[_HEADER - 2 : _HEADER])
  version = (
    struct.unpack_from(f"{order}H", data, _HEADER - 4)[0] if order else 0
  )
  if version == 0x0200:
    raise ValueError(
      f"{path}: a file of MATLAB 7.3, which is HDF5 and not read; write it "
      "again in MATLAB with save -v7"
    )
  if order is None or version != 0x0100:
    raise ValueError(
      f"{path}: damaged, or no file of MATLAB 5 to 7 ({len(data)} bytes, "
      f"beginning with {data[:8]!r}); restore it"
    )
  return order


def _variables(data: memoryview, order: str) -> list[_Variable]:
  found = []
  at = 0
  while at < len(data):
    kind, content, at = _element(data, at, order)
    if kind == _COMPRESSED:
      inner = _unpack(content)
      kind, content, _ = _element(inner, 0, order)
    if kind != _MATRIX:
      raise ValueError(f"damaged: element of type {kind} is no variable")
    variable = _variable(content, order)
    if variable is not None:
      found.append(variable)
  return found


def _element(
  data: memoryview, at: int, order: str
) -> tuple[int, memoryview, int]:
  """(type, content, where the next one begins) of the element at `at`."""
  if at + 8 > len(data):
    raise ValueError(f"cut off: {len(data) - at} bytes where an element begins")
  kind, size = struct.unpack_from(f"{order}II", data, at)
  begin, end = at + 8, at + 8 + size
  if kind >> 16:  # the short form: size, type and up to four bytes in eight
    kind, size = kind & 0xFFFF, kind >> 16
    if size > 4:
      raise ValueError(f"damaged: a short element of {size} bytes")
    return kind, data[at + 4 : at + 4 + size], at + 8
  if end > len(data):
    raise ValueError(
      f"cut off: an element of {size} bytes has {len(data) - begin}"
    )
  padding = 0 if kind == _COMPRESSED else -size % 8
  return kind, data[begin:end], end + padding


def _unpack(data: memoryview) -> memoryview:
  reader = zlib.decompressobj()
  try:
    content = reader.decompress(data, _MOST)
  except zlib.error as error:
    raise ValueError(f"damaged: a variable does not unpack ({error})") from None
  if not reader.eof:  # where zlib has compared the checksum
    state = f"more than {_MOST} bytes" if reader.unconsumed_tail else "cut off"
    raise ValueError(f"a packed variable is {state}")
  return memoryview(content)


def _variable(data: memoryview, order: str) -> _Variable | None:
  """Flags, shape and name; None for what has none of these."""
  if not data:
    return None
  kind, flags, at = _element(data, 0, order)
  if kind != _UINT32 or len(flags) != 8:
    raise ValueError("damaged: a variable without flags")
  word = struct.unpack_from(f"{order}I", flags)[0]
  if word & 0xFF in _OPAQUE:
    return None
  kind, shape, at = _element(data, at, order)
  if kind != _INT32 or len(shape) % 4 or len(shape) < 8:
    raise ValueError("damaged: a variable without a shape")
  name_kind, name, at = _element(data, at, order)
  if name_kind not in (_INT8, _UTF8):
    raise ValueError("damaged: a variable without a name")
  return _Variable(
    name=bytes(name).decode("ascii", "backslashreplace"),
    kind=word & 0xFF,
    is_complex=bool(word & _COMPLEX),
    shape=struct.unpack(f"{order}{len(shape) // 4}i", shape),
    values=data[at:],
  )


def _check_once(name: str, variables: list[_Variable]) -> None:
  names = [variable.name for variable in variables]
  if names.count(name) != 1:
    there = ", ".join(map(repr, filter(None, names)))[:120] or "nothing"
    raise ValueError(
      f"{names.count(name)} variables {name!r} where there must be one; it has "
      f"{there}"
    )


def _array(variable: _Variable, order: str) -> np.ndarray:
  name, shape = variable.name, variable.shape
  if variable.kind not in _CLASSES or variable.is_complex:
    kind = "complex" if variable.is_complex else _OTHERS.get(variable.kind, "?")
    raise ValueError(f"{name} is {kind}; it must be an array of real numbers")
  if min(shape) <= 0 or math.prod(shape) > _MOST:
    raise ValueError(
      f"{name} is {' x '.join(map(str, shape))}; it must have from 1 to {_MOST} "
      "values"
    )
  kind, values, _ = _element(variable.values, 0, order)
  stored = np.dtype(order + _NUMBERS.get(kind, "f8"))
  asked = np.dtype(_CLASSES[variable.kind])
  if kind not in _NUMBERS or not np.can_cast(stored, asked, "same_kind"):
    raise ValueError(f"damaged: values of {name} are of type {kind}")
  if len(values) != math.prod(shape) * stored.itemsize:
    raise ValueError(
      f"damaged: {name} is {' x '.join(map(str, shape))}, but has {len(values)} "
      f"bytes of {stored.itemsize} a value"
    )
  array = np.frombuffer(values, stored).reshape(shape, order="F")
  return array.astype(asked)
