"""The pickle inside a PyTorch file, read by a machine that cannot run code.

Python's own unpickler imports what a file names and calls it. This one knows
the instructions that `torch.save` writes, a fixed list of names, and what each
of them means here: nothing is ever imported, looked up or called by a name
that a file gives. It needs no stack of its own for nesting, so depth is no
attack either.
"""

import dataclasses
import math
import pickletools
import warnings
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

# (element type, key, number of elements) -> the elements
FindStorage = Callable[[np.dtype, str, int], np.ndarray]

MAX_STEPS = 20_000_000  # instructions of one pickle; ViT-H has some 20 000
_MAX_DIMS = 16

DTYPES = {
  "torch.DoubleStorage": np.dtype(np.float64),
  "torch.FloatStorage": np.dtype(np.float32),
  "torch.HalfStorage": np.dtype(np.float16),
  "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
  "torch.LongStorage": np.dtype(np.int64),
  "torch.IntStorage": np.dtype(np.int32),
  "torch.ShortStorage": np.dtype(np.int16),
  "torch.CharStorage": np.dtype(np.int8),
  "torch.ByteStorage": np.dtype(np.uint8),
  "torch.BoolStorage": np.dtype(np.bool_),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset(
  {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"),
    *("SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES"),
  }
)
_PLAIN_KEYS = (str, int, float, bytes, type(None))


@dataclasses.dataclass(frozen=True)
class _Name:
  """A name that a file gave and that is on the list; it stands for itself."""

  text: str


def load(stream: Any, find_storage: FindStorage) -> Any:
  """The object of the pickle that starts at a binary stream's position.

  It is made of containers, plain values and arrays: views of the storages that
  `find_storage` gives. Afterwards the stream stands behind the pickle.

  Raises ValueError for anything that is no such object, naming it.
  """
  machine = _Machine(find_storage)
  with warnings.catch_warnings():
    # A damaged name may have escapes that Python frowns upon.
    warnings.simplefilter("ignore", DeprecationWarning)
    _run(machine, stream)
  return machine.result()


def _run(machine: "_Machine", stream: Any) -> None:
  for step, (instruction, argument, _) in enumerate(pickletools.genops(stream)):
    if step > MAX_STEPS:
      raise ValueError(f"its pickle has more than {MAX_STEPS} instructions")
    if instruction.name == "STOP":
      break
    machine.step(instruction.name, argument)


def view(storage: Any, offset: Any, size: Any, stride: Any) -> np.ndarray:
  """The part of a storage that a tensor is.

  Raises ValueError where it reaches out of the storage, or holds an element
  twice (a view expanded to any size would cost nothing to write).
  """
  if not isinstance(storage, np.ndarray) or storage.ndim != 1:
    raise ValueError("a tensor in it has no storage")
  if not (isinstance(size, tuple) and isinstance(stride, tuple)):
    raise ValueError("a tensor in it has no size or no stride")
  numbers = (offset, *size, *stride)
  whole = all(type(n) is int and 0 <= n < 1 << 62 for n in numbers)
  if not whole or len(size) != len(stride) or len(size) > _MAX_DIMS:
    raise ValueError("a tensor in it has a size or stride that cannot be")
  if math.prod(size) == 0:
    return np.empty((0,), storage.dtype).reshape(_capped(size))
  last = 0  # of the elements that the smaller strides reach
  for step, count in sorted(zip(stride, size, strict=True)):
    if count > 1 and step <= last:
      raise ValueError("a tensor in it holds elements of its storage twice")
    last += step * (count - 1)
  if offset + last >= storage.size:
    raise ValueError(
      f"a tensor in it reaches to element {offset + last} of a storage of "
      f"{storage.size}"
    )
  width = storage.dtype.itemsize
  return np.lib.stride_tricks.as_strided(
    storage[offset:], size, [width * n for n in stride], writeable=False
  )


def _capped(size: tuple[int, ...]) -> tuple[int, ...]:
  if math.prod(n for n in size if n) >= 1 << 40:
    raise ValueError("a tensor in it has a size that cannot be")
  return size


class _Machine:
  """The stack, the marks on it and the memo of a pickle."""

  def __init__(self, find_storage: FindStorage):
    self._find_storage = find_storage
    self._stack: list[Any] = []
    self._marks: list[int] = []
    self._memo: dict[int, Any] = {}

  def result(self) -> Any:
    if len(self._stack) != 1 or self._marks:
      raise ValueError("its pickle ends in the middle of an object")
    return self._stack[0]

  def step(self, name: str, argument: Any) -> None:
    """Does what one instruction says."""
    if name in _LITERALS:
      self._stack.append(argument)
    elif name in _CONSTANTS:
      self._stack.append(_CONSTANTS[name])
    elif name in ("BINPUT", "LONG_BINPUT"):
      self._memo[argument] = self._top()
    elif name in ("BINGET", "LONG_BINGET"):
      if argument not in self._memo:
        raise ValueError("its pickle refers to an object that it does not hold")
      self._stack.append(self._memo[argument])
    elif name not in ("PROTO", "FRAME"):
      self._act(name, argument)

  def _act(self, name: str, argument: Any) -> None:
    act = getattr(self, f"_do_{name.lower()}", None)
    if name in ("INST", "GLOBAL"):
      self._stack.append(_known(argument.replace(" ", ".", 1)))
    elif act is None:
      raise ValueError(
        f"its pickle has the instruction {name}, which no tensors need"
      )
    else:
      act()

  def _top(self, kind: Any = object) -> Any:
    """The topmost object, of the kind given, above the last mark."""
    if len(self._stack) <= (self._marks[-1] if self._marks else 0):
      raise ValueError("its pickle takes an object where there is none")
    if not isinstance(self._stack[-1], kind):
      raise ValueError("its pickle fills a thing that is no container")
    return self._stack[-1]

  def _pop(self) -> Any:
    self._top()
    return self._stack.pop()

  def _pop_marked(self) -> list[Any]:
    if not self._marks:
      raise ValueError("its pickle takes objects where there are none")
    start = self._marks.pop()
    items = self._stack[start:]
    del self._stack[start:]
    return items

  def _pop_tuple(self, count: int) -> None:
    items = [self._pop() for _ in range(count)]
    self._stack.append(tuple(reversed(items)))

  def _fill(self, items: list[Any]) -> None:
    """Puts keys and values into the dict on top."""
    target = self._top(dict)
    if len(items) % 2:
      raise ValueError("its pickle has a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
      if not isinstance(key, _PLAIN_KEYS):
        raise ValueError("its pickle has a key that is no name or number")
      target[key] = value

  def _do_mark(self) -> None:
    self._marks.append(len(self._stack))

  def _do_empty_dict(self) -> None:
    self._stack.append({})

  def _do_empty_list(self) -> None:
    self._stack.append([])

  def _do_empty_tuple(self) -> None:
    self._stack.append(())

  def _do_tuple(self) -> None:
    self._stack.append(tuple(self._pop_marked()))

  def _do_tuple1(self) -> None:
    self._pop_tuple(1)

  def _do_tuple2(self) -> None:
    self._pop_tuple(2)

  def _do_tuple3(self) -> None:
    self._pop_tuple(3)

  def _do_append(self) -> None:
    value = self._pop()
    self._top(list).append(value)

  def _do_appends(self) -> None:
    items = self._pop_marked()
    self._top(list).extend(items)

  def _do_setitem(self) -> None:
    value, key = self._pop(), self._pop()
    self._fill([key, value])

  def _do_setitems(self) -> None:
    self._fill(self._pop_marked())

  def _do_memoize(self) -> None:
    self._memo[len(self._memo)] = self._top()

  def _do_stack_global(self) -> None:
    name, module = self._pop(), self._pop()
    if not (isinstance(name, str) and isinstance(module, str)):
      raise ValueError("its pickle has a name that is no text")
    self._stack.append(_known(f"{module}.{name}"))

  def _do_binpersid(self) -> None:
    """A storage; an older form of file has a sixth field, of views."""
    key = self._pop()
    fields: tuple[Any, ...] = key if isinstance(key, tuple) else ()
    form = len(fields) == 5 or (len(fields) == 6 and fields[5] is None)
    if not form or not isinstance(fields[0], str) or fields[0] != "storage":
      raise ValueError("its pickle refers to something that is no storage")
    kind, name, count = fields[1], fields[2], fields[4]
    dtype = DTYPES.get(kind.text) if isinstance(kind, _Name) else None
    if dtype is None or not isinstance(name, str) or type(count) is not int:
      raise ValueError("its pickle refers to a storage that cannot be")
    self._stack.append(self._find_storage(dtype, name, count))

  def _do_reduce(self) -> None:
    """A call, of the few that make tensors and containers."""
    arguments, function = self._pop(), self._pop()
    if not isinstance(function, _Name) or not isinstance(arguments, tuple):
      raise ValueError("its pickle calls something that is no function")
    make, least = _CALLS.get(function.text, (None, 0))
    if make is None or len(arguments) < least:
      raise ValueError(f"its pickle calls {function.text}, which makes nothing")
    self._stack.append(make(*arguments))

  def _do_build(self) -> None:
    """Attributes of an object: only of a state dict, and there left out."""
    self._pop()
    self._top(dict)


def _known(name: str) -> _Name:
  """The name, if it is on the list.

  Raises ValueError otherwise: here ends every attempt to run code.
  """
  if name not in DTYPES and name not in _CALLS:
    shown = name if len(name) <= 80 else name[:77] + "..."
    shown = shown if shown.isprintable() else ascii(shown)
    raise ValueError(
      f"holds {shown}, which is not a tensor; nothing of it was run. Take a "
      "file of tensors only, or, if you trust this one, load it in PyTorch and "
      "save its state_dict() alone"
    )
  return _Name(name)


def _ordered_dict(*pairs: Any) -> dict:
  if pairs:
    raise ValueError("its pickle has a dict in an unknown form")
  return {}


def _tensor(storage, offset, size, stride, *others) -> np.ndarray:
  """A tensor; whether it needs gradients, and hooks, say nothing of it."""
  del others
  return view(storage, offset, size, stride)


def _parameter(tensor, *others) -> np.ndarray:
  del others
  if not isinstance(tensor, np.ndarray):
    raise ValueError("its pickle has a parameter that is no tensor")
  return tensor


def _size(numbers: Any, *others: Any) -> tuple:
  del others
  if not isinstance(numbers, tuple | list):
    raise ValueError("its pickle has a size that is none")
  return tuple(numbers)


# Names that may be called: what stands for them here, and with how many
# arguments at least.
_CALLS: dict[str, tuple[Callable[..., Any], int]] = {
  "collections.OrderedDict": (_ordered_dict, 0),
  "torch._utils._rebuild_tensor": (_tensor, 4),
  "torch._utils._rebuild_tensor_v2": (_tensor, 4),
  "torch._utils._rebuild_parameter": (_parameter, 1),
  "torch._utils._rebuild_parameter_with_state": (_parameter, 1),
  "torch.Size": (_size, 1),
}
