"""What an ONNX file does first with its input, read without ONNX's package.

ONNX Runtime tells a model's inputs and outputs, but these do not say how the
picture is to be normalised; the first steps of the network do, as they tell
YOLOX (which takes the picture apart into quarters) from RTMDet (which begins
with a convolution and SiLU).

Source: onnx.proto of https://github.com/onnx/onnx and
https://protobuf.dev/programming-guides/encoding for the numbers below.
"""

import dataclasses
from collections.abc import Iterator

_GRAPH, _NODE = 7, 1  # fields of ModelProto and GraphProto
_INPUT, _OUTPUT, _TYPE = 1, 2, 4  # of NodeProto
_FIXED = {1: 8, 5: 4}  # bytes of values of a fixed size, by wire type


@dataclasses.dataclass(frozen=True)
class Node:
  """One step of a network."""

  type: str
  inputs: tuple[str, ...]
  outputs: tuple[str, ...]


def nodes(model: bytes) -> list[Node]:
  """The steps of the outermost graph, in their order.

  Raises ValueError where the bytes are no ONNX model.
  """
  found = []
  for field, graph in _fields(memoryview(model)):
    if field != _GRAPH:
      continue
    found += [_node(value) for key, value in _fields(graph) if key == _NODE]
  if not found:
    raise ValueError("not an ONNX model: no graph with nodes in it")
  return found


def consumers(steps: list[Node], tensor: str) -> set[str]:
  """Types of the steps that take a tensor, but for those that ask its shape."""
  return {s.type for s in steps if tensor in s.inputs} - {"Shape"}


def beginning(steps: list[Node], tensor: str) -> str:
  """What the network does first: "slices", "conv silu", or types of steps."""
  first = consumers(steps, tensor)
  if first == {"Conv"}:
    [*after] = (s for s in steps if s.type == "Conv" and tensor in s.inputs)
    second = set().union(
      *(consumers(steps, o) for s in after for o in s.outputs)
    )
    if second == {"Sigmoid", "Mul"}:
      return "conv silu"
    return f"Conv, {', '.join(sorted(second)) or 'nothing'}"
  if first == {"Slice"}:
    return "slices"
  return ", ".join(sorted(first)) or "nothing"


def _node(value: memoryview) -> Node:
  inputs, outputs, kind = [], [], ""
  for field, content in _fields(value):
    if field not in (_INPUT, _OUTPUT, _TYPE):
      continue
    text = bytes(content).decode("utf-8", "replace")
    if field == _TYPE:
      kind = text
    else:
      (inputs if field == _INPUT else outputs).append(text)
  return Node(kind, tuple(inputs), tuple(outputs))


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
  """Number and bytes of the fields of a message that hold bytes."""
  at = 0
  while at < len(data):
    key, at = _number(data, at)
    kind = key & 7
    if kind == 0:
      _, at = _number(data, at)
      continue
    if kind == 2:
      length, at = _number(data, at)
    elif kind in _FIXED:
      length = _FIXED[kind]
    else:
      raise ValueError("not an ONNX model: no protocol buffer")
    if length > len(data) - at:
      raise ValueError("not an ONNX model, or cut off")
    if kind == 2:
      yield key >> 3, data[at : at + length]
    at += length


def _number(data: memoryview, at: int) -> tuple[int, int]:
  """A number of variable length, and where it ends."""
  value = shift = 0
  while at < len(data) and shift < 64:
    byte = data[at]
    value |= (byte & 127) << shift
    at, shift = at + 1, shift + 7
    if byte < 128:
      return value, at
  raise ValueError("not an ONNX model, or cut off")
