"""Networks in ONNX files find boxes whose place in the picture is known.

The files are written here, byte by byte, so that each is a few steps long and
what it finds can be said beforehand; ONNX Runtime runs them. What needs no
running is tested with a session that is played.
"""

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np
import pytest

from diffpose_jax.inference import detectors, onnx_detector
from diffpose_jax.inference import onnx_graph as graph_lib

SIZE = (64, 96)  # (height, width) of the networks' input
CELLS = 96 + 24 + 6
FLOAT, INT64 = 1, 7  # TensorProto.DataType


def number(value):
  """A number of variable length."""
  value, out = value % (1 << 64), b""
  while value > 127:
    out, value = out + bytes([value & 127 | 128]), value >> 7
  return out + bytes([value])


def field(key, value):
  """A field of a protocol buffer: a number, or bytes with their length."""
  if isinstance(value, int):
    return number(key << 3) + number(value)
  value = value.encode() if isinstance(value, str) else value
  return number(key << 3 | 2) + number(len(value)) + value


def step(kind, inputs, output, **attributes):
  """A NodeProto with attributes that are integers or lists of them."""
  body = b"".join(field(1, name) for name in inputs.split())
  body += b"".join(field(2, name) for name in output.split()) + field(4, kind)
  for name, value in attributes.items():
    if isinstance(value, int):
      attribute = field(1, name) + field(3, value) + field(20, 2)
    else:
      attribute = field(1, name) + field(20, 7)
      attribute += b"".join(field(8, v) for v in value)
    body += field(5, attribute)
  return body


def constant(name, array):
  """A TensorProto."""
  array = np.asarray(array)
  kind = INT64 if array.dtype.kind == "i" else FLOAT
  array = array.astype(np.int64 if kind == INT64 else np.float32)
  body = b"".join(field(1, side) for side in array.shape)
  return body + field(2, kind) + field(8, name) + field(9, array.tobytes())


def value(name, kind, shape):
  """A ValueInfoProto; sides that are text are left open."""
  sides = b"".join(
    field(1, field(2 if isinstance(side, str) else 1, side)) for side in shape
  )
  return field(1, name) + field(2, field(1, field(1, kind) + field(2, sides)))


def model(steps, constants, inputs, outputs):
  """The bytes of a ModelProto of opset 13."""
  graph = b"".join(field(1, one) for one in steps) + field(2, "g")
  graph += b"".join(field(5, constant(*one)) for one in constants.items())
  graph += b"".join(field(11, value(*one)) for one in inputs)
  graph += b"".join(field(12, value(*one)) for one in outputs)
  opset = field(1, "") + field(2, 13)
  return field(1, 7) + field(7, graph) + field(8, opset)


