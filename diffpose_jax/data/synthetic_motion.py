"""Continuous motion of synthetic people: activities to joint angles to space.

World frame: y up, the ground at y = 0, x and z level; metres and seconds.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from diffpose_jax.data import synthetic_body, synthetic_poses

_MAX_TURN = 750.0  # degrees per second on the way between two key poses
_SOLE = 0.075  # height of the ankle above the ground, per body scale
_POSE_NAMES = tuple(synthetic_poses.POSES)


@dataclasses.dataclass(frozen=True)
class Motion:
  """One person's movement over the fine time line, in the world.

  `turn` [t bones 3 3] and `origin` [t bones 3] place the bones; `joints`
  [t 17 3] are the PoseTrack18 slots; `angles` [t a] in degrees.
  """

  activity: str
  angles: np.ndarray
  turn: np.ndarray
  origin: np.ndarray
  joints: np.ndarray


def _ease(x):
  """Returns a smooth 0..1 step with no velocity at its ends."""
  x = np.clip(x, 0, 1)
  return x * x * (3 - 2 * x)


def _set(angles, name, values):
  angles[:, synthetic_body.ANGLE[name]] = values


def gait_angles(
  kind: str, phase: Float[np.ndarray, " t"], vigour: float
) -> Float[np.ndarray, "t a"]:
  """Returns the angles of walking, running or climbing stairs.

  `phase` is in radians, one stride per turn, the left heel strikes at 0;
  `vigour` scales the amplitudes. The curves follow the usual joint-angle
  plots of gait analysis (Perry, 1992) in outline.
  """
  hip0, hip1, knee0, knee1, elbow, swing, lean = {
    "walk": (6, 24, 6, 56, 18, 22, 3),
    "run": (18, 40, 22, 85, 85, 42, 12),
    "stairs": (34, 28, 18, 68, 30, 18, 10),
  }[kind]
  angles = np.zeros((len(phase), len(synthetic_body.ANGLES)))

  def bump(x, at, sharp):
    return np.exp(sharp * (np.cos(x - at) - 1))

  for side, shift in (("left", 0.0), ("right", np.pi)):
    at = phase + shift
    _set(angles, f"{side}_hip_flex", hip0 + vigour * hip1 * np.cos(at))
    knee = knee0 + 14 * bump(at, 0.7, 4) + vigour * knee1 * bump(at, 4.6, 2.2)
    _set(angles, f"{side}_knee_flex", knee)
    ankle = 4 - 22 * vigour * bump(at, 3.7, 4) + 6 * np.cos(at - 2)
    _set(angles, f"{side}_ankle_flex", ankle)
    _set(angles, f"{side}_hip_spread", np.full(len(at), 2.0))
    _set(angles, f"{side}_arm_raise", 4 - vigour * swing * np.cos(at))
    _set(angles, f"{side}_arm_plane", np.full(len(at), 12.0))
    _set(angles, f"{side}_elbow_flex", elbow - 0.4 * swing * np.cos(at))
    _set(angles, f"{side}_arm_twist", np.full(len(at), 15.0))
  _set(angles, "body_pitch", np.full(len(phase), float(lean)))
  _set(angles, "body_yaw", -6 * vigour * np.cos(phase))
  _set(angles, "spine_twist", 14 * vigour * np.cos(phase))
  _set(angles, "body_roll", 3 * vigour * np.sin(phase))
  return angles


def _free_keys(rng, count):
  """Returns key poses mixed from two others each: upper and lower body."""
  keys = []
  lower = np.array(
    [
      any(word in name for word in ("hip", "knee", "ankle"))
      for name in synthetic_body.ANGLES
    ]
  )
  while len(keys) < count:
    first, second = rng.choice(len(_POSE_NAMES), 2)
    if rng.random() < 0.5:
      second = _POSE_NAMES.index("stand")
    upper, mask, _ = synthetic_poses.pose_vector(_POSE_NAMES[first])
    legs, leg_mask, lift = synthetic_poses.pose_vector(_POSE_NAMES[second])
    if abs(upper[synthetic_body.ANGLE["body_pitch"]]) > 60:
      continue
    values = np.where(lower, legs, upper)
    mask = np.where(lower, leg_mask, mask)
    if rng.random() < 0.5:
      values = synthetic_poses.mirrored(values)
      mask = mask[synthetic_poses.SWAP]
    spread = rng.normal(0, 16, len(values))
    keys.append((values + spread * mask, mask, lift, rng.uniform(0.35, 0.9)))
  return keys


def _activity_keys(rng, activity, seconds):
  """Returns (angles, mask, lift, duration) of the keys that fill the time."""
  mirror = rng.random() < 0.5
  keys, total = [], 0.0
  start = int(rng.integers(len(activity.keys)))
  while total < seconds + 2.5:
    name, low, high = activity.keys[(start + len(keys)) % len(activity.keys)]
    values, mask, lift = synthetic_poses.pose_vector(name)
    values = values + mask * rng.normal(0, 6, len(values))
    if mirror:
      values = synthetic_poses.mirrored(values)
      mask = mask[synthetic_poses.SWAP]
    duration = rng.uniform(low, high)
    keys.append((values, mask, lift, duration))
    total += duration
  return keys


def _blend(keys, base, times, start):
  """Returns angles [t a] and lift [t] that pass through the keys in turn."""
  angles, lift = np.empty_like(base), np.empty(len(base))
  full = [mask * values + (1 - mask) * base for values, mask, _, _ in keys]
  lengths = []
  for index, (_, _, _, seconds) in enumerate(keys):
    turn = np.abs(full[index] - full[index - 1]).max() if index else 0.0
    lengths.append(max(seconds, 1.5 * turn / _MAX_TURN))
  ends = np.cumsum(lengths)
  at = np.clip(times + start, 0, ends[-1] - 1e-6)
  segment = np.searchsorted(ends, at, side="right")
  for index in np.unique(segment):
    rows = segment == index
    before = max(index - 1, 0)
    part = 1 - (ends[index] - at[rows]) / lengths[index]
    weight = _ease(part / 0.85)[:, None]
    angles[rows] = (
      full[before][rows] * (1 - weight) + full[index][rows] * weight
    )
    lift[rows] = (
      keys[before][2] * (1 - weight[:, 0]) + keys[index][2] * weight[:, 0]
    )
  return angles, lift


def sample_angles(
  rng: np.random.Generator,
  activity: synthetic_poses.Activity,
  times: Float[np.ndarray, " t"],
  speed: float,
) -> tuple[Float[np.ndarray, "t a"], Float[np.ndarray, " t"]]:
  """Returns joint angles in degrees inside their limits, and hop heights."""
  times = (times - times[0]) * speed
  seconds = float(times[-1])
  vigour = float(rng.uniform(0.7, 1.15))
  if activity.gait:
    pace = {"walk": 0.95, "run": 1.4, "stairs": 0.8}[activity.gait]
    phase = 2 * np.pi * pace * rng.uniform(0.8, 1.2) * times
    phase = phase + rng.uniform(0, 2 * np.pi)
    base = gait_angles(activity.gait, phase, vigour)
    lift = np.zeros(len(times))
    if activity.gait == "run":
      lift = 0.05 * vigour * (1 - np.cos(2 * phase)) / 2
  else:
    base = np.tile(synthetic_poses.pose_vector("stand")[0], (len(times), 1))
    lift = np.zeros(len(times))
  if activity.keys:
    keys = _activity_keys(rng, activity, seconds)
  elif not activity.gait:
    keys = _free_keys(rng, int(seconds / 0.35) + 4)
  else:
    keys = []
  if keys:
    first = keys[0][3]
    angles, hop = _blend(keys, base, times, first + rng.uniform(0, 1))
    lift = lift + hop
  else:
    angles = base
  return _with_life(rng, angles, times), lift


def _with_life(rng, angles, times):
  """Adds a person's own posture and small slow movements; clips to limits."""
  count = angles.shape[1]
  wave = np.zeros_like(angles)
  for _ in range(3):
    rate = 2 * np.pi * rng.uniform(0.15, 1.0, count)
    at = times[:, None] * rate + rng.uniform(0, 2 * np.pi, count)
    wave += rng.normal(0, 1.4, count) * np.sin(at)
  look = np.zeros(count)
  look[synthetic_body.ANGLE["head_twist"]] = rng.normal(0, 18)
  look[synthetic_body.ANGLE["head_flex"]] = rng.normal(4, 9)
  angles = angles + wave + look + rng.normal(0, 3.0, count)
  return np.clip(angles, synthetic_body.LOWER, synthetic_body.UPPER)


