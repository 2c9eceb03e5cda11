"""The dressed body of a synthetic person as one mesh."""

import dataclasses

import numpy as np

from diffpose_jax.data import (
  synthetic_body,
  synthetic_head,
  synthetic_looks,
  synthetic_mesh,
  synthetic_props,
)


def _pattern(rng, look, uv, rows):
  """Returns the shirt's colour per face; `rows` are metres along the part."""
  colour = np.tile(look.shirt, (len(uv), 1))
  turn = uv[:, 0]
  bands = np.floor(rows / rng.uniform(0.04, 0.11)).astype(int) % 2 == 0
  posts = np.floor(turn * rng.integers(5, 9) * 2).astype(int) % 2 == 0
  second = {
    "stripes": bands,
    "pin": posts,
    "panel": (np.abs((turn - 0.25 + 0.5) % 1 - 0.5) > 0.17)
    & (np.abs((turn - 0.75 + 0.5) % 1 - 0.5) > 0.17),
    "blotch": rng.random(len(uv)) < 0.3,
  }.get(look.pattern)
  if second is not None:
    colour[second] = look.shirt_second
  if look.pattern == "plaid":
    mix = (bands.astype(float) + posts.astype(float))[:, None] / 2
    colour = colour * (1 - mix) + look.shirt_second * mix
  return colour


def _torso(rng, body, look, detail):
  """Returns the trunk, dressed."""
  t, s, g = body.torso, body.scale, body.girth
  wide = body.shoulder / 0.19 / s
  female = 1.0 if body.female else 0.0
  # height / torso, half width, front, back
  table = np.array(
    [
      (-0.22, 0.05, 0.05, 0.05),
      (-0.13, 0.125, 0.085, 0.105),
      (0.0, 0.162 + 0.012 * female, 0.10, 0.128),
      (0.15, 0.160 + 0.008 * female, 0.105, 0.112),
      (0.38, 0.142 - 0.014 * female, 0.100 * g, 0.085),
      (0.60, 0.158 - 0.008 * female, 0.108 * g, 0.104),
      (0.78, 0.176 * wide, 0.120 + 0.022 * female, 0.118),
      (0.90, 0.186 * wide, 0.104, 0.116),
      (0.99, 0.178 * wide, 0.078, 0.094),
      (1.05, 0.105 * wide, 0.056, 0.068),
      (1.09, 0.052, 0.045, 0.050),
    ]
  )
  centres = np.zeros((len(table), 3))
  centres[:, 1] = table[:, 0] * t
  radii = table[:, 1:] * s * (0.55 + 0.45 * g) + 0.4 * look.loose
  rings, sides = int(15 * detail), int(14 * detail)
  shape = synthetic_mesh.tube(centres, radii, rings, sides, square=0.86)
  points, _, uv = shape
  rows = points[:, 1].reshape(-1, sides)
  height = ((rows[1:] + rows[:-1]) / 2).reshape(-1) / t
  colour = _pattern(rng, look, uv, height * t)
  front = np.abs(uv[:, 0] - 0.25) < 0.2
  if look.pattern == "logo":
    middle = (np.abs(uv[:, 0] - 0.25) < 0.09) & (np.abs(height - 0.7) < 0.11)
    colour[middle] = look.shirt_second
    if rng.random() < 0.4:
      back = (np.abs(uv[:, 0] - 0.75) < 0.1) & (np.abs(height - 0.68) < 0.15)
      colour[back] = look.shirt_second
  if look.pattern == "yoke":
    colour[height > 0.8] = look.shirt_second
  if look.open_front and look.pattern != "bare":
    colour[(np.abs(uv[:, 0] - 0.25) < 0.05) & (height > 0.1)] = (
      look.shirt_second
    )
  colour[(height > 1.03) | (front & (height > 0.985))] = look.skin
  below = height < (look.hem if look.pattern != "bare" else 0.12)
  colour[below] = look.bottom
  part = synthetic_mesh.make_part(shape, "pelvis", colour)
  depth = 0.03 if look.pattern == "bare" else 0.075
  part = synthetic_mesh.wrinkled(rng, part, rings, sides, depth)
  level = points[:, 1] / t
  low, chest = level < 0.34, synthetic_body.BONE["chest"]
  bones = np.empty((len(level), 2), int)
  bones[:] = synthetic_body.BONE["lumbar"], chest
  bones[low] = synthetic_body.BONE["pelvis"], synthetic_body.BONE["lumbar"]
  weight = np.where(
    low,
    synthetic_mesh.step(level, 0.02, 0.34),
    synthetic_mesh.step(level, 0.34, 0.68),
  )
  return dataclasses.replace(part, bones=bones, weight=weight)


