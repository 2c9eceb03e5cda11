"""YOLOX and RTMDet as ONNX files, run by ONNX Runtime on the CPU.

Of both the exports as their projects make them: YOLOX's single output with a
row for each cell of its grids, decoded or not, and MMDeploy's `dets` and
`labels`, which have been through non-maximum suppression.
"""

import dataclasses
import hashlib
import pathlib
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from diffpose_jax.data import strict_json
from diffpose_jax.inference import detection, letterbox, onnx_graph, yolo_boxes

Kind = Literal["yolox", "rtmdet"]
KINDS: tuple[Kind, ...] = ("yolox", "rtmdet")
SIDE = 640  # of the square input, where the model leaves it open
_LARGEST = 1 << 30  # bytes of a model
_STEP = 32  # pixels that must divide an input's sides
_OVERLAP = 0.65  # as both were evaluated on COCO
# Mean and standard deviation of RTMDet's input, BGR; YOLOX takes 0 to 255.
_MEAN, _STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)


@runtime_checkable
class Session(Protocol):
  """What is used of onnxruntime.InferenceSession."""

  def get_inputs(self) -> list[Any]: ...  # noqa: D102
  def get_outputs(self) -> list[Any]: ...  # noqa: D102
  def run(self, names: Any, feed: dict[str, np.ndarray]) -> list[Any]: ...  # noqa: D102


@dataclasses.dataclass(frozen=True)
class Network:
  """A detector's network and what is known of it."""

  session: Session
  kind: Kind
  place: str  # file, for messages
  sha256: str
  input: str
  size: tuple[int, int]  # (height, width) of the input
  grid: np.ndarray | None = None  # cells of each row, of YOLOX without NMS
  raw: bool = False  # whether its rows are still to be decoded

  def outputs(self, tensor: Float32[np.ndarray, "1 3 H W"]) -> list[np.ndarray]:
    """What comes out for BGR planes of 0 to 255, without the batch axis."""
    if self.kind == "rtmdet":
      mean, std = (
        np.array(v, np.float32).reshape(1, 3, 1, 1) for v in (_MEAN, _STD)
      )
      tensor = (tensor - mean) / std
    found = self.session.run(None, {self.input: tensor})
    arrays = [np.asarray(array) for array in found]
    if any(not array.shape or len(array) != 1 for array in arrays):
      shapes = ", ".join(str(array.shape) for array in arrays)
      raise ValueError(f"{self.place}: gives {shapes} for one picture")
    # Whole numbers come as NumPy's longlong, which is another name of int64.
    return [
      a[0].astype(np.int64) if a.dtype.kind == "i" else a[0] for a in arrays
    ]


class OnnxDetector:
  """The people that a network of either kind sees."""

  def __init__(
    self, network: Network, *, name: str, threshold: float = 0.3
  ) -> None:
    """Takes what `load` gives.

    Args:
      network: loaded and recognised.
      name: what the user called it.
      threshold: least score of a person.
    """
    self._network, self._name = network, name
    self._threshold = threshold

  @property
  def name(self) -> str:
    """What the user called it."""
    return self._name

  def protocol(self) -> dict[str, Any]:
    """Name, kind, hash of the weights, threshold, size of the input."""
    return {
      "detector": self._name,
      "detector_kind": self._network.kind,
      "detector_weights": f"sha256:{self._network.sha256}",
      "detector_threshold": self._threshold,
      "detector_overlap": _OVERLAP,
      "detector_size": list(self._network.size),
    }

  def __call__(self, frame: UInt8[np.ndarray, "h w 3"]) -> detection.Detections:
    """The people of an RGB frame, best first."""
    network, size = self._network, (frame.shape[0], frame.shape[1])
    fitted = letterbox.Letterbox.fit(size, network.size)
    outputs = network.outputs(fitted.tensor(frame))
    if network.grid is None:
      boxes, scores = yolo_boxes.ended(*outputs)
    else:
      boxes, scores = yolo_boxes.yolox(
        outputs[0], network.grid, raw=network.raw, threshold=self._threshold
      )
    try:
      return detection.select(
        fitted.to_picture(boxes),
        scores,
        size=size,
        threshold=self._threshold,
        overlap=_OVERLAP,
      )
    except ValueError as error:
      raise ValueError(
        f"{network.place}: {error}; the weights are broken, take others"
      ) from error


