"""What a network does first, out of bytes written by hand."""

import pytest

from diffpose_jax.inference import onnx_graph
from diffpose_jax.inference.onnx_graph import Node


def field(key, value):
  """A field that holds fewer than 128 bytes, or more with a second byte."""
  value = value.encode() if isinstance(value, str) else value
  length = [len(value)]
  if len(value) > 127:
    length = [len(value) & 127 | 128, len(value) >> 7]
  return bytes([key << 3 | 2, *length]) + value


def node(kind, inputs, outputs):
  body = b"".join(field(1, name) for name in inputs)
  body += b"".join(field(2, name) for name in outputs)
  return body + field(3, "a name") + field(4, kind)


def model(*steps):
  graph = b"".join(field(1, node(*step)) for step in steps)
  # Version 7, a fixed32 and a fixed64 of unknown fields, then the graph with
  # weights in it that are no steps.
  before = b"\x08\x07" + b"\x7d\x01\x02\x03\x04" + b"\x79" + bytes(8)
  return before + field(7, graph + field(5, b"\x0a\x01" * 70)) + field(8, b"")


SILU = [
  ("Conv", ["x", "w"], ["c"]),
  ("Sigmoid", ["c"], ["s"]),
  ("Mul", ["c", "s"], ["y"]),
]


def test_nodes():
  assert onnx_graph.nodes(model(*SILU)) == [
    Node("Conv", ("x", "w"), ("c",)),
    Node("Sigmoid", ("c",), ("s",)),
    Node("Mul", ("c", "s"), ("y",)),
  ]


@pytest.mark.parametrize(
  ("steps", "wanted"),
  [
    (SILU, "conv silu"),
    ([*SILU, ("Shape", ["x"], ["n"])], "conv silu"),
    ([("Slice", ["x"], ["a"]), ("Slice", ["x"], ["b"])], "slices"),
    ([("Slice", ["x"], ["a"]), ("Conv", ["x"], ["b"])], "Conv, Slice"),
    ([("Conv", ["x"], ["c"]), ("Relu", ["c"], ["y"])], "Conv, Relu"),
    ([("Conv", ["x"], ["c"])], "Conv, nothing"),
    ([("Sub", ["x"], ["z"]), *SILU[1:]], "Sub"),
    ([("Conv", ["z"], ["c"])], "nothing"),
  ],
)
def test_beginning(steps, wanted):
  found = onnx_graph.nodes(model(*steps))
  assert onnx_graph.beginning(found, "x") == wanted


@pytest.mark.parametrize(
  "data",
  [
    b"",
    b"{}",
    b"\x08\x07",  # a version and no graph
    field(7, b""),  # a graph without steps
    model(*SILU)[:-30],
    b"\x3a" + b"\xff" * 11,  # a length without end
    b"\x3b\x00",  # a wire type of long ago
  ],
)
def test_what_is_no_model(data):
  with pytest.raises(ValueError, match="not an ONNX model"):
    onnx_graph.nodes(data)
