"""Heatmaps as a glow over pictures: over a crop, or laid back into its frame.

Heatmap cell i lies at crop coordinate i * stride + (stride - 1) / 2, the stride
being the crop's size over the heatmap's. Levels are 255 times the root of heat,
rounded: in the heat itself its lowest steps would be seen.
"""

import functools

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from diffpose_jax.pose import geometry

_FINER = 4  # OpenCV warps to 1/32 of a pixel, which of a cell is too coarse


def levels(heat: Float[np.ndarray, "y x"]) -> UInt8[np.ndarray, "y x"]:
  """Levels of heat in [0, 1]; what is outside is clipped."""
  return cv2.convertScaleAbs(np.sqrt(np.maximum(heat, 0)), alpha=255)


def glow(
  picture: UInt8[np.ndarray, "h w 3"],
  level: UInt8[np.ndarray, "h w"],
  *,
  opacity: float = 0.7,
) -> None:
  """Paints heat into a picture: dark violet where little, to yellow at 1.

  Args:
    picture: RGB, changed.
    level: of the heat.
    opacity: of the colour where the heat is 1; it is in proportion to levels.
  """
  colour, rest = _tables(opacity)
  under = cv2.multiply(picture, cv2.applyColorMap(level, rest), scale=1 / 255)
  picture[:] = cv2.add(under, cv2.applyColorMap(level, colour))


@functools.cache
def _tables(opacity: float) -> tuple[np.ndarray, np.ndarray]:
  """Of each level: the colour's part of a pixel, and what is left of it.

  Each (256, 1, 3), RGB; 255 of the latter leaves the picture as it is.
  """
  root = np.arange(256) / 255
  heat = np.rint(255 * root**2).astype(np.uint8)
  colour = cv2.applyColorMap(heat, cv2.COLORMAP_INFERNO)[..., ::-1]
  alpha = opacity * root[:, None, None]
  rest = np.broadcast_to(255 * (1 - alpha), colour.shape)
  return np.rint(colour * alpha).astype(np.uint8), np.rint(rest).astype(
    np.uint8
  )


def place(
  heat: UInt8[np.ndarray, "y x"],
  to_picture: Float[np.ndarray, "2 3"],
  *,
  crop: tuple[int, int],
  picture: tuple[int, int],
) -> tuple[tuple[slice, slice], UInt8[np.ndarray, "_ _"]]:
  """Where in a picture the heat of a crop lies, and its levels there.

  The rows and columns are those of the picture that the crop covers; both are
  empty where it lies outside.

  Args:
    heat: 255 stands for 1.
    to_picture: affine from the crop, in pixels.
    crop: (height, width).
    picture: (height, width).
  """
  rows, columns = (size * _FINER for size in heat.shape)
  whole = heat.astype(np.float32) / 255
  fine = levels(
    cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_CUBIC)
  )
  stride = np.array([crop[1] / columns, crop[0] / rows])
  to_crop = np.concatenate([np.diag(stride), (stride - 1)[:, None] / 2], axis=1)
  affine = geometry.compose(to_picture, to_crop)
  corners = np.array([[0, 0], [columns, 0], [0, rows], [columns, rows]]) - 0.5
  reached = geometry.apply(affine, corners)
  bounds = np.array(picture[::-1])
  low = np.clip(np.ceil(reached.min(axis=0)), 0, bounds).astype(int)
  high = np.clip(np.floor(reached.max(axis=0)) + 1, low, bounds).astype(int)
  where = (slice(low[1], high[1]), slice(low[0], high[0]))
  size = (int(high[0] - low[0]), int(high[1] - low[1]))
  if 0 in size:
    return where, np.zeros(size[::-1], np.uint8)
  affine[:, 2] -= low
  return where, cv2.warpAffine(fine, affine, size, flags=cv2.INTER_LINEAR)
