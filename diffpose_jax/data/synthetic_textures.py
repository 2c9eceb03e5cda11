"""Procedural textures and the still background of a synthetic scene (BGR)."""

import cv2
import numpy as np
from jaxtyping import UInt8

from diffpose_jax.data import synthetic_camera


def octaves(
  rng: np.random.Generator, size: tuple[int, int], first: int, decay: float
) -> np.ndarray:
  """Returns smooth noise [h w 3] float32 in about -1..1, several octaves."""
  h, w = size
  total, scale = np.zeros((h, w, 3), np.float32), 1.0
  cells = first
  while cells < max(h, w):
    grid = rng.standard_normal(
      (max(2, cells * h // max(h, w)), max(2, cells), 3), np.float32
    )
    grid = 0.65 * grid.mean(axis=2, keepdims=True) * 1.7 + 0.35 * grid
    total += scale * cv2.resize(grid, (w, h), interpolation=cv2.INTER_LINEAR)
    scale *= decay
    cells *= 3
  return total * 0.5


def random_colour(rng: np.random.Generator, kind: str = "any") -> np.ndarray:
  """Returns a BGR colour: 'any', 'muted', 'green', 'wood', 'skin', 'sky'."""
  if kind == "green":
    return np.array(
      [rng.uniform(15, 70), rng.uniform(60, 150), rng.uniform(30, 110)]
    )
  if kind == "wood":
    return np.array([45, 85, 130]) * rng.uniform(0.5, 1.6)
  if kind == "skin":
    return np.array([140, 165, 210]) * rng.uniform(0.4, 1.1)
  if kind == "sky":
    return np.array([235, rng.uniform(180, 230), rng.uniform(130, 225)])
  grey = rng.uniform(25, 230)
  if kind == "muted" or rng.random() < 0.6:
    warm = rng.normal(0, 0.12) * np.array([-1, 0, 1])
    return np.clip(grey * (1 + warm + rng.normal(0, 0.05, 3)), 5, 250)
  return np.clip(grey + rng.normal(0, rng.uniform(10, 60), 3), 5, 250)


TEXTURES = (
  "plain",
  "noise",
  "stripes",
  "tiles",
  "bricks",
  "planks",
  "foliage",
  "grass",
  "checks",
  "rubble",
)


def texture(
  rng: np.random.Generator, kind: str, side: int = 192
) -> UInt8[np.ndarray, "side side 3"]:
  """Returns a square texture of one of the `TEXTURES`."""
  shape = (side, side)
  colour = {
    "foliage": "green",
    "grass": "green",
    "planks": "wood",
    "plain": "muted",
  }.get(kind, "any")
  base = random_colour(rng, colour)
  noise = octaves(rng, shape, int(rng.integers(2, 5)), rng.uniform(0.4, 0.75))
  base = base.astype(np.float32)
  image = base + noise * np.float32(rng.uniform(4, 14))
  y, x = np.mgrid[:side, :side]
  cell = int(rng.integers(12, 64))
  second = random_colour(rng, "muted")
  if kind == "noise":
    image = base + noise * rng.uniform(20, 55)
  elif kind == "stripes":
    along = x if rng.random() < 0.6 else y
    image[(along // max(cell // 3, 3)) % 2 == 0] += second - base
  elif kind in ("tiles", "bricks"):
    wide = cell * (2 if kind == "bricks" else 1)
    shift = (y // cell) % 2 * (wide // 2) if kind == "bricks" else 0
    tone = rng.normal(0, 14, (side // cell + 2, (side + wide) // wide + 2, 1))
    image += tone[y // cell, (x + shift) // wide]
    image[((y % cell) < 2) | (((x + shift) % wide) < 2)] = second
  elif kind == "planks":
    tone = rng.normal(0, 16, (side // cell + 2, 1))
    image += tone[x // cell]
    grain = rng.normal(0, 7, (1, side, 1))
    image += grain
    image[(x % cell) < 2] *= 0.5
  elif kind in ("foliage", "grass"):
    fine = octaves(rng, shape, 12 if kind == "foliage" else 40, 0.85)
    image = base + fine * (38 if kind == "foliage" else 22) + noise * 16
    if kind == "foliage":
      image *= np.clip(0.75 + 0.5 * noise[..., :1], 0.25, 1.3)
  elif kind == "checks":
    image[((x // cell) + (y // cell)) % 2 == 0] += second - base
  elif kind == "rubble":
    image = np.clip(image, 0, 255).astype(np.uint8)
    _polygons(rng, image, 40, 0.03, 0.16)
  return np.clip(image, 0, 255).astype(np.uint8)


def _polygons(rng, image, count, small, large):
  """Draws random shapes, some like limbs, into the image."""
  h, w = image.shape[:2]
  for _ in range(count):
    centre = rng.uniform(0, 1, 2) * (w, h)
    size = rng.uniform(small, large) * max(h, w)
    kind = "skin" if rng.random() < 0.15 else "any"
    colour = tuple(float(c) for c in random_colour(rng, kind))
    pick = rng.random()
    if pick < 0.4:  # a limb-like bar
      angle = rng.uniform(0, np.pi)
      reach = size * np.array([np.cos(angle), np.sin(angle)])
      ends = (centre + np.stack([-reach, reach])).round().astype(int)
      width = max(1, int(size * rng.uniform(0.12, 0.4)))
      first, last = (tuple(int(v) for v in end) for end in ends)
      cv2.line(image, first, last, colour, width, cv2.LINE_AA)
      shade = tuple(0.75 * c for c in colour)
      cv2.line(image, first, last, shade, max(1, width // 3), cv2.LINE_AA)
    elif pick < 0.6:
      axes = (max(1, int(size)), max(1, int(size * rng.uniform(0.3, 1))))
      middle = tuple(int(v) for v in centre)
      cv2.ellipse(
        image,
        middle,
        axes,
        rng.uniform(0, 180),
        0,
        360,
        colour,
        -1,
        cv2.LINE_AA,
      )
    else:
      turn = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 6))))
      if pick < 0.85:
        turn = np.array([0.25, 0.75, 1.25, 1.75]) * np.pi
      points = centre + size * np.stack(
        [np.cos(turn) * rng.uniform(0.4, 1.5), np.sin(turn)], 1
      )
      cv2.fillConvexPoly(
        image, points.round().astype(np.int32), colour, cv2.LINE_AA
      )


def _wall_picture(rng, indoor, clutter):
  """Returns the wall behind the scene with doors, windows, things on it."""
  kinds = (
    "plain",
    "plain",
    "noise",
    "stripes",
    "tiles",
    "bricks",
    "planks",
    "rubble",
  )
  if not indoor:
    kinds = (
      "foliage",
      "foliage",
      "foliage",
      "bricks",
      "planks",
      "noise",
      "rubble",
    )
  image = texture(rng, kinds[rng.integers(len(kinds))], 256)
  image = np.tile(image, (2, 3, 1))
  h, w = image.shape[:2]
  if rng.random() < (0.3 if indoor else 0.45):
    _windows(rng, image)
  if not indoor and rng.random() < 0.6:
    _trees(rng, image)
  for _ in range(int(rng.integers(0, 4 + int(8 * clutter)))):
    inner = texture(rng, TEXTURES[rng.integers(len(TEXTURES))], 128)
    high, wide = (int(v) for v in rng.uniform(20, 190, 2))
    y, x = int(rng.integers(0, h - high)), int(rng.integers(0, w - wide))
    image[y : y + high, x : x + wide] = cv2.resize(inner, (wide, high))
    frame = tuple(float(c) for c in random_colour(rng, "muted"))
    corner = (x + wide, y + high)
    cv2.rectangle(image, (x, y), corner, frame, int(rng.integers(1, 7)))
  _polygons(rng, image, int(rng.integers(0, 3 + int(16 * clutter))), 0.01, 0.06)
  return image


def _windows(rng, image):
  """Draws a grid of windows, panels or shelves into the wall."""
  h, w = image.shape[:2]
  dx, dy = (int(v) for v in rng.integers(40, 180, 2))
  wide, high = (
    int(dx * rng.uniform(0.3, 0.95)),
    int(dy * rng.uniform(0.3, 0.95)),
  )
  glass, frame = random_colour(rng), random_colour(rng, "muted")
  edge = int(rng.integers(1, 6))
  for y in range(int(rng.integers(0, dy)), h, dy):
    for x in range(int(rng.integers(0, dx)) % 7, w, dx):
      tone = np.clip(glass * rng.uniform(0.6, 1.3), 0, 255).tolist()
      cv2.rectangle(image, (x, y), (x + wide, y + high), tone, -1)
      cv2.rectangle(image, (x, y), (x + wide, y + high), frame.tolist(), edge)


def _trees(rng, image):
  """Draws trunks and crowns into the picture at the end of the scene."""
  h, w = image.shape[:2]
  leaves = np.tile(texture(rng, "foliage", 256), (2, 3, 1))
  mask = np.zeros((h, w), np.uint8)
  for _ in range(int(rng.integers(1, 9))):
    x, wide = int(rng.integers(0, w)), int(rng.integers(3, 22))
    bark = random_colour(rng, "wood") * 0.6
    cv2.rectangle(image, (x, 0), (x + wide, h), bark.tolist(), -1)
    for _ in range(int(rng.integers(0, 7))):
      at = (x + int(rng.normal(0, 40)), int(rng.uniform(0, 0.5) * h))
      cv2.circle(mask, at, int(rng.integers(10, 60)), 255, -1)
  cv2.copyTo(leaves, mask, image)


def _sample(picture, u, v):
  """Returns the picture wrapped around at columns u, rows v (float)."""
  h, w = picture.shape[:2]
  u = np.mod(u, w - 1).astype(np.float32)
  v = np.mod(v, h - 1).astype(np.float32)
  return cv2.remap(picture, u, v, cv2.INTER_LINEAR)


def _boxes(rng, image, view, depth, count):
  """Draws textured upright cuboids standing on the ground behind people."""
  for _ in range(count):
    z = rng.uniform(0.3, 1.0) * depth
    size = rng.uniform(0.15, 0.9, 3)
    far = np.array([rng.uniform(-0.9, 0.9) * z, 0, z])
    base = view.position + view.level() @ far
    base[1] = rng.choice([0.0, 0.0, rng.uniform(0.5, 2.2)])
    turn = rng.uniform(0, np.pi / 2)
    c, s = np.cos(turn), np.sin(turn)
    ground = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * size[[0, 2]] / 2
    ground = ground @ np.array([[c, -s], [s, c]])
    low = np.stack([ground[:, 0], np.zeros(4), ground[:, 1]], 1) + base
    high = low + np.array([0, size[1] * 1.6, 0])
    skin = texture(rng, TEXTURES[rng.integers(len(TEXTURES))], 96)
    sides = [
      np.stack([low[i], low[i - 1], high[i - 1], high[i]]) for i in range(4)
    ]
    faces = [*sides, high]
    faces.sort(key=lambda q: -np.linalg.norm(q.mean(0) - view.position))
    for index, face in enumerate(faces[2:]):
      _paste_quad(image, view, face, skin, (0.7, 0.95, 1.1)[index % 3])


def _paste_quad(image, view, corners, skin, shade):
  """Draws a textured quad of the world into the image."""
  points, depth = view.project(corners)
  if depth.min() < 0.2 or np.abs(points).max() > 6000:
    return
  h, w = image.shape[:2]
  x0, y0 = np.floor(np.clip(points.min(0), 0, (w, h))).astype(int)
  x1, y1 = np.ceil(np.clip(points.max(0) + 1, 0, (w, h))).astype(int)
  if x1 - x0 < 2 or y1 - y0 < 2:
    return
  side = skin.shape[0]
  source = np.array([(0, side), (side, side), (side, 0), (0, 0)], np.float32)
  target = (points - (x0, y0)).astype(np.float32)
  matrix = cv2.getPerspectiveTransform(source, target)
  size = (int(x1 - x0), int(y1 - y0))
  patch = cv2.warpPerspective(
    cv2.convertScaleAbs(skin, alpha=shade),
    matrix,
    size,
    borderMode=cv2.BORDER_REFLECT,
  )
  mask = np.zeros(size[::-1], np.uint8)
  cv2.fillConvexPoly(mask, target.round().astype(np.int32), 255)
  region = image[y0:y1, x0:x1]
  cv2.copyTo(patch, mask, region)


def background(
  rng: np.random.Generator,
  view: synthetic_camera.View,
  size: tuple[int, int],
  distance: float,
  clutter: float,
) -> UInt8[np.ndarray, "h w 3"]:
  """Returns the still scene seen from `view`: ground, wall or sky, things.

  `distance` is how far the people stand, in metres; `clutter` in 0..1.
  """
  if rng.random() < 0.06 + 0.12 * clutter:
    return _abstract(rng, size, clutter)
  indoor = rng.random() < 0.5
  deep = distance + (rng.uniform(0.8, 5) if indoor else rng.uniform(4, 40))
  rays, height = view.rays(size), float(view.position[1])
  away = deep / np.maximum(rays[..., 2], 1e-3)
  across, level = rays[..., 0] * away, rays[..., 1] * away + height
  scale = rng.uniform(45, 130) * (1 if indoor else 10 / deep)
  image = _sample(
    _wall_picture(rng, indoor, clutter), across * scale, -level * scale
  )
  if not indoor:
    _sky(rng, image, level, deep)
  _floor(rng, image, rays, height, deep, indoor)
  _boxes(rng, image, view, deep, int(rng.integers(0, 3 + int(7 * clutter))))
  return _lit(rng, image)


def _floor(rng, image, rays, height, deep, indoor):
  """Paints the ground in front of the wall, in place."""
  kinds = ("planks", "tiles", "noise", "plain", "checks")
  if not indoor:
    kinds = ("grass", "grass", "grass", "noise", "plain", "tiles", "rubble")
  picture = texture(rng, kinds[rng.integers(len(kinds))], 256)
  reach = height / np.maximum(-rays[..., 1], height / 80)
  x, z = rays[..., 0] * reach, rays[..., 2] * reach
  below = ((rays[..., 1] < -1e-3) & (z < deep)).view(np.uint8)
  zoom = rng.uniform(60, 160)
  near = _sample(picture, x * zoom, z * zoom)
  cv2.copyTo(cv2.blur(near, (6, 6)), below, image)
  cv2.copyTo(near, below & (z < 0.1 * zoom).view(np.uint8), image)


def _sky(rng, image, level, deep):
  """Paints sky over the tops of what stands at the end of the scene."""
  h, w = level.shape
  edge = rng.uniform(0.0, 0.5) * deep
  ragged = octaves(rng, (h, w), 5, 0.7)[..., 0] * rng.uniform(0, 0.12) * deep
  row = np.linspace(1.05, 0.85, h, dtype=np.float32)[:, None, None]
  clouds = octaves(rng, (h // 4, w // 4), 3, 0.5).mean(2) * rng.uniform(0, 40)
  clouds = cv2.resize(clouds, (w, h))[..., None]
  sky = (random_colour(rng, "sky").astype(np.float32) * row + clouds).clip(
    0, 255
  )
  cv2.copyTo(
    sky.astype(np.uint8), (level > edge + ragged).view(np.uint8), image
  )


def _abstract(rng, size, clutter):
  """Returns a backdrop of noise and shapes without any space in it."""
  kind = TEXTURES[rng.integers(len(TEXTURES))]
  image = cv2.resize(texture(rng, kind, 256), size[::-1])
  _polygons(
    rng, image, int(rng.integers(4, 10 + int(50 * clutter))), 0.01, 0.14
  )
  return _lit(rng, image)


def _lit(rng, image):
  """Returns the image under uneven light."""
  h, w = image.shape[:2]
  grid = np.clip(1 + rng.normal(0, 0.16, (3, 4)), 0.5, 1.4).astype(np.float32)
  light = cv2.resize(grid, (w, h), interpolation=cv2.INTER_CUBIC)
  return cv2.multiply(image, cv2.merge([light] * 3), dtype=cv2.CV_8U)


def patch(
  rng: np.random.Generator, side: int = 96
) -> UInt8[np.ndarray, "s s 4"]:
  """Returns a textured shape that can hide people: BGR and its cover."""
  skin = texture(rng, TEXTURES[rng.integers(len(TEXTURES))], side)
  cover = np.zeros((side, side), np.uint8)
  pick, half = rng.random(), side // 2
  if pick < 0.45:
    cover[2:-2, 2:-2] = 255
  elif pick < 0.6:
    cv2.ellipse(cover, (half, half), (half - 3, half - 3), 0, 0, 360, 255, -1)
  elif pick < 0.75:  # a chair or table: top and legs
    cover[: side // 3] = 255
    cover[:, 4 : side // 8] = 255
    cover[:, -side // 8 : -4] = 255
  elif pick < 0.87:
    turn = np.linspace(0, 2 * np.pi, 9)[:-1]
    reach = rng.uniform(0.4, 1, 8) * (half - 3)
    points = half + reach[:, None] * np.stack([np.cos(turn), np.sin(turn)], 1)
    cv2.fillPoly(cover, [points.astype(np.int32)], 255)
  else:  # leaves
    blobs = octaves(rng, (side, side), 6, 0.8).mean(2)
    cover[blobs > 0.05] = 255
  shade = np.linspace(rng.uniform(0.7, 1.1), rng.uniform(0.7, 1.1), side)
  skin = np.clip(skin * shade[None, :, None], 0, 255).astype(np.uint8)
  return np.dstack([cv2.bitwise_and(skin, skin, mask=cover), cover])