def _contacts(body, turn, origin):
  """Returns points that can touch the ground [t p 3] and the soles' count."""
  scale = body.scale
  places = []
  for side in ("left", "right"):
    index = synthetic_body.BONE[f"{side}_foot"]
    for ahead in (-0.05, 0.15):
      offset = np.array([0, -_SOLE, ahead]) * scale
      places.append(origin[:, index] + turn[:, index] @ offset)
  for bone, radius in (
    ("pelvis", 0.12),
    ("left_shank", 0.06),
    ("right_shank", 0.06),
    ("left_hand", 0.07),
    ("right_hand", 0.07),
    ("chest", 0.14),
    ("head", 0.1),
  ):
    point = origin[:, synthetic_body.BONE[bone]].copy()
    point[:, 1] -= radius * scale
    places.append(point)
  return np.stack(places, axis=1)


def _anchored(held, weight):
  """Returns the path that keeps the weighted held points from sliding."""
  step = held[1:] - held[:-1]
  share = (weight[1:] + weight[:-1]) / 2
  share = share / share.sum(axis=1, keepdims=True)
  path = np.zeros((len(held), 3))
  path[1:] = -np.cumsum((share[..., None] * step).sum(axis=1), axis=0)
  return path


def _smooth(values, width):
  """Returns values [t] under a moving average with edges held."""
  if width < 2:
    return values
  kernel = np.hanning(width + 2)[1:-1]
  kernel /= kernel.sum()
  padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
  return np.convolve(padded, kernel, mode="valid")


