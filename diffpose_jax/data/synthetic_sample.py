"""Draws a synthetic scene by lot: people, things, camera, light, recording."""

import dataclasses

import cv2
import numpy as np

from diffpose_jax.data import (
  synthetic_body,
  synthetic_camera,
  synthetic_clothes,
  synthetic_looks,
  synthetic_mesh,
  synthetic_motion,
  synthetic_poses,
  synthetic_render,
  synthetic_scene,
  synthetic_textures,
)


def _events(rng, frames, share, stretch):
  """Returns the frames in which a person is blurred or covered."""
  events = {}
  for start in range(0, frames, stretch):
    if rng.random() >= share:
      continue
    first = start + int(rng.integers(0, stretch))
    kind = ("blur", "smear", "cover", "cover")[rng.integers(4)]
    size = {
      "blur": rng.uniform(0.018, 0.035),
      "smear": rng.uniform(0.10, 0.22),
      "cover": rng.uniform(0.10, 0.24),
    }[kind]
    joint = int(rng.integers(5, 17))
    for frame in range(first, min(first + int(rng.integers(1, 3)), frames)):
      events[frame] = (kind, float(size), joint)
  return events


def _world_bone(motion, held):
  """Returns turn and place of the bone that carries a chair or a bar."""
  pelvis = motion.origin[:, synthetic_body.BONE["pelvis"]]
  low = int(np.argmin(pelvis[:, 1]))
  across = motion.turn[low, synthetic_body.BONE["pelvis"]][:, 0]
  yaw = np.degrees(np.arctan2(-across[2], across[0]))
  turn = synthetic_body.rotation(1, yaw)
  if held == "bar":
    hands = [synthetic_body.BONE[f"{side}_hand"] for side in ("left", "right")]
    place = motion.origin[:, hands].mean(axis=(0, 1))
    return turn, place + np.array([0, 0.07, 0])
  return turn, pelvis[low] - np.array([0, 0.11, 0])


