"""What synthetic people hold, hang from and sit on."""

import numpy as np

from diffpose_jax.data import synthetic_body, synthetic_looks, synthetic_mesh


def held(rng, kind, body, rest):
  """Returns what is in the hands, or the bar above them."""
  s, side = body.scale, str(rng.choice(["left", "right"]))
  sign = 1 if side == "left" else -1
  hand = rest[synthetic_body.BONE[f"{side}_hand"]] + np.array([0, -0.08 * s, 0])
  colour = synthetic_looks.cloth_colour(rng)
  options = {"body": False, "gloss": 0.3}

  def rod(first, last, radius, bone=f"{side}_hand", along="y"):
    at = np.linspace(first, last, 4)
    shape = synthetic_mesh.tube(at, np.full((4, 3), radius), 6, 6, along)
    return synthetic_mesh.make_part(shape, bone, colour, **options)

  if kind == "club":
    end = hand + np.array([0, -0.55, 0.75]) * s
    return [rod(hand, end, rng.uniform(0.008, 0.028))]
  if kind == "ball":
    radius = rng.uniform(0.04, 0.13)
    centre = hand + np.array([-sign * radius, -0.06, 0.0])
    shape = synthetic_mesh.ball(centre, np.full(3, radius), 6, 10)
    return [synthetic_mesh.make_part(shape, f"{side}_hand", colour, **options)]
  if kind == "gun":
    length = float(rng.choice([0.18, 0.7]))
    return [rod(hand, hand + np.array([0, -length, 0.0]), 0.018)]
  if kind == "bow":
    reach = np.array([0, 0, 0.65 * s])
    return [rod(hand - reach, hand + reach, 0.012, along="z")]
  if kind == "cup":
    shape = synthetic_mesh.ball(
      hand + np.array([0, -0.02, 0.04]), (0.035, 0.035, 0.06), 5, 8, "z"
    )
    return [synthetic_mesh.make_part(shape, f"{side}_hand", colour, **options)]
  if kind == "bar":
    length = rng.uniform(0.6, 1.2)
    return [
      rod(
        np.array([-length, 0, 0]), np.array([length, 0, 0]), 0.02, "world", "x"
      )
    ]
  return []


def chair(rng):
  """Returns a seat on the extra world bone: its top is at the origin."""
  colour = synthetic_looks.cloth_colour(rng)
  boxes = [((0, -0.03, 0.0), (0.24, 0.03, 0.24))]
  if rng.random() < 0.5:
    boxes.append(((0, 0.28, -0.25), (0.22, 0.26, 0.025)))
  legs = rng.random() < 0.6
  if legs:
    boxes += [
      ((x, -0.24, z), (0.02, 0.2, 0.02))
      for x in (-0.2, 0.2)
      for z in (-0.2, 0.2)
    ]
  else:
    boxes.append(((0, -0.24, 0), (0.22, 0.2, 0.22)))
  parts = []
  for centre, half in boxes:
    half = np.array(half)
    at = np.array(centre) + np.array([[0, -half[1], 0], [0, half[1], 0]])
    radii = np.tile(half[[0, 2, 2]], (2, 1)) * 1.2
    shape = synthetic_mesh.tube(at, radii, 3, 8, square=0.35)
    parts.append(
      synthetic_mesh.make_part(shape, "world", colour, body=False, bias=-0.04)
    )
  return parts