def place(
  body: synthetic_body.Body,
  angles: Float[np.ndarray, "t a"],
  lift: Float[np.ndarray, " t"],
  heading: Float[np.ndarray, " t"],
  anchor: str,
) -> tuple[Float[np.ndarray, "t bones 3 3"], Float[np.ndarray, "t bones 3"]]:
  """Returns the bones in the world: standing on the ground, feet not sliding.

  `heading` is in degrees about y (0 looks along +z). With anchor 'hands' the
  hands stay where they are and the body hangs from them.
  """
  turn, origin = synthetic_body.forward(body, angles)
  facing = synthetic_body.rotation(1, heading)
  turn = facing[:, None] @ turn
  origin = (facing[:, None] @ origin[..., None])[..., 0]
  if anchor == "hands":
    hands = [synthetic_body.BONE[f"{side}_hand"] for side in ("left", "right")]
    path = -origin[:, hands].mean(axis=1)
    path -= path[:1] * np.array([1, 0, 1])
    path[:, 1] += body.height * 1.32
    return turn, origin + path[:, None]
  contacts = _contacts(body, turn, origin)
  height = contacts[..., 1]
  weight = np.exp(-(height[:, :4] - height.min(axis=1, keepdims=True)) / 0.03)
  path = _anchored(contacts[:, :4], weight + 1e-6)
  path[:, 1] = -_smooth(height.min(axis=1), 9) + lift
  return turn, origin + path[:, None]


def sample_motion(
  rng: np.random.Generator,
  body: synthetic_body.Body,
  name: str,
  times: Float[np.ndarray, " t"],
  speed: float,
  turned: float = 180.0,
) -> Motion:
  """Returns a person's motion, starting near the world's origin.

  At first the body is turned from the camera by at most `turned` degrees.
  """
  activity = synthetic_poses.ACTIVITIES[name]
  angles, lift = sample_angles(rng, activity, times, speed)
  elapsed = (times - times[0]) * speed
  rate = rng.normal(0, 25.0 if activity.gait or name == "free" else 6.0)
  sway = rng.uniform(0, 8) * np.sin(elapsed * rng.uniform(0.3, 1.5))
  heading = 180 + rng.uniform(-turned, turned) + rate * elapsed + sway
  turn, origin = place(body, angles, lift, heading, activity.anchor)
  if activity.gait == "stairs":
    origin = origin + (0.3 * elapsed)[:, None, None] * np.array([0, 1, 0])
  joints = synthetic_body.joints(body, turn, origin)
  return Motion(name, angles, turn, origin, joints)


def sample_activity(
  rng: np.random.Generator, allowed: tuple[str, ...] = ()
) -> str:
  """Returns the name of one of the allowed activities, drawn by its weight."""
  names = list(allowed or synthetic_poses.ACTIVITIES)
  weights = np.array([synthetic_poses.ACTIVITIES[n].weight for n in names])
  return names[int(rng.choice(len(names), p=weights / weights.sum()))]
