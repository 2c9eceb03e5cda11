"""The surface of a synthetic person: skin, hair, clothes, what is held.

A mesh is a list of quads. Each vertex follows one or two bones (linear blend
skinning), each face has a colour (BGR, 0..255). Built at rest, in metres, in
the body frame of `synthetic_body`.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float, Int

from diffpose_jax.data import synthetic_body

WORLD = len(synthetic_body.BONES)  # an extra bone for what stands or hangs


@dataclasses.dataclass(frozen=True)
class Part:
  """One closed tube: vertices, the bones that carry them, faces, colours.

  `bones` [v 2] with `weight` [v] of the second; `uv` [f 2]: turn in 0..1
  (0 left, 1/4 front, 1/2 right, 3/4 back) and way along the tube in 0..1.
  """

  points: np.ndarray
  bones: np.ndarray
  weight: np.ndarray
  faces: np.ndarray
  colour: np.ndarray
  uv: np.ndarray
  gloss: float = 0.0
  bias: float = 0.0
  body: bool = True
  head: bool = False


@dataclasses.dataclass(frozen=True)
class Mesh:
  """A whole person. `local` [2 v 3] are the vertices in their two bones."""

  local: np.ndarray
  bones: Int[np.ndarray, "2 v"]
  weight: Float[np.ndarray, " v"]
  faces: Int[np.ndarray, "f 4"]
  colour: Float[np.ndarray, "f 3"]
  bias: Float[np.ndarray, " f"]
  gloss: Float[np.ndarray, " f"]
  body: np.ndarray
  head: np.ndarray


def tube(
  at: np.ndarray,
  radii: np.ndarray,
  rings: int,
  sides: int,
  along: str = "y",
  square: float = 1.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns points [v 3], faces [f 4] and uv [f 2] of a closed tube.

  `at` [c 3] are centres of control rings; `radii` [c 3] their half width to
  the sides, to the front and to the back. `along` is the axis: y (front is
  +z), z (front is +y) or x (front is +z). `square` below 1 is boxier.
  """
  at, radii = np.asarray(at, float), np.asarray(radii, float)
  length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(at, axis=0), axis=1))]
  dense = np.linspace(0, length[-1], 48)
  kernel = np.array([1, 2, 3, 2, 1]) / 9.0

  def smooth(row):
    return np.convolve(
      np.pad(np.interp(dense, length, row), 2, mode="edge"), kernel, "valid"
    )

  way = length[-1] * (1 - np.cos(np.linspace(0.12, np.pi - 0.12, rings))) / 2
  way = 0.5 * way + 0.5 * np.linspace(0, length[-1], rings)

  def sample(row):
    return np.interp(way, dense, smooth(row))

  centre = np.stack([sample(at[:, i]) for i in range(3)], 1)
  wide = np.stack([sample(radii[:, i]) for i in range(3)], 1)
  centre = np.concatenate([at[:1], centre, at[-1:]])
  wide = np.concatenate([radii[:1] * 0.15, wide, radii[-1:] * 0.15])
  turn = 2 * np.pi * np.arange(sides) / sides

  def shape(x):
    return np.sign(x) * np.abs(x) ** square

  across, front = shape(np.cos(turn)), shape(np.sin(turn))
  depth = np.where(front > 0, wide[:, 1:2] * front, wide[:, 2:3] * front)
  first, second = {"y": (0, 2), "z": (0, 1), "x": (1, 2)}[along]
  points = np.repeat(centre[:, None], sides, axis=1)
  points[..., first] += wide[:, :1] * across
  points[..., second] += depth
  return points.reshape(-1, 3), *_tube_faces(len(centre), sides)


def ball(centre, radii, rings, sides, along="y", square=1.0):
  """Returns an ellipsoid's tube; radii are x, y and z half axes."""
  angle = np.linspace(-np.pi / 2, np.pi / 2, 7)
  axis = {"x": 0, "y": 1, "z": 2}[along]
  first, second = {"y": (0, 2), "z": (0, 1), "x": (1, 2)}[along]
  at = np.tile(np.asarray(centre, float), (7, 1))
  at[:, axis] += radii[axis] * np.sin(angle)
  width = np.cos(angle)
  size = np.stack(
    [radii[first] * width, radii[second] * width, radii[second] * width], 1
  )
  return tube(at, size, rings, sides, along, square)