def _actor(rng, times, name, place, pixels, difficulty):
  """Returns a random person who is at `place` in the middle of the video."""
  body = synthetic_body.sample_body(rng)
  pace = difficulty.speed * rng.uniform(0.75, 1.2)
  motion = synthetic_motion.sample_motion(
    rng, body, name, times, pace, difficulty.turned
  )
  middle = motion.origin[len(times) // 2, 0] * np.array([1, 0, 1])
  shift = place - middle
  motion = dataclasses.replace(
    motion, origin=motion.origin + shift, joints=motion.joints + shift
  )
  activity = synthetic_poses.ACTIVITIES[name]
  held = activity.held if rng.random() < 0.75 else ""
  detail = float(
    np.interp(pixels, [60, 130, 220, 420], [0.65, 0.85, 1.15, 1.7])
  )
  look = synthetic_looks.sample_look(rng, body)
  seat = activity.seat or (name == "rise" and rng.random() < 0.6)
  mesh = synthetic_clothes.build(rng, body, look, held, seat, detail)
  frames = (len(times) - 2 * synthetic_scene.HALF) // synthetic_scene.STEPS
  return synthetic_scene.Actor(
    body=body,
    mesh=mesh,
    motion=motion,
    world=_world_bone(motion, held),
    sigma=float(difficulty.defocus * abs(rng.normal(0, 0.004)) * pixels),
    events=_events(rng, frames, difficulty.ambiguous, difficulty.stretch),
    cover=synthetic_textures.patch(rng),
  )


def _things(rng, subject, position, times, difficulty):
  """Returns still and moving shapes before and behind the subject."""
  low, high = difficulty.occluders
  things = []
  middle = subject[len(subject) // 2]
  toward = position - middle
  side = np.cross(toward, [0, 1, 0])
  side /= np.linalg.norm(side) + 1e-9
  for _ in range(int(rng.integers(low, high + 1))):
    share = rng.uniform(0.12, 0.5)
    at = middle + share * toward + side * rng.normal(0, 0.4)
    if rng.random() < 0.35:
      half = np.array([rng.uniform(0.02, 0.07), 1.6])
      at[1] = 1.2
    else:
      half = np.array([rng.uniform(0.1, 0.35), rng.uniform(0.12, 0.4)])
      at[1] = rng.choice([half[1], rng.uniform(0.1, 1.2)])
    things.append(_thing(rng, at, half * (1 - share), side, times, 0.4))
  for _ in range(int(rng.integers(0, 1 + int(3 * difficulty.clutter)))):
    at = middle - rng.uniform(0.3, 1.0) * toward + side * rng.normal(0, 1.2)
    at[1] = rng.uniform(0.2, 2.0)
    half = rng.uniform(0.08, 0.6, 2)
    things.append(_thing(rng, at, half, side, times, 0.7))
  return tuple(things)


def _thing(rng, at, half, side, times, moving):
  """Returns a shape at rest, or passing the place halfway."""
  pace = rng.uniform(-2.0, 2.0) if rng.random() < moving else 0.0
  path = at + np.outer((times - times.mean()) * pace, side)
  angle = rng.normal(0, 0.1) if rng.random() < 0.7 else rng.uniform(-1.5, 1.5)
  return synthetic_scene.Thing(
    synthetic_textures.patch(rng), path, half, float(angle)
  )


def _look(rng, frames, size, difficulty):
  """Returns the recording's exposure, colour, noise and compression."""
  at = np.linspace(0, 1, frames)[:, None]
  wave = np.sin(2 * np.pi * (rng.uniform(0.3, 2) * at + rng.uniform(0, 1)))
  warm = rng.normal(0, 0.06) * np.array([1, 0, -1])
  gain = np.exp(rng.normal(-0.03, 0.16) + warm + 0.14 * difficulty.light * wave)
  if rng.random() < 0.12 * difficulty.light:
    gain = gain * np.exp(rng.normal(0, 0.05, (frames, 1)))  # flicker
  gamma = np.exp(rng.normal(0, 0.2) + 0.05 * difficulty.light * wave[:, 0])
  grain = rng.standard_normal((size[0] + 32, size[1] + 32, 3), np.float32)
  grain = 0.75 * grain.mean(2, keepdims=True) * 1.7 + 0.25 * grain
  if rng.random() < 0.5:
    grain = 1.6 * cv2.blur(grain, (2, 2))
  level = difficulty.noise * abs(rng.normal(0, 5))
  return synthetic_scene.Look(
    gain=gain,
    gamma=gamma,
    grey=bool(rng.random() < 0.12),
    sigma=float(
      rng.uniform(0, 0.75) * size[0] / 240 * (0.5 + difficulty.defocus)
    ),
    shrink=float(rng.choice([1, 1, 1, 0.75, 0.6])),
    noise=np.clip(grain * level, -100, 100).astype(np.int8),
    quality=int(rng.integers(45, 96)),
  )


def _crowd(rng, backdrop, view, light, distance):
  """Draws small unlabelled people into the backdrop; returns their region."""
  layers, corners = [], []
  size = backdrop.shape[:2]
  grain = np.full((2, 2, 4), 128, np.uint8)
  first = rng.uniform(-0.5, 0.3)
  for index in range(int(rng.integers(2, 6))):
    body = synthetic_body.sample_body(rng)
    name = ("stand", "talk", "walk", "sit")[rng.integers(4)]
    motion = synthetic_motion.sample_motion(
      rng, body, name, np.arange(3) / 30, 1.0
    )
    look = synthetic_looks.sample_look(rng, body)
    mesh = synthetic_clothes.build(rng, body, look, detail=0.6)
    z = distance * rng.uniform(2.6, 3.6)
    place = view.position + view.level() @ np.array(
      [z * (first + 0.07 * index + rng.normal(0, 0.02)), 0, z]
    )
    place[1] = 0
    turn = np.concatenate([motion.turn[1], np.eye(3)[None]])
    origin = np.concatenate([motion.origin[1], np.zeros((1, 3))]) + place
    points = synthetic_mesh.pose_mesh(mesh, turn, origin)
    shown = synthetic_render.surface(mesh, points, view, light)
    layer = synthetic_render.draw_surfaces([shown], size, grain, z)
    if layer is not None:
      layers.append(synthetic_render.blurred(layer, 0.8, size))
      x, y = layer.corner
      h, w = layer.patch.shape[:2]
      corners += [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
  for layer in sorted(layers, key=lambda layer: -layer.depth):
    synthetic_render.put_over(backdrop, layer)
  if not corners:
    return ()
  hull = cv2.convexHull(np.array(corners, np.int32)).reshape(-1, 2)
  return (hull.astype(float),)


def _light(rng):
  direction = np.array([rng.normal(), rng.uniform(0.3, 1.6), rng.normal()])
  ambient = rng.uniform(0.42, 0.72)
  return synthetic_render.Light(
    direction=direction / np.linalg.norm(direction),
    ambient=float(ambient),
    diffuse=float(rng.uniform(0.95, 1.2) - ambient),
    tint=np.clip(1 + rng.normal(0, 0.05, 3), 0.8, 1.2),
  )


def _cast(rng, times, count, pixels, difficulty):
  """Returns the people; the first stands in the middle of it all."""
  return [
    _actor(
      rng,
      times,
      synthetic_motion.sample_activity(rng, difficulty.activities),
      np.array([rng.uniform(-1.6, 1.6), 0, rng.uniform(-0.5, 2.8)])
      if index
      else np.zeros(3),
      pixels,
      difficulty,
    )
    for index in range(count)
  ]


def sample_scene(
  rng: np.random.Generator,
  frames: int,
  size: tuple[int, int],
  difficulty: synthetic_scene.Difficulty,
) -> synthetic_scene.Scene:
  """Returns a random scene."""
  rate = rng.choice([24.0, 25.0, 30.0])
  times = (
    np.arange(frames * synthetic_scene.STEPS + 2 * synthetic_scene.HALF)
    - synthetic_scene.HALF
  ) / (rate * synthetic_scene.STEPS)
  close = bool(rng.random() < difficulty.close)
  count = int(rng.integers(difficulty.people[0], difficulty.people[1] + 1))
  pixels = size[0] * (1.5 if close else 0.7)
  actors = _cast(rng, times, count, pixels, difficulty)
  main = actors[0]
  subject = main.motion.origin[:, synthetic_body.BONE["lumbar"]]
  views = synthetic_camera.sample_views(
    rng, subject, times, size, difficulty.camera_motion, close, main.body.height
  )
  light = _light(rng)
  middle = views[len(views) // 2]
  h, w = size
  wide = (int(1.4 * h), int(1.6 * w))
  centre = ((wide[1] - 1) / 2, (wide[0] - 1) / 2)
  backdrop_view = dataclasses.replace(middle, centre=centre)
  distance = float(np.linalg.norm(middle.position - subject[len(subject) // 2]))
  backdrop = synthetic_textures.background(
    rng, backdrop_view, wide, distance, difficulty.clutter
  )
  soft = max(rng.normal(0.2, 0.7), 0) * h / 240
  if soft > 0.3:
    backdrop = cv2.GaussianBlur(backdrop, (0, 0), soft)
  ignored = ()
  if rng.random() < difficulty.crowd:
    ignored = _crowd(rng, backdrop, backdrop_view, light, distance)
  return synthetic_scene.Scene(
    size=size,
    frames=frames,
    actors=tuple(actors),
    things=_things(rng, subject, middle.position, times, difficulty),
    views=tuple(views),
    backdrop=backdrop,
    backdrop_view=backdrop_view,
    ignored=ignored,
    light=light,
    shadow=float(rng.choice([0.0, 0.3, 0.5])),
    shutter=float(
      np.clip(difficulty.motion_blur * rng.uniform(0.1, 1.0), 0, 1)
    ),
    fabric=synthetic_render.fabric(rng, size, rng.uniform(0.02, 0.06)),
    look=_look(rng, frames, size, difficulty),
  )
