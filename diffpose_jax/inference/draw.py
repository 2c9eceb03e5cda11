"""Poses and heatmaps painted on pictures, as pure functions.

Pictures are RGB uint8; every function returns a new one. Joints are (x, y)
with pixel centres at integer coordinates.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from diffpose_jax.inference import heat, paint
from diffpose_jax.pose import skeleton as skeleton_lib


def pose(
  image: UInt8[np.ndarray, "h w 3"],
  joints: Float[np.ndarray, "k 2"],
  score: Float[np.ndarray, "k"],
  *,
  skeleton: skeleton_lib.Skeleton,
  threshold: float = 0.2,
  width: float | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
  """The picture with one person's limbs and joints, see `paint.pose`.

  Joints that score below the threshold, in [0, 1], are left out.
  """
  image = image.copy()
  shown = score >= threshold
  paint.pose(image, joints, shown, skeleton=skeleton, width=width)
  return image


def thin_pose(
  image: UInt8[np.ndarray, "h w 3"],
  joints: Float[np.ndarray, "k 2"],
  labelled: Bool[np.ndarray, "k"],
  *,
  skeleton: skeleton_lib.Skeleton,
) -> UInt8[np.ndarray, "h w 3"]:
  """The picture with a thin white skeleton, as of the truth over a prediction.

  Joints that are not labelled, and their limbs, are left out.
  """
  image = image.copy()
  paint.thin_pose(image, joints, labelled, skeleton=skeleton)
  return image


def heatmap(
  image: UInt8[np.ndarray, "h w 3"],
  heatmaps: Float[np.ndarray, "y x k"],
  *,
  opacity: float = 0.7,
) -> UInt8[np.ndarray, "h w 3"]:
  """The picture under its heatmaps: where any joint is likely, it glows.

  Cell i lies at i * stride + (stride - 1) / 2, which is how `cv2.resize`
  aligns two pictures.

  Args:
    image: crop that the heatmaps belong to.
    heatmaps: in [0, 1], what is outside is clipped.
    opacity: of the colour where the heatmap is 1.
  """
  image = image.copy()
  size = image.shape[1::-1]
  most = heatmaps.max(axis=2).astype(np.float32)
  most = cv2.resize(most, size, interpolation=cv2.INTER_LINEAR)
  heat.glow(image, heat.levels(most), opacity=opacity)
  return image


def tile(
  images: list[np.ndarray], columns: int, *, gap: int = 4, ground: int = 24
) -> UInt8[np.ndarray, "h w 3"]:
  """One picture of several in rows; smaller ones are centred in their cell.

  Raises ValueError where there are no pictures.
  """
  if not images:
    raise ValueError("no pictures to tile")
  columns = min(columns, len(images))
  height = max(image.shape[0] for image in images)
  width = max(image.shape[1] for image in images)
  rows = -(-len(images) // columns)
  shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
  sheet = np.full(shape, ground, np.uint8)
  for index, image in enumerate(images):
    row, column = divmod(index, columns)
    y = row * (height + gap) + (height - image.shape[0]) // 2
    x = column * (width + gap) + (width - image.shape[1]) // 2
    sheet[y : y + image.shape[0], x : x + image.shape[1]] = image
  return sheet
