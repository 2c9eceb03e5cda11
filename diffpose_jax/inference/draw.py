"""Poses, boxes and heatmaps painted on pictures, as pure functions.

Pictures are RGB uint8; every function returns a new one. Joints are (x, y)
with pixel centres at integer coordinates, and are painted to 1/16 pixel.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from diffpose_jax.pose import skeleton as skeleton_lib

# Told apart by most colour-blind people too, and from most surroundings.
LEFT = (255, 149, 0)
RIGHT = (56, 142, 255)
MIDDLE = (86, 210, 120)
OUTLINE = (20, 20, 24)
_LABEL = (245, 245, 245)
_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


def pose(
  image: UInt8[np.ndarray, "h w 3"],
  joints: Float[np.ndarray, "k 2"],
  score: Float[np.ndarray, "k"],
  *,
  skeleton: skeleton_lib.Skeleton,
  threshold: float = 0.2,
  width: float | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
  """The picture with one person's limbs and joints.

  The person's left is orange, the right blue, what belongs to both green.

  Args:
    image: RGB.
    joints: in the picture's pixels; may lie outside of it.
    score: in [0, 1].
    skeleton: names the joints, limbs and sides.
    threshold: a joint below it, or not finite, is left out with its limbs.
    width: of a limb in pixels; by default in proportion to the person.
  """
  shown = np.isfinite(joints).all(axis=1) & (score >= threshold)
  image = image.copy()
  if not shown.any():
    return image
  if width is None:
    width = limb_width(joints[shown])
  sides = _sides(skeleton)
  limbs = [limb for limb in skeleton.limbs if shown[list(limb)].all()]
  # A dark outline below everything keeps it readable on any background.
  for a, b in limbs:
    _line(image, joints[a], joints[b], OUTLINE, 1.7 * width)
  for k in np.flatnonzero(shown):
    _disc(image, joints[k], OUTLINE, 1.25 * width)
  for a, b in limbs:
    colour = _colour(sides[a] + sides[b])
    _line(image, joints[a], joints[b], colour, width)
  for k in np.flatnonzero(shown):
    _disc(image, joints[k], _colour(sides[k]), 0.9 * width)
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
  limbs = [limb for limb in skeleton.limbs if labelled[list(limb)].all()]
  for colour, width in ((OUTLINE, 3), (_LABEL, 1)):
    for a, b in limbs:
      _line(image, joints[a], joints[b], colour, width)
  for k in np.flatnonzero(labelled):
    _disc(image, joints[k], OUTLINE, 2.8)
    _disc(image, joints[k], _LABEL, 1.8)
  return image


def limb_width(joints: Float[np.ndarray, "n 2"]) -> float:
  """Width of a limb in pixels that suits a person with these joints."""
  extent = np.max(joints.max(axis=0) - joints.min(axis=0))
  return float(np.clip(extent / 60, 1.0, 12.0))


def box(
  image: UInt8[np.ndarray, "h w 3"],
  edges: Float[np.ndarray, "4"],
  *,
  label: str = "",
  colour: tuple[int, int, int] = _LABEL,
) -> UInt8[np.ndarray, "h w 3"]:
  """The picture with a box (xyxy edges) and a label on its upper left."""
  image = image.copy()
  thickness = max(1, round(max(image.shape) / 700))
  low, high = _fixed(edges[:2]), _fixed(edges[2:])
  cv2.rectangle(image, low, high, colour, thickness, cv2.LINE_AA, _SHIFT)
  return caption(image, label, at=edges[:2]) if label else image


def caption(
  image: UInt8[np.ndarray, "h w 3"],
  text: str,
  *,
  at: Float[np.ndarray, "2"] | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
  """The picture with a line of text on a dark ground.

  Args:
    image: RGB.
    text: OpenCV's fonts know ASCII only.
    at: lower left corner of the text's ground; moved so that the line stays in
      the picture where it fits. The upper left of the picture by default.
  """
  image = image.copy()
  scale = max(0.4, max(image.shape) / 1600)
  font, stroke = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(scale * 1.6))
  (width, height), base = cv2.getTextSize(text, font, scale, stroke)
  pad = max(2, height // 4)
  full = height + base + 2 * pad
  x, y = np.nan_to_num(np.zeros(2) if at is None else at)
  x = int(np.clip(x, 0, max(0, image.shape[1] - width - 2 * pad)))
  y = int(np.clip(y, full, max(full, image.shape[0])))
  ground = image[y - full : y, x : x + width + 2 * pad]
  ground[:] = ground * 0.3
  cv2.putText(
    image,
    text,
    (x + pad, y - pad - base),
    font,
    scale,
    _LABEL,
    stroke,
    cv2.LINE_AA,
  )
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
  size = image.shape[1::-1]
  heat = heatmaps.max(axis=2).astype(np.float32)
  heat = cv2.resize(heat, size, interpolation=cv2.INTER_LINEAR).clip(0, 1)
  colour = cv2.applyColorMap(
    (heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO
  )
  alpha = (opacity * np.sqrt(heat))[:, :, None]
  mixed = image * (1 - alpha) + colour[:, :, ::-1] * alpha
  return np.rint(mixed).astype(np.uint8)


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


def _sides(skeleton: skeleton_lib.Skeleton) -> list[int]:
  """-1 for each joint of the left, 1 for the right, 0 in the middle."""
  sides = [0] * len(skeleton.joints)
  for left, right in skeleton.pairs:
    sides[left], sides[right] = -1, 1
  return sides


def _colour(side: int) -> tuple[int, int, int]:
  return LEFT if side < 0 else RIGHT if side > 0 else MIDDLE


def _fixed(point: np.ndarray) -> tuple[int, int]:
  """The point in OpenCV's fixed-point coordinates, far ones clipped."""
  x, y = np.rint(np.clip(point, -1e5, 1e5) * (1 << _SHIFT)).astype(int)
  return int(x), int(y)


def _line(image, start, end, colour, width) -> None:
  """A line with round ends, painted into `image`."""
  width = max(1, round(width))
  start, end = _fixed(start), _fixed(end)
  cv2.line(image, start, end, colour, width, cv2.LINE_AA, _SHIFT)


def _disc(image, centre, colour, radius) -> None:
  radius = max(1 << _SHIFT, round(radius * (1 << _SHIFT)))
  centre = _fixed(centre)
  cv2.circle(image, centre, radius, colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)