def _limb(rng, joint, upper, lower, names, table, options):
  """Returns a limb over one hinge: `table` rows (metres down, radius, back)."""
  rings, sides, colour_of, wrinkle, square = options
  table = np.asarray(table)
  centres = np.tile(joint, (len(table), 1)).astype(float)
  centres[:, 1] -= table[:, 0]
  centres[:, 2] += table[:, 2]
  radii = np.repeat(table[:, 1:2], 3, axis=1)
  shape = synthetic_mesh.tube(centres, radii, rings, sides, square=square)
  down = joint[1] - shape[0][:, 1]
  rows = down.reshape(-1, sides)
  middle = ((rows[1:] + rows[:-1]) / 2).reshape(-1)
  colour = colour_of(middle, shape[2])
  part = synthetic_mesh.make_part(shape, names[0], colour)
  part = synthetic_mesh.wrinkled(rng, part, rings, sides, wrinkle)
  reach = 0.16 * min(upper, lower)
  weight = synthetic_mesh.step(down, upper - reach, upper + reach)
  return synthetic_mesh.blended(part, names[0], names[1], weight)


def _leg(rng, body, look, side, joint, detail):
  s, g = body.scale, body.girth * body.bulk**0.5
  u, v = body.thigh, body.shank
  loose = look.loose if look.bottom_kind == "trousers" else 0.0
  wear = np.array([0, 0, 0.2, 0.5, 0.8, 1, 0.7, 1.2, 1.4, 1.4]) * loose
  table = np.array(
    [
      (-0.085 * s, 0.055 * s, 0.0),
      (-0.01 * s, 0.084 * s, -0.008),
      (0.09 * s, 0.086 * s, -0.004),
      (0.6 * u, 0.070 * s, 0.0),
      (u - 0.03 * s, 0.055 * s, 0.004),
      (u + 0.04 * s, 0.050 * s, 0.002),
      (u + 0.3 * v, 0.056 * s, -0.012 * s),
      (u + 0.6 * v, 0.043 * s, -0.008 * s),
      (u + 0.9 * v, 0.034 * s, -0.004),
      (u + 1.03 * v, 0.036 * s, -0.004),
    ]
  )
  table[:, 1] = table[:, 1] * (0.5 + 0.5 * g) + wear
  length = {
    "trousers": u + 0.97 * v,
    "shorts": u * rng.uniform(0.55, 1.02),
  }.get(look.bottom_kind, -1.0)
  sock = u + v * (0.9 if rng.random() < 0.6 else 0.55)
  white = np.array([225.0, 225.0, 225.0])

  def colour_of(down, uv):
    colour = np.tile(look.skin, (len(down), 1))
    colour[down > sock] = white
    colour[down < length] = look.bottom
    if look.pattern == "panel":
      outside = uv[:, 0] if side == "left" else (uv[:, 0] + 0.5) % 1
      seam = (np.minimum(outside, 1 - outside) < 0.06) & (down < length)
      colour[seam] = look.shirt_second
    return colour

  names = (f"{side}_thigh", f"{side}_shank")
  options = (int(17 * detail), int(10 * detail), colour_of, 0.07, 1.0)
  return _limb(rng, joint, u, v, names, table, options)


def _arm(rng, body, look, side, joint, detail):
  s, g = body.scale, body.bulk
  u, v = body.arm, body.forearm
  covered = look.sleeve * (u + v) * 0.98
  table = np.array(
    [
      (-0.055 * s, 0.020 * s, 0.0),
      (-0.025 * s, 0.050 * s, 0.0),
      (0.05 * s, 0.058 * s, 0.0),
      (0.55 * u, 0.050 * s, 0.0),
      (u, 0.042 * s, -0.002),
      (u + 0.22 * v, 0.044 * s, 0.003),
      (u + 0.6 * v, 0.036 * s, 0.0),
      (u + 0.95 * v, 0.024 * s, 0.0),
      (u + 1.02 * v, 0.024 * s, 0.0),
    ]
  )
  table[:, 1] = table[:, 1] * (0.4 + 0.6 * g)
  puff = (0.002 + 0.35 * look.loose) * synthetic_mesh.step(
    table[:, 0], -0.06, 0.1
  )
  table[:, 1] += np.where(table[:, 0] < covered, puff, 0)

  def colour_of(down, uv):
    colour = _pattern(rng, look, uv, down)
    colour[down > covered] = look.skin
    if look.sleeve == 0.0:
      colour[:] = look.skin
      if look.pattern != "bare":
        colour[down < -0.01 * s] = look.shirt
    return colour

  names = (f"{side}_arm", f"{side}_forearm")
  options = (int(15 * detail), int(8 * detail), colour_of, 0.06, 1.0)
  return _limb(rng, joint, u, v, names, table, options)