def cells():
  grid = [
    (x, y, s)
    for s in (8, 16, 32)
    for y in range(SIZE[0] // s)
    for x in range(SIZE[1] // s)
  ]
  return np.array(grid, float)


def yolox(*, raw=True, classes=80, sides=SIZE, begin="Slice"):
  """A YOLOX: each cell of 8 pixels that is blue in its middle is a person.

  Its box is the cell; cells of 16 and 32 pixels see nothing.
  """
  grid = cells()
  rows = np.zeros((1, CELLS, 4), np.float32)
  rows[0, :, :2] = 0.5
  if not raw:
    rows[0, :, :2] = (0.5 + grid[:, :2]) * grid[:, 2:]
    rows[0, :, 2:] = grid[:, 2:]
  others = np.zeros((1, CELLS, classes), np.float32)
  others[..., 0] = 0.9
  steps = [
    step("Slice", "images from to axes steps", "blue"),
    step("Reshape", "blue row", "flat"),
    step("Div", "flat full", "share"),
    step("Concat", "share none", "object", axis=1),
    step("Concat", "rows object others", "output", axis=2),
  ]
  if begin != "Slice":
    steps.insert(0, step(begin, "images", "pixels"))
    steps[1] = step("Slice", "pixels from to axes steps", "blue")
  constants = {
    "from": np.array([0, 4, 4]),
    "to": np.array([1, *SIZE]),
    "axes": np.array([1, 2, 3]),
    "steps": np.array([1, 8, 8]),
    "row": np.array([1, 96, 1]),
    "full": np.array([255.0]),
    "none": np.zeros((1, 30, 1), np.float32),
    "rows": rows,
    "others": others,
  }
  return model(
    steps,
    constants,
    [("images", FLOAT, (1, 3, *sides))],
    [("output", FLOAT, (1, CELLS, 5 + classes))],
  )


def rtmdet(*, label=0, shape=(1, 3, *SIZE), names="dets labels"):
  """An RTMDet: the extent of what is white is one person.

  Pixels are white where the mean of the normalised planes is above 2: those of
  255 have 2.64, 2.43 and 2.25 there, those of 230 on average 2.03, and those of
  220 1.84. After the person comes a row of score 0, as MMDeploy fills up.
  """
  first, second = names.split()
  steps = [
    step("Conv", "input mean3", "mean", kernel_shape=[1, 1]),
    step("Sigmoid", "mean", "gate"),
    step("Mul", "mean gate", "silu"),  # x sigmoid(x), which grows with x > 0
    step("Greater", "silu least", "white"),
    step("Cast", "white", "mask", to=FLOAT),
  ]
  ends = []
  for axis, other, name in ((3, 2, "x"), (2, 3, "y")):
    steps += [
      step("ReduceMax", "mask", f"{name}any", axes=[1, other], keepdims=0),
      step("ArgMax", f"{name}any", f"{name}0", axis=1, keepdims=1),
      step(
        *("ArgMax", f"{name}any", f"{name}9"),
        **{"axis": 1, "keepdims": 1, "select_last_index": 1},
      ),
      step("Add", f"{name}9 one", f"{name}1"),
    ]
    ends += [f"{name}0", f"{name}1"]
    del axis
  steps += [
    step("Concat", "x0 y0 x1 y1", "whole", axis=1),
    step("Cast", "whole", "edges", to=FLOAT),
    step("ReduceMax", "mask", "found", axes=[1, 2, 3], keepdims=0),
    step("Reshape", "found pair", "score"),
    step("Concat", "edges score", "row", axis=1),
    step("Reshape", "row triple", "person"),
    step("Concat", "person nobody", first, axis=1),
    step("Identity", "classes", second),
  ]
  constants = {
    "mean3": np.full((1, 3, 1, 1), 1 / 3),
    "least": np.array([2 / (1 + np.exp(-2))]),
    "one": np.array([1]),
    "pair": np.array([1, 1]),
    "triple": np.array([1, 1, 5]),
    "nobody": np.zeros((1, 1, 5)),
    "classes": np.array([[label, label]]),
  }
  return model(
    steps,
    constants,
    [("input", FLOAT, shape)],
    [(first, FLOAT, ("b", "n", 5)), (second, INT64, ("b", "n"))],
  )


@pytest.fixture
def runtime():
  return pytest.importorskip(
    "onnxruntime", reason="ONNX Runtime (extra `detect`) is not installed"
  )


@pytest.fixture
def detector(tmp_path, runtime):
  """A function from the bytes of a model to its detector."""

  def opened(data, name="people.onnx", prefix="", **options):
    path = tmp_path / name
    path.write_bytes(data)
    return detectors.open_detector(f"{prefix}{path}", **options)

  return opened


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("classes", [1, 80])
def test_yolox_finds_blue_cells(detector, raw, classes):
  # 130x190 becomes 64x94 (round(93.5)): cells are 130/64 and 190/94 as large.
  find = detector(yolox(raw=raw, classes=classes))
  frame = np.zeros((130, 190, 3), np.uint8)
  wide, high = 190 / 94, 130 / 64
  wanted = []
  for x, y, blue in ((2, 1, 255), (9, 6, 200)):
    edges = np.array([8 * x * wide, 8 * y * high, 8 * (x + 1) * wide])
    box = [*edges, 8 * (y + 1) * high]
    low, top, right, bottom = (round(v) for v in box)
    frame[top:bottom, low:right, 2] = blue
    wanted.append([v - 0.5 for v in box])
  found = find(frame)
  np.testing.assert_allclose(found.boxes, wanted, atol=1e-3)
  np.testing.assert_allclose(found.scores, [0.9, 0.9 * 200 / 255], atol=1e-5)


def test_yolox_takes_no_red_for_blue(detector):
  frame = np.zeros((64, 96, 3), np.uint8)
  frame[..., :2] = 255
  found = detector(yolox())(frame)
  assert found.boxes.shape == (0, 4)
  assert found.scores.shape == (0,)
  assert found.boxes.dtype == found.scores.dtype == np.float32


def test_yolox_neighbours_stay_two_people(detector):
  frame = np.zeros((64, 96, 3), np.uint8)
  frame[8:16, 16:32, 2] = 255
  found = detector(yolox())(frame)
  np.testing.assert_allclose(
    found.boxes, [[15.5, 7.5, 23.5, 15.5], [23.5, 7.5, 31.5, 15.5]], atol=1e-4
  )


@pytest.mark.parametrize("picture", [(64, 96), (131, 197), (197, 83), (48, 96)])
def test_rtmdet_finds_what_is_white(detector, picture):
  find = detector(rtmdet())
  height, width = picture
  box = [round(0.2 * width), round(0.3 * height)]
  box += [round(0.7 * width), round(0.9 * height)]
  frame = np.full((height, width, 3), 60, np.uint8)
  frame[box[1] : box[3], box[0] : box[2]] = 255
  found = find(frame)
  # Within a pixel of the input, to which the network rounds.
  pixel = max(height / 64, width / 96)
  np.testing.assert_allclose(
    found.boxes, [[edge - 0.5 for edge in box]], atol=1.05 * pixel
  )
  np.testing.assert_array_equal(found.scores, np.array([1], np.float32))


def test_rtmdet_at_its_own_size_is_exact(detector):
  frame = np.full((64, 96, 3), 60, np.uint8)
  frame[11:53, 17:71] = 255
  found = detector(rtmdet())(frame)
  np.testing.assert_array_equal(found.boxes, [[16.5, 10.5, 70.5, 52.5]])


@pytest.mark.parametrize(("grey", "count"), [(220, 0), (235, 1)])
def test_rtmdet_gets_normalised_pixels(detector, grey, count):
  # (255 - mean) / std on average over B, G, R, as the model's docstring says.
  frame = np.full((64, 96, 3), grey, np.uint8)
  assert len(detector(rtmdet())(frame).scores) == count


def test_rtmdet_knows_blue_from_red(detector):
  """At 255, a plane alone is (2.64, 2.43, 2.25) for B, G, R."""
  find = detector(rtmdet())
  mean, std = np.array([103.53, 116.28, 123.675]), [57.375, 57.12, 58.395]
  for blue, red in ((200, 255), (255, 200)):
    frame = np.full((64, 96, 3), 240, np.uint8)
    frame[..., 2], frame[..., 0] = blue, red
    value = np.mean((np.array([blue, 240, red]) - mean) / std)
    assert len(find(frame).scores) == (value > 2)


def test_people_only(detector):
  frame = np.full((64, 96, 3), 255, np.uint8)
  assert len(detector(rtmdet())(frame).scores) == 1
  assert len(detector(rtmdet(label=2))(frame).scores) == 0


def test_an_open_size_is_640(detector):
  find = detector(rtmdet(shape=("b", 3, "h", "w")))
  assert find.protocol()["detector_size"] == [640, 640]
  frame = np.full((480, 640, 3), 60, np.uint8)
  frame[101:307, 211:503] = 255
  np.testing.assert_array_equal(
    find(frame).boxes, [[210.5, 100.5, 502.5, 306.5]]
  )


def test_outputs_in_the_other_order(detector, tmp_path, runtime):
  frame = np.full((64, 96, 3), 60, np.uint8)
  frame[11:53, 17:71] = 255
  plain = rtmdet()
  # The same with labels before dets.
  dets = field(12, value("dets", FLOAT, ("b", "n", 5)))
  labels = field(12, value("labels", INT64, ("b", "n")))
  assert dets + labels in plain
  found = detector(plain.replace(dets + labels, labels + dets))(frame)
  np.testing.assert_array_equal(found.boxes, [[16.5, 10.5, 70.5, 52.5]])


def test_what_the_protocol_says(detector):
  data = yolox()
  find = detector(data, name="mine.onnx", threshold=0.4)
  assert find.name == "mine.onnx"
  assert find.protocol() == {
    "detector": "mine.onnx",
    "detector_kind": "yolox",
    "detector_weights": f"sha256:{hashlib.sha256(data).hexdigest()}",
    "detector_threshold": 0.4,
    "detector_overlap": 0.65,
    "detector_size": [64, 96],
  }


def test_kinds_are_recognised_by_what_they_do_first(detector):
  assert detector(yolox()).protocol()["detector_kind"] == "yolox"
  assert detector(rtmdet()).protocol()["detector_kind"] == "rtmdet"


def test_the_kind_can_be_stated(detector):
  data = yolox(begin="Identity")
  with pytest.raises(ValueError, match="begins with Identity; where you know"):
    detector(data)
  find = detector(data, prefix="yolox:")
  assert find.protocol()["detector_kind"] == "yolox"
  assert find.protocol()["detector"] == "people.onnx"


@pytest.mark.parametrize(
  ("data", "match"),
  [
    (b"", "no graph with nodes"),
    (b"\xff\xd8\xff\xe0 a picture", "not an ONNX model"),
    (yolox()[:-40], "cut off"),
    (yolox(classes=3), r"\(126, 8\) are no rows of YOLOX's grids on 96x64"),
    (rtmdet(names="boxes labels"), "neither a YOLOX nor an RTMDet"),
    (rtmdet(shape=(1, 1, *SIZE)), "neither|does not run|not a model"),
    (rtmdet(shape=(1, 3, 63, 96)), "neither a YOLOX nor an RTMDet"),
  ],
)
def test_other_files_are_refused(detector, data, match):
  with pytest.raises(ValueError, match=match) as caught:
    detector(data)
  assert "people.onnx" in str(caught.value)
  assert "\n" not in str(caught.value)


def test_no_such_file(tmp_path, runtime):
  with pytest.raises(ValueError, match=r"gone\.onnx: cannot be read"):
    detectors.open_detector(str(tmp_path / "gone.onnx"))


def notes(**normalize):
  steps = [{"type": "Resize"}, {"type": "Normalize", **normalize}]
  return {"pipeline": {"tasks": [{"name": "pre", "transforms": steps}]}}


def test_mmdeploys_notes_are_held_against_the_kind(detector, tmp_path):
  path = tmp_path / "pipeline.json"
  own = {"mean": [103.53, 116.28, 123.675], "std": [57.375, 57.12, 58.395]}
  path.write_text(json.dumps(notes(**own, to_rgb=False)))
  detector(rtmdet())
  for other in (
    {**own, "to_rgb": True},
    {"mean": [0, 0, 0], "std": [255, 255, 255], "to_rgb": False},
    {"to_rgb": False},
  ):
    path.write_text(json.dumps(notes(**other)))
    with pytest.raises(ValueError, match=r"pipeline\.json: pictures are norm"):
      detector(rtmdet())
  path.write_text(json.dumps(notes(mean=[0, 0, 0], std=[1, 1, 1])))
  detector(yolox())


def test_without_onnx_runtime(tmp_path, monkeypatch):
  monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
  path = tmp_path / "people.onnx"
  path.write_bytes(yolox())
  with pytest.raises(ValueError, match=r"install 'diffpose-jax\[detect\]'"):
    detectors.open_detector(str(path))


# What follows is played and needs no ONNX Runtime.


@dataclasses.dataclass
class Tensor:
  name: str
  shape: Any
  type: str = "tensor(float)"


class Played:
  """A session that gives the same whatever it is shown."""

  def __init__(self, *outputs, names=("dets", "labels"), shape=(1, 3, *SIZE)):
    self.given, self.names, self.shape = outputs, names, shape
    self.shown = []

  def get_inputs(self):
    return [Tensor("input", list(self.shape))]

  def get_outputs(self):
    return [Tensor(name, ["b", "n"]) for name in self.names]

  def run(self, names, feed):
    self.shown.append(feed["input"])
    if names is None:
      return list(self.given)
    return [self.given[self.names.index(name)] for name in names]


def recognised(session, beginning="conv silu", kind=None):
  return onnx_detector.recognise(
    session, beginning, kind=kind, place="x.onnx", sha256="0"
  )


def ended(*rows, labels=None):
  rows = np.array(rows, np.float32).reshape(1, -1, 5)
  if labels is None:
    labels = np.zeros(rows.shape[1], int)
  return rows, np.asarray(labels, np.int64)[None]


def test_rtmdet_rows_come_back_to_the_picture():
  # 97x211 becomes 44x96.
  session = Played(*ended([0, 0, 96, 44, 0.9], [24, 11, 48, 22, 0.2]))
  find = onnx_detector.OnnxDetector(
    recognised(session), name="played", threshold=0.15
  )
  found = find(np.zeros((97, 211, 3), np.uint8))
  wanted = np.array([[0, 0, 211, 97], [211 / 4, 97 / 4, 211 / 2, 97 / 2]])
  np.testing.assert_allclose(found.boxes, wanted - 0.5, atol=1e-4)
  np.testing.assert_array_equal(found.scores, np.array([0.9, 0.2], np.float32))


def test_pixels_are_normalised_as_rtmdet_was_trained():
  session = Played(*ended())
  find = onnx_detector.OnnxDetector(recognised(session), name="played")
  frame = np.zeros((64, 96, 3), np.uint8)
  frame[..., 0], frame[..., 1], frame[..., 2] = 10, 20, 30
  assert find(frame).boxes.shape == (0, 4)
  shown = session.shown[-1][0, :, 0, 0]
  wanted = [(30 - 103.53) / 57.375, (20 - 116.28) / 57.12]
  wanted += [(10 - 123.675) / 58.395]
  np.testing.assert_allclose(shown, wanted, rtol=1e-6)
  assert session.shown[-1].dtype == np.float32


def test_pixels_are_left_alone_for_yolox():
  session = Played(np.zeros((1, CELLS, 85), np.float32), names=("output",))
  network = recognised(session, beginning="slices")
  find = onnx_detector.OnnxDetector(network, name="played")
  frame = np.full((64, 96, 3), 201, np.uint8)
  find(frame)
  np.testing.assert_array_equal(session.shown[-1], np.float32(201))


def test_overlapping_rows_of_one_person_become_one_box():
  session = Played(
    *ended([10, 10, 50, 60, 0.8], [11, 10, 50, 60, 0.9], [60, 5, 90, 60, 0.7])
  )
  find = onnx_detector.OnnxDetector(recognised(session), name="played")
  found = find(np.zeros((64, 96, 3), np.uint8))
  np.testing.assert_array_equal(found.scores, np.array([0.9, 0.7], np.float32))


def test_broken_weights_are_told():
  session = Played(*ended([10, 10, np.nan, 60, 0.8]))
  find = onnx_detector.OnnxDetector(recognised(session), name="played")
  with pytest.raises(ValueError, match=r"x\.onnx: boxes .* not finite; the w"):
    find(np.zeros((64, 96, 3), np.uint8))


@pytest.mark.parametrize(
  ("session", "match"),
  [
    (Played(*ended(), shape=(1, 64, 96, 3)), "neither a YOLOX nor an RTMDet"),
    (Played(*ended(), names=("dets", "labels", "masks")), "neither"),
    (Played(*ended(), shape=(2, 3, *SIZE)), "neither"),
    (Played(np.zeros((1, 7, 4)), np.zeros((1, 7), int)), r"dets \(7, 4\)"),
    (Played(np.zeros((1, 7, 5)), np.zeros((1, 7))), "labels .* of float64"),
    (Played(np.zeros((1, 7, 5)), np.zeros((1, 6), int)), r"labels \(6,\)"),
    (Played(np.zeros((2, 7, 5)), np.zeros((2, 7), int)), "for one picture"),
  ],
)
def test_other_outputs_are_refused(session, match):
  with pytest.raises(ValueError, match=match) as caught:
    recognised(session)
  assert "x.onnx" in str(caught.value)


def test_what_was_found_is_told():
  session = Played(names=("num_dets", "boxes"))
  with pytest.raises(ValueError, match="neither") as caught:
    recognised(session, beginning="Transpose")
  assert str(caught.value) == (
    "x.onnx: neither a YOLOX nor an RTMDet as known here: input (float) [1, 3, "
    "64, 96] -> num_dets (float) [b, n], boxes (float) [b, n], which begins with "
    "Transpose; where you know which it is, say --detector=yolox:FILE or "
    "rtmdet:FILE"
  )


def test_the_written_files_are_read_as_what_they_are():
  steps = graph_lib.nodes(yolox())
  assert graph_lib.beginning(steps, "images") == "slices"
  steps = graph_lib.nodes(rtmdet())
  assert graph_lib.beginning(steps, "input") == "conv silu"
