"""Draws synthetic people and things into pictures (BGR uint8).

A layer is a patch of premultiplied BGR with its cover (0..255) and the place
of its upper left corner; layers are put over each other from far to near.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from diffpose_jax.data import synthetic_camera, synthetic_mesh

_SHIFT = 4
# How far a surface may lie before a joint and still be its own, in metres.
OWN = np.array(
  (
    *(0.07, 0.10, 0.12, 0.10, 0.10),
    *(0.13, 0.13, 0.08, 0.08, 0.07, 0.07),
    *(0.18, 0.18, 0.11, 0.11, 0.10, 0.10),
  )
)


@dataclasses.dataclass(frozen=True)
class Light:
  """A sun or lamp: direction towards it, strengths, colour factors (BGR)."""

  direction: Float[np.ndarray, " 3"]
  ambient: float
  diffuse: float
  tint: Float[np.ndarray, " 3"]


@dataclasses.dataclass(frozen=True)
class Layer:
  """A patch of the picture; `corner` is (x, y) of its first pixel."""

  patch: UInt8[np.ndarray, "h w 4"]
  corner: tuple[int, int]
  depth: float

  def cover(self, points: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
    """Says which image points this layer hides."""
    x, y = (np.round(points).astype(int) - self.corner).T
    h, w = self.patch.shape[:2]
    inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
    hidden = np.zeros(len(points), bool)
    hidden[inside] = self.patch[y[inside], x[inside], 3] > 127
    return hidden


@dataclasses.dataclass(frozen=True)
class Surface:
  """The seen faces of a person at one instant, from far to near."""

  polygons: Float[np.ndarray, "f 4 2"]
  depth: Float[np.ndarray, " f"]
  colour: Float[np.ndarray, "f 3"]
  points: Float[np.ndarray, "v 2"]


def surface(
  mesh: synthetic_mesh.Mesh,
  vertices: Float[np.ndarray, "v 3"],
  view: synthetic_camera.View,
  light: Light,
) -> Surface:
  """Returns the mesh's faces that look at the camera, shaded and sorted."""
  a, b, c, d = (vertices[column] for column in mesh.faces.T)
  normal = _cross(c - a, d - b)
  sight = 0.25 * (a + b + c + d) - view.position
  facing = -_dot(normal, sight)
  points, depth = view.project(vertices)
  seen = facing > 0
  if depth.min() < 0.15:
    seen &= depth[mesh.faces].min(axis=1) > 0.15
  seen = np.flatnonzero(seen)
  away = np.sqrt(_dot(sight[seen], sight[seen]))
  order = np.argsort(mesh.bias[seen] - away, kind="stable")
  seen, away = seen[order], away[order]
  normal, sight = normal[seen], sight[seen]
  length = np.sqrt(_dot(normal, normal)) + 1e-12
  graze = facing[seen] / (length * away)
  normal = normal / length[:, None]
  lit = np.maximum((_dot(normal, light.direction) + 0.25) / 1.25, 0)
  shade = light.ambient * (0.85 + 0.15 * normal[:, 1]) + light.diffuse * lit
  shade = shade * (0.72 + 0.28 * np.sqrt(graze))
  colour = mesh.colour[seen] * shade[:, None] * light.tint
  glossy = np.flatnonzero(mesh.gloss[seen])
  half = light.direction - sight[glossy] / away[glossy, None]
  half /= np.sqrt(_dot(half, half))[:, None] + 1e-9
  shine = np.maximum(_dot(normal[glossy], half), 0) ** 20
  colour[glossy] += (255 * mesh.gloss[seen[glossy]] * shine)[:, None]
  faces = mesh.faces[seen]
  return Surface(
    polygons=points[faces],
    depth=0.25 * (depth[faces] @ np.ones(4)),
    colour=np.minimum(colour, 255),
    points=points,
  )


def _dot(a, b):
  """Returns the dot products of rows of three."""
  return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def _cross(a, b):
  """Returns the cross products of rows of three."""
  out = np.empty_like(a)
  out[:, 0] = a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1]
  out[:, 1] = a[:, 2] * b[:, 0] - a[:, 0] * b[:, 2]
  out[:, 2] = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
  return out


def hidden_by_self(
  shown: Surface,
  joints: Float[np.ndarray, "k 2"],
  depth: Float[np.ndarray, " k"],
  scale: float,
) -> Bool[np.ndarray, " k"]:
  """Says which joints lie behind another part of the same person.

  A joint counts as hidden if a seen face that covers it is nearer than the
  joint by more than the flesh around that joint.
  """
  margin = (OWN * scale)[:, None]
  near = shown.depth[None] < depth[:, None] - margin
  low = np.minimum.reduce([shown.polygons[:, i] for i in range(4)])
  high = np.maximum.reduce([shown.polygons[:, i] for i in range(4)])
  for axis in (0, 1):
    near &= joints[:, axis, None] >= low[:, axis]
    near &= joints[:, axis, None] <= high[:, axis]
  hidden = np.zeros(len(joints), bool)
  k, f = np.nonzero(near)
  if len(k):
    corner = shown.polygons[f] - joints[k][:, None]
    after = np.roll(corner, -1, axis=1)
    cross = corner[..., 0] * after[..., 1] - corner[..., 1] * after[..., 0]
    inside = (cross >= 0).all(axis=1) | (cross <= 0).all(axis=1)
    hidden[k[inside]] = True
  return hidden