def load(path: pathlib.Path, *, kind: Kind | None = None) -> Network:
  """The network of an ONNX file, looked at and tried on a grey picture.

  Args:
    path: the file.
    kind: which it is; None: as its outputs and first steps show.

  Raises:
    ValueError: ONNX Runtime is not installed, there is no such file, it is no
      model of either kind, or of one that cannot be told; names what was found.
  """
  runtime = _runtime()
  try:
    if path.stat().st_size > _LARGEST:
      raise ValueError(f"{path}: above {_LARGEST >> 20} MiB; no such detector")
    model = path.read_bytes()
  except OSError as error:
    raise ValueError(
      f"{path}: cannot be read ({error.strerror}); give the ONNX file of a "
      "YOLOX or RTMDet"
    ) from None
  try:
    steps = onnx_graph.nodes(model)
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # it is said here instead
    session = runtime.InferenceSession(
      model, options, providers=["CPUExecutionProvider"]
    )
  except Exception as error:  # its exceptions have no base class of their own
    reason = " ".join(str(error).split())[:300]
    raise ValueError(f"{path}: not a model that runs here: {reason}") from error
  digest = hashlib.sha256(model).hexdigest()
  beginning = onnx_graph.beginning(steps, session.get_inputs()[0].name)
  network = recognise(
    session, beginning, kind=kind, place=str(path), sha256=digest
  )
  _check_pipeline(path, network.kind)
  return network


def _runtime() -> Any:
  try:
    import onnxruntime  # pyright: ignore[reportMissingImports]
  except ImportError as error:
    raise ValueError(
      f"a detector of an ONNX file needs ONNX Runtime ({error}): install "
      "'diffpose-jax[detect]', or take --detector=hog, or give boxes"
    ) from None
  return onnxruntime


def recognise(
  session: Session,
  beginning: str,
  *,
  kind: Kind | None,
  place: str,
  sha256: str,
) -> Network:
  """What a session runs, tried on a grey picture; errors as `load` says.

  `beginning` is that of `onnx_graph`.
  """
  inputs, outputs = session.get_inputs(), session.get_outputs()
  names = [output.name for output in outputs]
  known = {"slices": "yolox", "conv silu": "rtmdet"}
  kind = kind or known.get(beginning)  # pyright: ignore[reportAssignmentType]
  found = (
    f"{', '.join(_described(i) for i in inputs)} -> "
    f"{', '.join(_described(o) for o in outputs)}, which begins with {beginning}"
  )
  size = _input_size(inputs)
  ends = sorted(names) == ["dets", "labels"]
  if (
    size is None or not kind or not (ends or (kind, len(names)) == ("yolox", 1))
  ):
    raise ValueError(
      f"{place}: neither a YOLOX nor an RTMDet as known here: {found}; where "
      "you know which it is, say --detector=yolox:FILE or rtmdet:FILE"
    )
  network = Network(session, kind, place, sha256, inputs[0].name, size)
  grey = letterbox.Letterbox.fit(size, size).tensor(
    np.full((*size, 3), 114, np.uint8)
  )
  try:
    tried = network.outputs(grey)
  except Exception as error:
    reason = " ".join(str(error).split())[:300]
    raise ValueError(f"{place}: does not run: {reason}") from error
  if ends:
    return _ended(network, names, tried)
  return _gridded(network, tried[0], found)


def _described(tensor: Any) -> str:
  shape = ", ".join(str(side) for side in tensor.shape or ())
  return f"{tensor.name} {tensor.type.removeprefix('tensor')} [{shape}]"


