"""One picture for each experiment."""

import pathlib
from collections.abc import Sequence
from typing import Any

import cv2
import matplotlib
import numpy as np
from jaxtyping import Float, UInt8

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_BLUE, _ORANGE = "#2b6cb0", "#dd6b20"


def write(content: dict[str, Any], path: pathlib.Path) -> None:
  """Writes the picture of a result as SVG."""
  options: Any = {"svg.hashsalt": content["name"], "font.size": 9}
  with plt.rc_context(options):
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    draw = _sampling if "sampling" in content else _rows
    for axis, cut in zip(axes, ("all", "hard"), strict=True):
      if cut in content["joints"]:
        draw(axis, content, cut)
        axis.set_title(f"{cut} joints", fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
      else:
        axis.set_axis_off()
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)


def _rows(axis, content: dict[str, Any], cut: str) -> None:
  """AP of each row, its interval, and each run."""
  rows = content["rows"]
  for place, row in enumerate(rows):
    mean, low, high = row["ap"][cut]
    colour = _ORANGE if row["name"] == content["reference"] else _BLUE
    axis.plot([low, high], [place, place], color=colour, linewidth=2)
    axis.plot(mean, place, "o", color=colour)
    single = [run["ap"][cut] for run in row["runs"]]
    axis.plot(single, [place] * len(single), "|", color="black", markersize=8)
  axis.set_yticks(range(len(rows)), [row["name"] for row in rows])
  axis.invert_yaxis()
  axis.set_xlabel("AP, 95 % interval")


def _sampling(axis, content: dict[str, Any], cut: str) -> None:
  """AP over evaluations of the decoder, a line for each number of steps."""
  ones = [o for o in content["sampling"] if o["merged"] in ("one", "mean")]
  for steps in sorted({one["steps"] for one in ones}):
    line = sorted(
      (steps * one["samples"], one["ap"][cut])
      for one in ones
      if one["steps"] == steps
    )
    axis.plot(*zip(*line, strict=True), "o-", label=f"{steps}", markersize=3)
  axis.set_xscale("log", base=2)
  axis.set_xlabel("evaluations of the decoder, 1, 2, 4 … samples")
  axis.set_ylabel("AP")
  axis.legend(title="steps", frameon=False, fontsize=8)


def coloured(
  values: Float[np.ndarray, "y x"],
  size: tuple[int, int],
) -> UInt8[np.ndarray, "h w 3"]:
  """A map in [0, 1] as an RGB picture of (width, height), cells as squares."""
  grey = np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)
  large = cv2.resize(grey, size, interpolation=cv2.INTER_NEAREST)
  return cv2.applyColorMap(large, cv2.COLORMAP_VIRIDIS)[..., ::-1]


def headed(
  picture: UInt8[np.ndarray, "h w 3"], heads: Sequence[str]
) -> UInt8[np.ndarray, "_ w 3"]:
  """A picture with a heading above each of its equal columns."""
  bar = np.full((24, picture.shape[1], 3), 255, np.uint8)
  for place, head in enumerate(heads):
    x = place * picture.shape[1] // len(heads) + 4
    cv2.putText(
      bar,
      head,
      (x, 17),
      cv2.FONT_HERSHEY_SIMPLEX,
      0.42,
      (0, 0, 0),
      1,
      cv2.LINE_AA,
    )
  return np.concatenate([bar, picture])
