"""A frame of the annotated video: what of its people is drawn, and where."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from diffpose_jax.data import annotations
from diffpose_jax.inference import colours, heat, paint
from diffpose_jax.pose import geometry
from diffpose_jax.pose import skeleton as skeleton_lib

PARTS = ("skeleton", "boxes", "ids", "ellipses", "heatmaps", "crops")
_CELLS = 4  # crops above each other beside the picture
_ASPECT = 3 / 4  # width over height of a cell
_GROUND = 24  # grey level of the strip
_EDGE = 3  # pixels around a crop, in its person's colour


@dataclasses.dataclass(frozen=True)
class Options:
  """What is drawn."""

  skeleton: bool = True
  boxes: bool = True
  ids: bool = True  # labels of identities
  ellipses: bool = False  # of the joints' errors
  heatmaps: bool = False  # largest of a person's joints
  crops: bool = False  # what the network saw of people, beside the picture
  threshold: float = 0.2  # score from which on a joint is drawn
  shares: tuple[float, ...] = (0.5, 0.9)  # of the errors in an ellipse

  def __post_init__(self):
    for share in self.shares:
      if not 0 < share < 1:
        raise ValueError(
          f"ellipses of a share of {share}; give shares between 0 and 1"
        )

  @property
  def views(self) -> bool:
    """Whether `drawn` needs to be given views."""
    return self.heatmaps or self.crops


@dataclasses.dataclass(frozen=True)
class View:
  """What the network saw of a person, and what it made of it."""

  crop: UInt8[np.ndarray, "h w 3"]  # RGB, of the key frame
  heat: UInt8[np.ndarray, "y x"]  # mean heatmap, its most over joints; 255: 1
  to_picture: Float[np.ndarray, "2 3"]  # affine from the crop to its frame


def parse(text: str) -> Options:
  """The options of a list as in `--draw=skeleton,boxes,ids`.

  `none` draws nothing. Raises ValueError for an unknown part, and for none.
  """
  names = [name.strip() for name in text.split(",") if name.strip()]
  unknown = [name for name in names if name not in PARTS]
  if names != ["none"] and (unknown or not names):
    raise ValueError(
      f"--draw={text}: {f'no {unknown[0]!r} there' if unknown else 'empty'}; "
      f"give some of {', '.join(PARTS)}, or none"
    )
  chosen: dict[str, Any] = {part: part in names for part in PARTS}
  return Options(**chosen)


def size(picture: tuple[int, int], options: Options) -> tuple[int, int]:
  """(height, width) of a drawn picture of size (height, width)."""
  height, width = picture
  return height, width + (_strip_width(height) if options.crops else 0)


def drawn(
  picture: UInt8[np.ndarray, "h w 3"],
  people: Sequence[annotations.Person],
  *,
  frame: tuple[int, int],
  skeleton: skeleton_lib.Skeleton,
  options: Options,
  tail: float = math.inf,
  views: Sequence[View] = (),
) -> UInt8[np.ndarray, "h w2 3"]:
  """A new picture with the people drawn in, of `size`.

  Args:
    picture: RGB; the frame, or the frame made smaller.
    people: in pixels of the frame.
    frame: (height, width) of the frame.
    skeleton: of the people's joints.
    options: what to draw.
    tail: degrees of freedom of the joints' errors.
    views: of the people, in their order, where `options.views`.
  """
  if options.views and len(views) != len(people):
    raise ValueError(
      f"{len(views)} views of {len(people)} people; heatmaps and crops need one "
      "of each"
    )
  height, width = picture.shape[:2]
  canvas = np.empty((*size((height, width), options), 3), np.uint8)
  inner = canvas[:, :width]
  inner[:] = picture
  to_inner = _shrinking(frame, (height, width))
  if options.heatmaps:
    _glow(inner, views, to_inner)
  for person in people:
    _frame_person(inner, person, to_inner, options)
  for person in people:
    _draw_pose(inner, person, to_inner, skeleton, options, tail)
  if options.crops:
    _strip(canvas[:, width:], people, views, options)
  return canvas


def _shrinking(
  frame: tuple[int, int], picture: tuple[int, int]
) -> Float[np.ndarray, "2 3"]:
  """Affine from a frame to the same frame at another size."""
  zoom = np.array([picture[1] / frame[1], picture[0] / frame[0]])
  # The first pixel's centre moves when pixels shrink.
  return np.concatenate([np.diag(zoom), (zoom - 1)[:, None] / 2], axis=1)


def _glow(picture, views: Sequence[View], to_inner: np.ndarray) -> None:
  """Paints the most of all people's heat."""
  total = np.zeros(picture.shape[:2], np.uint8)
  for view in views:
    where, found = heat.place(
      view.heat,
      geometry.compose(to_inner, view.to_picture),
      crop=view.crop.shape[:2],
      picture=picture.shape[:2],
    )
    np.maximum(total[where], found, out=total[where])
  x, y, width, height = cv2.boundingRect(total)
  where = slice(y, y + height), slice(x, x + width)
  if width and height:
    heat.glow(picture[where], total[where])


