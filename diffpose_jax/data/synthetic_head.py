"""The head of a synthetic person: skull, face, hair and hats."""

import numpy as np

from diffpose_jax.data import synthetic_body, synthetic_mesh


def head(rng, body, look, rest, detail):
  """Returns skull, face, hair and hat on the head bone."""
  h = body.head
  base = rest[synthetic_body.BONE["head"]]

  def put(x, y, z):
    return base + h * np.array([x, y, z])

  table = np.array(
    [
      (0.11, 0.06, 0.19, 0.02),
      (0.15, 0.13, 0.31, 0.10),
      (0.24, 0.20, 0.335, 0.22),
      (0.36, 0.245, 0.345, 0.30),
      (0.50, 0.268, 0.345, 0.345),
      (0.65, 0.280, 0.345, 0.36),
      (0.80, 0.262, 0.30, 0.33),
      (0.91, 0.205, 0.22, 0.26),
      (0.975, 0.12, 0.13, 0.15),
      (1.0, 0.03, 0.03, 0.03),
    ]
  )
  at = base + np.array([[0, y, 0] for y in table[:, 0]]) * h
  sides = int(14 * detail)
  points, faces, uv = synthetic_mesh.tube(
    at, table[:, 1:] * h, int(13 * detail), sides
  )
  local = (points[faces].mean(1) - base) / h
  frontal = local[:, 2]
  line = np.interp(
    frontal, [-0.3, -0.1, 0.1, 0.2, 0.3], [0.2, 0.38, 0.5, 0.7, 0.78]
  )
  hairy = local[:, 1] > line
  colour = np.tile(look.skin, (len(faces), 1))
  cheeks = (np.abs(local[:, 0]) > 0.1) & (np.abs(local[:, 1] - 0.36) < 0.07)
  colour[cheeks & (frontal > 0)] *= np.array([0.9, 0.92, 1.02])
  if look.beard:
    colour[(local[:, 1] < 0.27) & (frontal > 0.05)] = (
      look.hair * 0.8 + 0.2 * look.skin
    )
  if look.hair_style != "bald":
    strands = 1 + 0.12 * rng.normal(0, 1, (len(faces), 1))
    colour[hairy] = np.clip(look.hair * strands, 0, 255)[hairy]
    grow = 1.13 if look.hair_style == "curly" else 1.055
    near = np.zeros(len(points), bool)
    near[np.unique(faces[hairy])] = True
    middle = put(0, 0.5, 0)
    points = np.where(near[:, None], middle + (points - middle) * grow, points)
  options = {"head": True}
  parts = [
    synthetic_mesh.make_part((points, faces, uv), "head", colour, **options)
  ]
  parts += _face(look, put, h, detail)
  return parts + _hair(rng, body, look, rest, detail)


def _face(look, put, h, detail):
  """Returns eyes, brows, mouth, nose and ears."""

  def ball(at, r, n=6):
    return synthetic_mesh.ball(put(*at), np.array(r) * h, 3, n)

  def part(shape, colour, bias=0.02):
    return synthetic_mesh.make_part(shape, "head", colour, head=True, bias=bias)

  dark = look.hair * 0.4 + np.array([12, 10, 10])
  lips = look.skin * np.array([0.62, 0.58, 0.82])
  nose = synthetic_mesh.tube(
    np.stack(
      [
        put(0, y, z)
        for y, z in ((0.54, 0.33), (0.42, 0.36), (0.35, 0.385), (0.325, 0.35))
      ]
    ),
    np.array(
      [
        (0.02, 0.02, 0.02),
        (0.035, 0.03, 0.03),
        (0.05, 0.035, 0.03),
        (0.03, 0.02, 0.02),
      ]
    )
    * h,
    4,
    6,
  )
  parts = [
    part(nose, look.skin * 0.98, 0.015),
    part(ball((0, 0.235, 0.325), (0.085, 0.018, 0.02)), lips, 0.025),
  ]
  for sign in (1, -1):
    eye = (sign * 0.115, 0.50, 0.305)
    parts += [
      part(ball(eye, (0.052, 0.03, 0.03)), (215, 218, 220), 0.02),
      part(
        ball((eye[0], 0.50, 0.325), (0.028, 0.03, 0.02)), (35, 38, 45), 0.03
      ),
      part(
        ball((eye[0] * 1.05, 0.575, 0.30), (0.075, 0.016, 0.04)), dark, 0.03
      ),
      part(
        ball((eye[0], 0.54, 0.30), (0.06, 0.02, 0.03)), look.skin * 0.72, 0.018
      ),
      part(
        ball((sign * 0.275, 0.46, -0.02), (0.03, 0.10, 0.055)),
        look.skin * 0.9,
        0.0,
      ),
    ]
  return parts


def _hair(rng, body, look, rest, detail):
  """Returns what hangs from or sits on the head."""
  h = body.head
  base = rest[synthetic_body.BONE["head"]]

  def put(x, y, z):
    return base + h * np.array([x, y, z])

  style, parts = look.hair_style, []
  if style == "long":
    low = rng.uniform(-0.75, 0.0)
    at = np.stack(
      [
        put(0, 0.9, -0.1),
        put(0, 0.6, -0.16),
        put(0, 0.2, -0.2),
        put(0, low, -0.26),
      ]
    )
    radii = np.array(
      [
        (0.2, 0.1, 0.2),
        (0.315, 0.12, 0.26),
        (0.32, 0.05, 0.2),
        (0.22, 0.04, 0.1),
      ]
    )
    shape = synthetic_mesh.tube(
      at, radii * h, int(9 * detail), int(12 * detail)
    )
    strands = 1 + 0.15 * rng.normal(0, 1, (len(shape[1]), 1))
    part = synthetic_mesh.make_part(
      shape, "head", np.clip(look.hair * strands, 0, 255)
    )
    down = (shape[0][:, 1] - base[1]) / h
    weight = 0.8 * synthetic_mesh.step(-down, -0.25, 0.7)
    parts.append(synthetic_mesh.blended(part, "head", "chest", weight))
  if style == "tail":
    low = rng.uniform(-0.3, 0.2)
    at = np.stack(
      [
        put(0, 0.8, -0.3),
        put(0, 0.72, -0.46),
        put(0, 0.4, -0.48),
        put(0, low, -0.42),
      ]
    )
    radii = np.repeat(np.array([[0.06], [0.09], [0.1], [0.03]]), 3, 1)
    shape = synthetic_mesh.tube(at, radii * h, 6, 8)
    parts.append(synthetic_mesh.make_part(shape, "head", look.hair))
  if style in ("cap", "hat"):
    parts += _hat(look, put, h, detail)
  return parts


def _hat(look, put, h, detail):
  """Returns crown and brim of a cap or hat."""
  parts = []
  colour = look.shirt_second
  crown = synthetic_mesh.ball(
    put(0, 0.80, -0.01),
    np.array([0.305, 0.235, 0.375]) * h,
    7,
    int(12 * detail),
  )
  parts.append(synthetic_mesh.make_part(crown, "head", colour, head=True))
  reach = (0.30, 0.26, 0.3) if look.hair_style == "cap" else (0.5, 0.0, 0.55)
  brim = synthetic_mesh.ball(
    put(0, 0.73, reach[1]), np.array([reach[0], 0.025, reach[2]]) * h, 3, 12
  )
  parts.append(synthetic_mesh.make_part(brim, "head", colour * 0.85, head=True))
  return parts
