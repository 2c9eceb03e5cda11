"""Poses, boxes, labels and ellipses painted into a picture that is given.

Pictures are RGB uint8 and are changed. Points are (x, y) with pixel centres at
integer coordinates, and are painted to 1/16 pixel.
"""

import math

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from diffpose_jax.inference import colours
from diffpose_jax.pose import skeleton as skeleton_lib
from diffpose_jax.pose import uncertainty

_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates
_FAR = 1e5  # pixels; what lies farther away is drawn there
_CORNERS = 32  # of an ellipse; they make a polygon of the same area
_CIRCLE = math.sqrt(
  2 * math.pi / _CORNERS / math.sin(2 * math.pi / _CORNERS)
) * np.stack(
  [
    np.cos(np.arange(_CORNERS) * (2 * math.pi / _CORNERS)),
    np.sin(np.arange(_CORNERS) * (2 * math.pi / _CORNERS)),
  ],
  axis=-1,
)


def pose(
  picture: UInt8[np.ndarray, "h w 3"],
  joints: Float[np.ndarray, "k 2"],
  shown: Bool[np.ndarray, "k"],
  *,
  skeleton: skeleton_lib.Skeleton,
  width: float | None = None,
) -> None:
  """Paints one person's limbs and joints.

  The person's left is orange, the right blue, what belongs to both green.

  Args:
    picture: RGB.
    joints: in the picture's pixels; may lie outside of it.
    shown: a joint that is not, or not finite, is left out with its limbs.
    skeleton: names the joints, limbs and sides.
    width: of a limb in pixels; by default in proportion to the person.
  """
  shown = shown & np.isfinite(joints).all(axis=1)
  if not shown.any():
    return
  if width is None:
    width = limb_width(joints[shown])
  sides = colours.sides(skeleton)
  limbs = [(a, b) for a, b in skeleton.limbs if shown[a] and shown[b]]
  places = _fixed(np.where(shown[:, None], joints, 0))
  discs = np.flatnonzero(shown).tolist()
  # A dark outline below everything keeps it readable on any background.
  for a, b in limbs:
    _line(picture, places[a], places[b], colours.OUTLINE, 1.7 * width)
  for k in discs:
    _disc(picture, places[k], colours.OUTLINE, 1.25 * width)
  for a, b in limbs:
    colour = colours.side(sides[a] + sides[b])
    _line(picture, places[a], places[b], colour, width)
  for k in discs:
    _disc(picture, places[k], colours.side(sides[k]), 0.9 * width)


def thin_pose(
  picture: UInt8[np.ndarray, "h w 3"],
  joints: Float[np.ndarray, "k 2"],
  shown: Bool[np.ndarray, "k"],
  *,
  skeleton: skeleton_lib.Skeleton,
) -> None:
  """Paints a thin white skeleton, as of the truth over a prediction.

  Joints that are not shown, or not finite, are left out with their limbs.
  """
  shown = shown & np.isfinite(joints).all(axis=1)
  limbs = [(a, b) for a, b in skeleton.limbs if shown[a] and shown[b]]
  places = _fixed(np.where(shown[:, None], joints, 0))
  for colour, width in ((colours.OUTLINE, 3), (colours.LABEL, 1)):
    for a, b in limbs:
      _line(picture, places[a], places[b], colour, width)
  for k in np.flatnonzero(shown).tolist():
    _disc(picture, places[k], colours.OUTLINE, 2.8)
    _disc(picture, places[k], colours.LABEL, 1.8)


def limb_width(joints: Float[np.ndarray, "n 2"]) -> float:
  """Width of a limb in pixels that suits a person with these joints."""
  extent = np.max(joints.max(axis=0) - joints.min(axis=0))
  return float(np.clip(extent / 60, 1.0, 12.0))


