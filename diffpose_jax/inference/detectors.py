"""The detector that a user names: `hog`, fetched weights, or an ONNX file."""

import pathlib
from typing import Any

from diffpose_jax.inference import (
  detection,
  detector_weights,
  hog,
  onnx_detector,
)


def open_detector(
  name: str, *, threshold: float | None = None
) -> detection.Detector:
  """The detector of a name.

  Args:
    name: `hog` (OpenCV's, weak, nothing to fetch); a name of
      `detector_weights.PUBLISHED`, once fetched; or an ONNX file of a YOLOX or
      RTMDet, after `yolox:` or `rtmdet:` where it does not show which it is.
    threshold: least score; the detector's own by default.

  Raises:
    ValueError: no such detector or file, or it cannot be used; says why.
  """
  given: dict[str, Any] = {} if threshold is None else {"threshold": threshold}
  if name == hog.Hog.name:
    return hog.Hog(**given)
  if name in detector_weights.PUBLISHED:
    published = detector_weights.published(name)
    network = onnx_detector.load(
      detector_weights.find(name), kind=published.kind
    )
    return onnx_detector.OnnxDetector(network, name=name, **given)
  kind: onnx_detector.Kind | None = None
  file = name
  for known in onnx_detector.KINDS:
    if name.startswith(f"{known}:"):
      kind, file = known, name.removeprefix(f"{known}:")
  path = pathlib.Path(file)
  if path.suffix.lower() != ".onnx":
    raise ValueError(
      f"no detector {name!r}; there are {hog.Hog.name}, "
      f"{', '.join(detector_weights.PUBLISHED)} (once fetched), and any YOLOX "
      "or RTMDet as FILE.onnx"
    )
  network = onnx_detector.load(path, kind=kind)
  return onnx_detector.OnnxDetector(network, name=path.name, **given)