def _input_size(inputs: list[Any]) -> tuple[int, int] | None:
  """(height, width) that the only input has or may have; None: no picture."""
  if len(inputs) != 1 or inputs[0].type != "tensor(float)":
    return None
  shape = list(inputs[0].shape)
  if len(shape) != 4 or shape[1] != 3:
    return None
  if isinstance(shape[0], int) and shape[0] != 1:
    return None
  height, width = (
    side if isinstance(side, int) else SIDE for side in shape[2:]
  )
  if min(height, width) < _STEP or height % _STEP or width % _STEP:
    return None
  return height, width


def _ended(
  network: Network, names: list[str], tried: list[np.ndarray]
) -> Network:
  """The network with its outputs known to be boxes and labels, in any order."""
  dets, labels = (tried[names.index(name)] for name in ("dets", "labels"))
  shapes = dets.ndim == 2 and dets.shape[1] == 5 and labels.ndim == 1
  if not shapes or len(dets) != len(labels) or labels.dtype.kind != "i":
    raise ValueError(
      f"{network.place}: dets {dets.shape} and labels {labels.shape} of "
      f"{labels.dtype} are not rows of x1, y1, x2, y2, score with a class each"
    )
  if names != ["dets", "labels"]:
    session = _Ordered(network.session)
    return dataclasses.replace(network, session=session)
  return network


class _Ordered:
  """A session that gives dets before labels."""

  def __init__(self, session: Session) -> None:
    self._session = session
    self.get_inputs = session.get_inputs
    self.get_outputs = session.get_outputs

  def run(self, names: Any, feed: dict[str, np.ndarray]) -> list[Any]:
    del names
    return self._session.run(["dets", "labels"], feed)


def _gridded(network: Network, tried: np.ndarray, found: str) -> Network:
  """The network with the cells of its rows, and whether they are decoded."""
  grid = None
  if tried.ndim == 2 and tried.shape[1] - 5 in yolo_boxes.CLASSES:
    grid = yolo_boxes.cells(network.size, len(tried))
  if grid is None:
    raise ValueError(
      f"{network.place}: {tried.shape} are no rows of YOLOX's grids on "
      f"{network.size[1]}x{network.size[0]} pixels with a box, a score, and "
      f"{' or '.join(map(str, yolo_boxes.CLASSES))} classes: {found}"
    )
  raw = yolo_boxes.is_raw(tried, grid)
  return dataclasses.replace(network, grid=grid, raw=raw)


def _check_pipeline(path: pathlib.Path, kind: Kind) -> None:
  """Raises ValueError where MMDeploy's notes beside the file say otherwise."""
  notes = path.with_name("pipeline.json")
  if not notes.is_file():
    return
  means, stds = ([0, 0, 0], [1, 1, 1]) if kind == "yolox" else (_MEAN, _STD)
  for step in _transforms(strict_json.load(notes)):
    if step.get("type") != "Normalize":
      continue
    stated = step.get("mean"), step.get("std"), step.get("to_rgb", False)
    same = stated[2] is False and all(
      isinstance(own, list) and len(own) == 3 and np.allclose(own, ours)
      for own, ours in zip(stated, (means, stds), strict=False)
    )
    if not same:
      raise ValueError(
        f"{notes}: pictures are normalised by mean {stated[0]}, std {stated[1]}, "
        f"to_rgb {stated[2]}, and so {path.name} is no {kind} as known here; "
        f"those take BGR by mean {list(means)}, std {list(stds)}"
      )


def _transforms(node: Any) -> list[dict[str, Any]]:
  """All objects in the lists called `transforms`, at any depth."""
  if isinstance(node, list):
    return [found for item in node for found in _transforms(item)]
  if not isinstance(node, dict):
    return []
  own = [s for s in node.get("transforms", ()) if isinstance(s, dict)]
  return own + [f for value in node.values() for f in _transforms(value)]