def _frame_person(picture, person, to_inner: np.ndarray, options) -> None:
  """Paints a person's box and identity."""
  if person.box is None:
    return
  corners = person.box.reshape(2, 2).astype(np.float64)
  edges = geometry.apply(to_inner, corners).reshape(4)
  colour = colours.person(person.track_id)
  if options.boxes:
    paint.box(picture, edges, colour=colour)
  if options.ids and person.track_id >= 0:
    label = str(person.track_id)
    paint.caption(picture, label, at=edges[:2], ground=colour)


def _draw_pose(
  picture, person, to_inner: np.ndarray, skeleton, options, tail: float
) -> None:
  """Paints a person's skeleton and ellipses."""
  shown = person.labelled
  if person.scores is not None:
    shown = shown & (person.scores >= options.threshold)
  joints = geometry.apply(to_inner, person.joints.astype(np.float64))
  if options.skeleton:
    paint.pose(picture, joints, shown, skeleton=skeleton)
  if not options.ellipses or person.scale is None:
    return
  zoom = to_inner[:, :2]
  scale = zoom @ person.scale.astype(np.float64) @ zoom.T
  sides = np.array(colours.sides(skeleton))
  for share in options.shares:
    for side in (0, -1, 1):
      own = shown & (sides == side)
      paint.ellipses(
        picture,
        joints[own],
        scale[own],
        share=share,
        tail=tail,
        colour=colours.side(side),
      )


def _strip_width(height: int) -> int:
  """Of the crops beside a picture; even, as video is."""
  return max(2, 2 * round(height / _CELLS * _ASPECT / 2))


def _strip(strip, people, views: Sequence[View], options: Options) -> None:
  """Paints people's crops below each other, by identity."""
  strip[:] = _GROUND
  order = sorted(
    range(len(people)),
    key=lambda i: (people[i].track_id < 0, people[i].track_id),
  )
  height = strip.shape[0] // _CELLS
  for row, i in enumerate(order[:_CELLS]):
    cell = strip[row * height : (row + 1) * height]
    _cell(cell, people[i], views[i], options)
  if len(order) > _CELLS:
    words = f"+{len(order) - _CELLS}"
    paint.caption(strip, words, at=np.array([0.0, strip.shape[0]]))


def _cell(cell, person, view: View, options: Options) -> None:
  """Paints a crop into its cell, as large as fits."""
  crop = view.crop
  if options.heatmaps:
    crop = crop.copy()
    most = cv2.resize(view.heat.astype(np.float32) / 255, crop.shape[1::-1])
    heat.glow(crop, heat.levels(most))
  room = np.array(cell.shape[1::-1]) - 2 * _EDGE
  zoom = (room / crop.shape[1::-1]).min()
  if zoom <= 0:
    return
  width, height = np.maximum(1, np.floor(zoom * np.array(crop.shape[1::-1])))
  kind = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
  crop = cv2.resize(crop, (int(width), int(height)), interpolation=kind)
  y = (cell.shape[0] - crop.shape[0]) // 2
  x = (cell.shape[1] - crop.shape[1]) // 2
  below, right = y + crop.shape[0], x + crop.shape[1]
  ground = cell[y - _EDGE : below + _EDGE, x - _EDGE : right + _EDGE]
  ground[:] = colours.person(person.track_id)
  cell[y:below, x:right] = crop
  if options.ids and person.track_id >= 0:
    colour = colours.person(person.track_id)
    at = np.array([x - _EDGE, 0.0])
    paint.caption(cell, str(person.track_id), at=at, ground=colour)