def _region(points, size, margin):
  """Returns x0, y0, x1, y1 of the picture's part that holds the points."""
  h, w = size
  low = np.floor(points.min(axis=0) - margin).astype(int)
  high = np.ceil(points.max(axis=0) + margin).astype(int) + 1
  x0, y0 = np.clip(low, 0, (w, h))
  x1, y1 = np.clip(high, 0, (w, h))
  return int(x0), int(y0), int(x1), int(y1)


def draw_surfaces(
  surfaces: list[Surface],
  size: tuple[int, int],
  fabric: UInt8[np.ndarray, "a b 4"],
  depth: float,
  margin: int = 2,
) -> Layer | None:
  """Returns the mean of a person's instants as one layer, or None outside.

  Each instant is painted at twice the size (once if it is large or there are
  many) and reduced. `fabric` is a grain that is multiplied on, 128 for 1.
  """
  points = np.concatenate([shown.polygons.reshape(-1, 2) for shown in surfaces])
  if not len(points):
    return None
  x0, y0, x1, y1 = _region(points, size, margin)
  if x1 - x0 < 2 or y1 - y0 < 2:
    return None
  fine = 1 if len(surfaces) > 3 else 2
  shape = ((y1 - y0) * fine, (x1 - x0) * fine, 4)
  first, *others = [
    _painted(shape, shown, (x0, y0), fine) for shown in surfaces
  ]
  total: np.ndarray = first
  for count, canvas in enumerate(others, 1):
    keep = count / (count + 1)
    total = cv2.addWeighted(total, keep, canvas, 1 - keep, 0)
  total = _grained(total, fabric, surfaces[0].points[0] * fine)
  if fine > 1:
    total = cv2.resize(total, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
  return Layer(total, (x0, y0), depth)


def _painted(shape, shown, corner, fine) -> np.ndarray:
  """Returns a canvas with the polygons filled in their order."""
  canvas = np.zeros(shape, np.uint8)
  scale = fine * (1 << _SHIFT)
  offset = (fine - 1) / 2 * (1 << _SHIFT)
  polygons = (shown.polygons - corner) * scale + offset
  np.rint(polygons, out=polygons)
  if len(polygons) and np.abs(polygons).max() > 2**20:
    np.clip(polygons, -(2**20), 2**20, out=polygons)
  polygons = polygons.astype(np.int32)
  colours = np.column_stack(
    [shown.colour, np.full(len(polygons), 255.0)]
  ).tolist()
  fill = cv2.fillConvexPoly
  for polygon, colour in zip(polygons, colours, strict=True):
    fill(canvas, polygon, colour, cv2.LINE_8, _SHIFT)
  return canvas


def _grained(canvas, fabric, anchor):
  """Multiplies a cloth-like grain on, anchored to a point of the person."""
  room = 64
  y, x = (int(v) % room for v in (-anchor[1], -anchor[0]))
  h, w = canvas.shape[:2]
  if h + room > fabric.shape[0] or w + room > fabric.shape[1]:
    return canvas
  return cv2.multiply(canvas, fabric[y : y + h, x : x + w], scale=1 / 128)


def fabric(
  rng: np.random.Generator, size: tuple[int, int], strength: float
) -> UInt8[np.ndarray, "a b 4"]:
  """Returns a grain for pictures of the given size, 128 where neutral."""
  h, w = 2 * size[0] + 80, 2 * size[1] + 80
  coarse = rng.standard_normal((h // 7 + 1, w // 7 + 1), np.float32)
  grain = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)
  fine = rng.standard_normal((h // 2 + 1, w // 2 + 1), np.float32)
  grain += 0.4 * cv2.resize(fine, (w, h), interpolation=cv2.INTER_LINEAR)
  grain = np.clip(128 * (1 + strength * grain), 70, 190).astype(np.uint8)
  return cv2.merge([grain, grain, grain, np.full_like(grain, 128)])


def blurred(layer: Layer, sigma: float, size: tuple[int, int]) -> Layer:
  """Returns the layer out of focus; it grows by the blur, up to the edge."""
  if sigma < 0.3:
    return layer
  reach = int(np.ceil(2.5 * sigma))
  h, w = layer.patch.shape[:2]
  x, y = layer.corner
  left, top = min(reach, x), min(reach, y)
  right = min(reach, max(size[1] - x - w, 0))
  bottom = min(reach, max(size[0] - y - h, 0))
  patch = cv2.copyMakeBorder(
    layer.patch,
    top,
    bottom,
    left,
    right,
    cv2.BORDER_CONSTANT,
    value=(0, 0, 0, 0),
  )
  patch = cv2.GaussianBlur(
    patch, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE
  )
  return Layer(patch, (x - left, y - top), layer.depth)


def smear_kernel(step: Float[np.ndarray, " 2"]) -> np.ndarray | None:
  """Returns the kernel of a straight movement by `step` pixels, or None."""
  length = float(np.hypot(*step))
  if length < 1.0:
    return None
  reach = int(np.ceil(length / 2))
  side = 2 * reach + 1
  kernel = np.zeros((side, side), np.float32)
  for at in np.linspace(-0.5, 0.5, 4 * side):
    x, y = reach + at * step
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
      weight = (1 - abs(x - x0 - dx)) * (1 - abs(y - y0 - dy))
      if 0 <= x0 + dx < side and 0 <= y0 + dy < side:
        kernel[y0 + dy, x0 + dx] += weight
  return kernel / kernel.sum()


def put_over(image: UInt8[np.ndarray, "h w 3"], layer: Layer) -> None:
  """Puts a layer over the picture, in place."""
  x, y = layer.corner
  h, w = layer.patch.shape[:2]
  region = image[y : y + h, x : x + w]
  patch = layer.patch[: region.shape[0], : region.shape[1]]
  if not region.size:
    return
  rest = cv2.bitwise_not(cv2.extractChannel(patch, 3))
  behind = cv2.multiply(region, cv2.merge([rest, rest, rest]), scale=1 / 255)
  region[:] = cv2.add(behind, cv2.cvtColor(patch, cv2.COLOR_BGRA2BGR))


def billboard(
  patch: UInt8[np.ndarray, "s s 4"],
  centre: Float[np.ndarray, " 2"],
  half: Float[np.ndarray, " 2"],
  angle: float,
  size: tuple[int, int],
  depth: float,
) -> Layer | None:
  """Returns a flat shape facing the camera as a layer, or None outside.

  `centre` and `half` (half width, half height) are in pixels, `angle` in
  radians.
  """
  c, s = np.cos(angle), np.sin(angle)
  reach = np.abs(np.array([[c, -s], [s, c]])) @ half
  x0, y0, x1, y1 = _region(np.stack([centre - reach, centre + reach]), size, 1)
  if x1 - x0 < 1 or y1 - y0 < 1:
    return None
  side = patch.shape[0]
  grow = 2 * half / side
  linear = np.array([[c, -s], [s, c]]) * grow
  shift = centre - (x0, y0) - linear @ np.full(2, (side - 1) / 2)
  flags = cv2.INTER_AREA if grow.max() < 0.5 else cv2.INTER_LINEAR
  drawn = cv2.warpAffine(
    patch, np.column_stack([linear, shift]), (x1 - x0, y1 - y0), flags=flags
  )
  return Layer(drawn, (x0, y0), depth)


def cast_shadow(
  image: UInt8[np.ndarray, "h w 3"],
  joints: Float[np.ndarray, "17 3"],
  view: synthetic_camera.View,
  light: Light,
  strength: float,
) -> None:
  """Darkens the ground under and beside a person, in place."""
  slope = light.direction[[0, 2]] / max(light.direction[1], 0.35)
  ground = joints.copy()
  ground[:, [0, 2]] -= slope * joints[:, 1:2]
  ground[:, 1] = 0
  points, depth = view.project(ground)
  if depth.min() < 0.3:
    return
  pixel = view.focal / depth.mean()
  x0, y0, x1, y1 = _region(points, image.shape[:2], 0.25 * pixel)
  if x1 - x0 < 3 or y1 - y0 < 3:
    return
  mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
  at = (np.clip(points - (x0, y0), -4000, 4000) * 16).astype(np.int32)
  trunk = at[[5, 6, 12, 11]]
  cv2.fillConvexPoly(
    mask, cv2.convexHull(trunk).reshape(-1, 2), 255, cv2.LINE_8, 4
  )
  for a, b, wide in _SHADOW_LINES:
    ends = (tuple(int(v) for v in at[a]), tuple(int(v) for v in at[b]))
    cv2.line(
      mask, *ends, 255, int(np.clip(wide * pixel, 1, 200)), cv2.LINE_8, 4
    )
  mask = cv2.blur(mask, (int(0.08 * pixel) // 2 * 2 + 3,) * 2)
  keep = cv2.convertScaleAbs(mask, alpha=strength)
  keep = cv2.subtract(np.full_like(keep, 255), keep)
  region = image[y0:y1, x0:x1]
  region[:] = cv2.multiply(region, cv2.merge([keep, keep, keep]), scale=1 / 255)


_SHADOW_LINES = (
  (1, 2, 0.2),
  (5, 7, 0.1),
  (7, 9, 0.08),
  (6, 8, 0.1),
  (8, 10, 0.08),
  (11, 13, 0.15),
  (13, 15, 0.11),
  (12, 14, 0.15),
  (14, 16, 0.11),
)
