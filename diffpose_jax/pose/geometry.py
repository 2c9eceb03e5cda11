"""Boxes and 2x3 affines between picture and crop, as pure NumPy functions.

Frames of reference: a point is (x, y); the centre of a pixel has integer
coordinates and pixel i covers [i - 1/2, i + 1/2]. A crop of size (height,
width) therefore covers [-1/2, width - 1/2] x [-1/2, height - 1/2]. Boxes are
(x1, y1, x2, y2) edges. An affine A of shape (2, 3) maps p to A[:, :2] p + A[:, 2].
"""

import numpy as np
from jaxtyping import Float


def xywh_to_xyxy(box: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 4"]:
  """Edges of boxes given as corner and size, as COCO and PoseTrack files do."""
  box = np.asarray(box, np.float32)
  return np.concatenate([box[..., :2], box[..., :2] + box[..., 2:]], axis=-1)


def xyxy_to_xywh(box: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 4"]:
  """Corner and size of boxes given as edges."""
  box = np.asarray(box, np.float32)
  return np.concatenate([box[..., :2], box[..., 2:] - box[..., :2]], axis=-1)


def enlarge(
  box: Float[np.ndarray, "*n 4"], factor: int | float
) -> Float[np.ndarray, "*n 4"]:
  """Boxes of the same centres with both sides multiplied by `factor`."""
  centre = (box[..., :2] + box[..., 2:]) / 2
  half = (box[..., 2:] - box[..., :2]) * (factor / 2)
  return np.concatenate([centre - half, centre + half], axis=-1)


def pad_to_aspect(
  box: Float[np.ndarray, "*n 4"], aspect: float
) -> Float[np.ndarray, "*n 4"]:
  """Smallest boxes around `box`, same centres, with width / height = aspect."""
  centre = (box[..., :2] + box[..., 2:]) / 2
  size = box[..., 2:] - box[..., :2]
  width = np.maximum(size[..., 0], size[..., 1] * aspect)
  half = np.stack([width, width / aspect], axis=-1) / 2
  return np.concatenate([centre - half, centre + half], axis=-1)


def area(box: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n"]:
  """Areas in square pixels; 0 for a box whose corners are swapped."""
  size = np.maximum(box[..., 2:] - box[..., :2], 0)
  return size[..., 0] * size[..., 1]


def iou(
  a: Float[np.ndarray, "p 4"], b: Float[np.ndarray, "q 4"]
) -> Float[np.ndarray, "p q"]:
  """Intersection over union of every pair; 0 where the union is empty."""
  low = np.maximum(a[:, None, :2], b[None, :, :2])
  high = np.minimum(a[:, None, 2:], b[None, :, 2:])
  overlap = area(np.concatenate([low, high], axis=-1))
  union = area(a)[:, None] + area(b)[None, :] - overlap
  return np.where(union > 0, overlap / np.where(union > 0, union, 1), 0.0)


def check_box(box: Float[np.ndarray, "4"], place: str) -> None:
  """Raises ValueError naming `place` unless the box is finite with an area."""
  if not np.all(np.isfinite(box)):
    raise ValueError(f"{place}: box {box.tolist()} is not finite; remove it")
  if box[2] <= box[0] or box[3] <= box[1]:
    raise ValueError(
      f"{place}: box with edges {box.tolist()} has no area; remove it or give "
      "width and height > 0"
    )


def crop_affine(
  box: Float[np.ndarray, "4"],
  size: tuple[int, int],
  *,
  scale: int | float = 1.0,
  rotation: int | float = 0.0,
  mirror: bool = False,
) -> Float[np.ndarray, "2 3"]:
  """Affine from picture to crop that shows `box` upright in full.

  Args:
    box: edges in the picture, in pixels; widened to the aspect of the crop.
    size: (height, width) of the crop.
    scale: > 1 shows more of the surroundings.
    rotation: degrees; positive turns the content counter-clockwise on screen.
    mirror: whether the crop is flipped left to right, after everything else.

  Returns:
    float64, so that `invert` is exact to rounding.

  Raises:
    ValueError: the box has no area or is not finite, or the scale is not above
      0: there is no affine, or none that could be undone.
  """
  check_box(box, "crop")
  if not 0 < scale < np.inf or not np.isfinite(rotation):
    raise ValueError(
      f"crop: scale {scale} and rotation {rotation}; scale must be above 0, "
      "and both finite"
    )
  height, width = size
  box = pad_to_aspect(np.asarray(box, np.float64), width / height)
  zoom = width / ((box[2] - box[0]) * scale)
  angle = np.deg2rad(rotation)
  cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
  linear = np.array([[cos, sin], [-sin, cos]])
  centre = (box[:2] + box[2:]) / 2
  middle = np.array([(width - 1) / 2, (height - 1) / 2])
  affine = np.concatenate([linear, (middle - linear @ centre)[:, None]], axis=1)
  if mirror:
    affine[0] *= -1
    affine[0, 2] += width - 1
  return affine


def apply(
  affine: Float[np.ndarray, "*b 2 3"], points: Float[np.ndarray, "*b n 2"]
) -> Float[np.ndarray, "*b n 2"]:
  """Points carried through affines; leading axes must agree."""
  turned = np.einsum("...ij,...nj->...ni", affine[..., :2], points)
  return turned + affine[..., None, :, 2]


def compose(
  outer: Float[np.ndarray, "*n 2 3"], inner: Float[np.ndarray, "*n 2 3"]
) -> Float[np.ndarray, "*n 2 3"]:
  """The affine that applies `inner` first, then `outer`."""
  turn = outer[..., :2] @ inner[..., :2]
  shift = outer[..., :2] @ inner[..., 2:] + outer[..., 2:]
  return np.concatenate([turn, shift], axis=-1)


def invert(
  affine: Float[np.ndarray, "*b 2 3"],
) -> Float[np.ndarray, "*b 2 3"]:
  """Affines that undo the given ones. Raises ValueError for a singular one."""
  linear = affine[..., :2]
  # By its own size: a crop of a very large box is small but can be undone.
  least = 1e-12 * np.sum(np.square(linear), axis=(-2, -1))
  if not np.all(np.abs(np.linalg.det(linear)) > least):
    raise ValueError("affine is singular: the box or the scale has no extent")
  inverse = np.linalg.inv(linear)
  shift = -np.einsum("...ij,...j->...i", inverse, affine[..., 2])
  return np.concatenate([inverse, shift[..., None]], axis=-1)