def _hand_and_foot(body, look, side, sign, rest, detail):
  """Returns hand, thumb and shoe."""
  s, part = body.scale, synthetic_mesh.make_part
  wrist = rest[synthetic_body.BONE[f"{side}_hand"]]
  ankle = rest[synthetic_body.BONE[f"{side}_foot"]]
  palm = np.array(
    [
      (0.0, 0.016, 0.022),
      (0.03, 0.016, 0.034),
      (0.09, 0.015, 0.042),
      (0.13, 0.012, 0.036),
      (0.18, 0.009, 0.022),
    ]
  )
  at = wrist + np.stack([0 * palm[:, 0], -palm[:, 0] * s, 0 * palm[:, 0]], 1)
  hand = synthetic_mesh.tube(at, palm[:, [1, 2, 2]] * s, 5, int(8 * detail))
  thumb = synthetic_mesh.ball(
    wrist + np.array([-sign * 0.01, -0.075, 0.045]) * s,
    np.array([0.011, 0.034, 0.012]) * s,
    3,
    6,
  )
  shoe = np.array(
    [
      (-0.075, 0.024, 0.03, 0.030),
      (-0.055, 0.034, 0.05, 0.035),
      (0.0, 0.036, 0.052, 0.035),
      (0.07, 0.044, 0.026, 0.035),
      (0.13, 0.046, 0.012, 0.035),
      (0.175, 0.036, 0.004, 0.034),
      (0.195, 0.012, -0.01, 0.030),
    ]
  )
  at = ankle + np.array([[0, -0.04, z] for z in shoe[:, 0]]) * s
  foot = synthetic_mesh.tube(at, shoe[:, 1:] * s, 7, int(8 * detail), "z")
  shade = np.where(foot[2][:, :1] > 0.55, 0.55, 1.0)  # the sole, below
  return [
    part(hand, f"{side}_hand", look.skin * 0.97),
    part(thumb, f"{side}_hand", look.skin * 0.93),
    part(foot, f"{side}_foot", look.shoes * shade, gloss=0.15),
  ]


def _skirt(rng, body, look, detail):
  """Returns a skirt carried by the pelvis and both thighs."""
  s, length = body.scale, body.thigh * rng.uniform(0.55, 1.25)
  flare = rng.uniform(0.02, 0.12)
  at = np.array(
    [[0, 0.12 * s, 0], [0, 0, 0], [0, -0.5 * length, 0], [0, -length, 0]]
  )
  wide = np.array([0.155, 0.185, 0.19 + 0.4 * flare, 0.19 + flare]) * s
  radii = np.stack([wide, 0.75 * wide, 0.8 * wide], 1)
  rings, sides = int(9 * detail), int(16 * detail)
  shape = synthetic_mesh.tube(at, radii, rings, sides)
  part = synthetic_mesh.make_part(shape, "pelvis", look.bottom)
  part = synthetic_mesh.wrinkled(rng, part, rings, sides, 0.09)
  points = shape[0]
  bones = np.full((len(points), 2), synthetic_body.BONE["pelvis"])
  bones[:, 1] = np.where(
    points[:, 0] > 0,
    synthetic_body.BONE["left_thigh"],
    synthetic_body.BONE["right_thigh"],
  )
  weight = synthetic_mesh.step(-points[:, 1], 0.0, 0.4 * s) * (
    0.5 + 0.4 * synthetic_mesh.step(np.abs(points[:, 0]), 0, 0.1)
  )
  return dataclasses.replace(part, bones=bones, weight=weight)


def build(
  rng: np.random.Generator,
  body: synthetic_body.Body,
  look: synthetic_looks.Look,
  held: str = "",
  seat: bool = False,
  detail: float = 1.0,
) -> synthetic_mesh.Mesh:
  """Returns the mesh of a dressed person; `detail` scales the face count."""
  rest = synthetic_body.rest_origins(body)
  parts = [_torso(rng, body, look, detail)]
  neck = rest[synthetic_body.BONE["neck"]]
  head = rest[synthetic_body.BONE["head"]]
  at = np.stack(
    [
      neck - np.array([0, 0.06 * body.scale, 0]),
      neck,
      head,
      head + np.array([0, 0.2 * body.head, 0]),
    ]
  )
  radii = np.full((4, 3), 0.052 * body.scale * body.bulk**0.5)
  shape = synthetic_mesh.tube(at, radii, 6, int(8 * detail))
  part = synthetic_mesh.make_part(shape, "chest", look.skin * 0.93)
  weight = synthetic_mesh.step(shape[0][:, 1], neck[1] - 0.02, head[1] + 0.05)
  parts.append(synthetic_mesh.blended(part, "chest", "head", weight))
  parts += synthetic_head.head(rng, body, look, rest, detail)
  for side, sign in (("left", 1), ("right", -1)):
    shoulder = rest[synthetic_body.BONE[f"{side}_arm"]]
    hip = rest[synthetic_body.BONE[f"{side}_thigh"]]
    state = rng.bit_generator.state
    parts.append(_leg(rng, body, look, side, hip, detail))
    parts.append(_arm(rng, body, look, side, shoulder, detail))
    if side == "left":
      rng.bit_generator.state = state  # both sides are cut from one cloth
    parts += _hand_and_foot(body, look, side, sign, rest, detail)
  if look.bottom_kind == "skirt":
    parts.append(_skirt(rng, body, look, detail))
  parts += synthetic_props.held(rng, held, body, rest)
  if seat:
    parts += synthetic_props.chair(rng)
  return synthetic_mesh.assemble(body, parts)