def _tube_faces(rings, sides):
  """Returns faces and uv of a tube of `rings` times `sides` points."""
  i, j = np.meshgrid(np.arange(rings - 1), np.arange(sides), indexing="ij")
  after = (j + 1) % sides
  faces = np.stack(
    [
      i * sides + j,
      i * sides + after,
      (i + 1) * sides + after,
      (i + 1) * sides + j,
    ],
    axis=-1,
  ).reshape(-1, 4)
  uv = np.stack([(j + 0.5) / sides, (i + 0.5) / (rings - 1)], -1).reshape(-1, 2)
  return faces, uv


def outward(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
  """Returns the faces wound so that their normals point out of the tube."""
  corner = points[faces]
  normal = np.cross(corner[:, 2] - corner[:, 0], corner[:, 3] - corner[:, 1])
  away = corner.mean(1) - points.mean(0)
  return faces if (normal * away).sum() > 0 else faces[:, ::-1]


def make_part(
  shape: tuple[np.ndarray, np.ndarray, np.ndarray],
  bone: str,
  colour: np.ndarray | tuple,
  **options,
) -> Part:
  """Returns a part on one bone, of one colour or a colour per face."""
  points, faces, uv = shape
  index = synthetic_body.BONE.get(bone, WORLD)
  return Part(
    points=points,
    bones=np.full((len(points), 2), index),
    weight=np.zeros(len(points)),
    faces=outward(points, faces),
    colour=np.broadcast_to(np.asarray(colour, float), (len(faces), 3)).copy(),
    uv=uv,
    **options,
  )


def blended(part: Part, first: str, second: str, weight: np.ndarray) -> Part:
  """Returns the part carried by two bones; `weight` is the second's share."""
  bones = np.tile(
    [synthetic_body.BONE[first], synthetic_body.BONE[second]], (len(weight), 1)
  )
  return dataclasses.replace(part, bones=bones, weight=weight)


def step(x: np.ndarray, low: float | int, high: float | int) -> np.ndarray:
  """Returns a smooth step from 0 at `low` to 1 at `high`."""
  x = np.clip((x - low) / (high - low), 0, 1)
  return x * x * (3 - 2 * x)


def assemble(body: synthetic_body.Body, parts: list[Part]) -> Mesh:
  """Returns the parts as one mesh."""
  rest = np.concatenate([synthetic_body.rest_origins(body), np.zeros((1, 3))])
  starts = np.cumsum([0] + [len(part.points) for part in parts])
  points = np.concatenate([part.points for part in parts])
  bones = np.concatenate([part.bones for part in parts]).T

  def each(value, name):
    return np.concatenate(
      [
        np.full(len(getattr(part, name)), getattr(part, value))
        for part in parts
      ]
    )

  return Mesh(
    local=np.stack([points - rest[bones[0]], points - rest[bones[1]]]),
    bones=bones,
    weight=np.concatenate([part.weight for part in parts]),
    faces=np.concatenate(
      [
        part.faces + start
        for part, start in zip(parts, starts[:-1], strict=True)
      ]
    ),
    colour=np.concatenate([part.colour for part in parts]),
    bias=each("bias", "faces").astype(float),
    gloss=each("gloss", "faces").astype(float),
    body=each("body", "points").astype(bool),
    head=each("head", "points").astype(bool),
  )


def pose_mesh(
  mesh: Mesh,
  turn: Float[np.ndarray, "bones 3 3"],
  origin: Float[np.ndarray, "bones 3"],
) -> Float[np.ndarray, "v 3"]:
  """Returns the vertices in the world for bones placed there."""
  first, second = mesh.bones
  a = np.einsum("vij,vj->vi", turn[first], mesh.local[0]) + origin[first]
  rows = np.flatnonzero(mesh.weight)
  other = second[rows]
  b = np.einsum("vij,vj->vi", turn[other], mesh.local[1][rows]) + origin[other]
  a[rows] += mesh.weight[rows, None] * (b - a[rows])
  return a


def wrinkled(
  rng: np.random.Generator, part: Part, rings: int, sides: int, depth: float
) -> Part:
  """Returns the part with folds: smooth changes of brightness and shape."""
  noise = rng.normal(0, 1, (rings + 1, sides)).astype(np.float32)
  noise = cv2.GaussianBlur(
    np.tile(noise, (1, 3)), (0, 0), sigmaX=0.8, sigmaY=0.7
  )[:, sides : 2 * sides]
  noise /= noise.std() + 1e-6
  shade = np.clip(1 + depth * noise.reshape(-1, 1), 0.6, 1.3)
  return dataclasses.replace(part, colour=np.clip(part.colour * shade, 0, 255))