def ellipses(
  picture: UInt8[np.ndarray, "h w 3"],
  centres: Float[np.ndarray, "n 2"],
  scale: Float[np.ndarray, "n 2 2"],
  *,
  share: float,
  tail: float = math.inf,
  colour: colours.Rgb = colours.LABEL,
) -> None:
  """Paints around each estimate the ellipse that holds a share of its errors.

  Args:
    picture: RGB.
    centres: in the picture's pixels.
    scale: of the errors, pixels²; what is not finite is left out.
    share: in [0, 1).
    tail: degrees of freedom of the errors, see `pose.uncertainty`.
    colour: of the line.
  """
  known = np.isfinite(scale).all(axis=(1, 2)) & np.isfinite(centres).all(axis=1)
  if not known.any():
    return
  axes, turns = np.linalg.eigh(scale[known].astype(np.float64))
  axes = np.sqrt(np.maximum(axes, 0) * uncertainty.region(share, tail))
  # Thin lines alone: OpenCV draws them ten times as fast as thicker ones.
  for ink, more in ((colours.OUTLINE, 1), (colours.OUTLINE, -1), (colour, 0)):
    around = np.maximum(axes + more, 0)[:, None] * _CIRCLE
    corners = centres[known][:, None] + np.einsum("nij,ncj->nci", turns, around)
    cv2.polylines(
      picture, list(_fixed(corners)), True, ink, 1, cv2.LINE_AA, _SHIFT
    )


def box(
  picture: UInt8[np.ndarray, "h w 3"],
  edges: Float[np.ndarray, "4"],
  *,
  colour: colours.Rgb = colours.LABEL,
) -> None:
  """Paints the edges of a box, xyxy."""
  low, high = _fixed(edges.reshape(2, 2)).tolist()
  cv2.rectangle(
    picture, low, high, colour, _thickness(picture), cv2.LINE_AA, _SHIFT
  )


def caption(
  picture: UInt8[np.ndarray, "h w 3"],
  text: str,
  *,
  at: Float[np.ndarray, "2"] | None = None,
  ground: colours.Rgb | None = None,
) -> None:
  """Paints a line of text on a ground.

  Args:
    picture: RGB.
    text: OpenCV's fonts know ASCII only.
    at: lower left corner of the text's ground; moved so that the line stays in
      the picture where it fits. The upper left of the picture by default.
    ground: a colour under dark text; by default the picture, darkened, under
      light text.
  """
  scale = max(0.4, max(picture.shape) / 1600)
  font, stroke = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(scale * 1.6))
  (width, height), base = cv2.getTextSize(text, font, scale, stroke)
  pad = max(2, height // 4)
  full = height + base + 2 * pad
  x, y = np.nan_to_num(np.zeros(2) if at is None else at)
  x = int(np.clip(x, 0, max(0, picture.shape[1] - width - 2 * pad)))
  y = int(np.clip(y, full, max(full, picture.shape[0])))
  under = picture[y - full : y, x : x + width + 2 * pad]
  under[:] = under * 0.3 if ground is None else ground
  ink = colours.LABEL if ground is None else colours.OUTLINE
  place = (x + pad, y - pad - base)
  cv2.putText(picture, text, place, font, scale, ink, stroke, cv2.LINE_AA)


def _thickness(picture: np.ndarray) -> int:
  """Of thin lines, in pixels."""
  return max(1, round(max(picture.shape) / 700))


def _fixed(points: np.ndarray) -> np.ndarray:
  """Points in OpenCV's fixed-point coordinates, far ones clipped."""
  near = np.minimum(np.maximum(points, -_FAR), _FAR)
  return np.rint(near * (1 << _SHIFT)).astype(np.int32)


def _line(picture, start, end, colour, width) -> None:
  """A line with round ends, painted into the picture."""
  width = max(1, round(width))
  cv2.line(picture, start, end, colour, width, cv2.LINE_AA, _SHIFT)


def _disc(picture, centre, colour, radius) -> None:
  radius = max(1 << _SHIFT, round(radius * (1 << _SHIFT)))
  cv2.circle(picture, centre, radius, colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)
