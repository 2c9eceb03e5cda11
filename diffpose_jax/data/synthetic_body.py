"""The skeleton of a synthetic person: sizes, angle limits, kinematics.

Body frame: x to the person's own left, y up, z forward; metres. A pose is a
vector of named angles in degrees (`ANGLES`); zero is standing upright with
the arms hanging and the palms inwards. Angles are anatomical, so the same
number means the same movement on both sides.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

BONES = (
  "pelvis",
  "lumbar",
  "chest",
  "neck",
  "head",
  *(
    f"{side}_{bone}"
    for side in ("left", "right")
    for bone in ("clavicle", "arm", "forearm", "hand", "thigh", "shank", "foot")
  ),
)
BONE = {name: index for index, name in enumerate(BONES)}

_PARENTS = {
  "pelvis": None,
  "lumbar": "pelvis",
  "chest": "lumbar",
  "neck": "chest",
  "head": "neck",
  "clavicle": "chest",
  "arm": "clavicle",
  "forearm": "arm",
  "hand": "forearm",
  "thigh": "pelvis",
  "shank": "thigh",
  "foot": "shank",
}

# Lower and upper limit in degrees. Flexion moves the limb forward (knee:
# heel to seat), abduction and spread away from the middle, twist inwards.
_TRUNK = {
  "body_pitch": (-40.0, 100.0),
  "body_roll": (-40.0, 40.0),
  "body_yaw": (-90.0, 90.0),
  "spine_flex": (-25.0, 80.0),
  "spine_side": (-30.0, 30.0),
  "spine_twist": (-45.0, 45.0),
  "head_flex": (-50.0, 50.0),
  "head_side": (-35.0, 35.0),
  "head_twist": (-75.0, 75.0),
}
_SIDES = {
  "clavicle_lift": (-5.0, 30.0),
  "arm_raise": (-45.0, 175.0),
  "arm_plane": (-45.0, 120.0),
  "arm_twist": (-80.0, 85.0),
  "elbow_flex": (0.0, 145.0),
  "wrist_flex": (-60.0, 60.0),
  "hip_flex": (-30.0, 120.0),
  "hip_spread": (-20.0, 55.0),
  "hip_twist": (-35.0, 40.0),
  "knee_flex": (0.0, 140.0),
  "ankle_flex": (-45.0, 30.0),
}
LIMITS = {
  **_TRUNK,
  **{f"left_{name}": limit for name, limit in _SIDES.items()},
  **{f"right_{name}": limit for name, limit in _SIDES.items()},
}
ANGLES = tuple(LIMITS)
ANGLE = {name: index for index, name in enumerate(ANGLES)}
LOWER = np.array([LIMITS[name][0] for name in ANGLES])
UPPER = np.array([LIMITS[name][1] for name in ANGLES])


@dataclasses.dataclass(frozen=True)
class Body:
  """Sizes of one person, in metres; `girth` and `bulk` are factors."""

  scale: float
  torso: float
  neck: float
  head: float
  shoulder: float
  hip: float
  arm: float
  forearm: float
  thigh: float
  shank: float
  girth: float
  bulk: float
  female: bool
  child: bool

  @property
  def height(self) -> float:
    """Standing height in metres."""
    return (
      self.shank
      + self.thigh
      + 0.08 * self.scale
      + (self.torso + self.neck + self.head)
    )


def sample_body(rng: np.random.Generator) -> Body:
  """Returns a random person; about one in nine is a child."""
  female = bool(rng.random() < 0.45)
  child = bool(rng.random() < 0.11)
  height = rng.normal(1.66 if female else 1.78, 0.07)
  if child:
    height = rng.uniform(0.95, 1.4)
  scale = height / 1.76

  def vary(spread):
    return float(np.exp(rng.normal(0, spread)))

  small = (1.4 - height) / 0.45 if child else 0.0
  legs = vary(0.03) * (1 - 0.08 * small)
  arms = vary(0.03) * (1 - 0.05 * small)
  head = vary(0.03) * (1 + 0.35 * small) * (height if child else 1.76) / height
  girth = float(np.clip(rng.normal(1.0, 0.13), 0.78, 1.45))
  return Body(
    scale=float(scale),
    torso=0.50 * scale * vary(0.03),
    neck=0.072 * scale * (1 - 0.2 * small),
    head=0.285 * (scale if child else scale**0.5) * head,
    shoulder=(0.165 if female else 0.19) * scale * vary(0.04),
    hip=(0.10 if female else 0.095) * scale * vary(0.04),
    arm=0.29 * scale * arms,
    forearm=0.255 * scale * arms * vary(0.02),
    thigh=0.425 * scale * legs,
    shank=0.415 * scale * legs * vary(0.02),
    girth=girth,
    bulk=float(np.clip(vary(0.1) * girth**0.5, 0.8, 1.35)),
    female=female,
    child=child,
  )


def offsets(body: Body) -> Float[np.ndarray, "bones 3"]:
  """Returns each bone's origin relative to its parent's, at rest, metres."""
  rows = {
    "pelvis": (0, 0, 0),
    "lumbar": (0, 0.18 * body.torso, 0),
    "chest": (0, 0.30 * body.torso, 0),
    "neck": (0, 0.53 * body.torso, -0.012 * body.scale),
    "head": (0, body.neck, 0.012 * body.scale),
  }
  for side, sign in (("left", 1), ("right", -1)):
    inner = 0.15 * body.shoulder
    rows[f"{side}_clavicle"] = (sign * inner, 0.5 * body.torso, 0)
    rows[f"{side}_arm"] = (
      sign * (body.shoulder - inner),
      0.02 * body.torso,
      -0.005,
    )
    rows[f"{side}_forearm"] = (0, -body.arm, 0)
    rows[f"{side}_hand"] = (0, -body.forearm, 0)
    rows[f"{side}_thigh"] = (sign * body.hip, 0, 0)
    rows[f"{side}_shank"] = (0, -body.thigh, 0)
    rows[f"{side}_foot"] = (0, -body.shank, 0)
  return np.array([rows[name] for name in BONES], dtype=float)


def parent(name: str) -> str | None:
  """Returns the name of a bone's parent, or None for the pelvis."""
  side, _, bare = name.partition("_")
  if not bare:
    return _PARENTS[name]
  above = _PARENTS[bare]
  if above in ("pelvis", "chest"):
    return above
  return f"{side}_{above}"


def rest_origins(body: Body) -> Float[np.ndarray, "bones 3"]:
  """Returns the bones' origins at rest, pelvis at the origin, metres."""
  steps = offsets(body)
  origins = np.zeros_like(steps)
  for index, name in enumerate(BONES):
    above = parent(name)
    origins[index] = steps[index] + (
      0 if above is None else origins[BONE[above]]
    )
  return origins


def rotation(axis: int, degrees: np.ndarray | float) -> np.ndarray:
  """Returns right-handed rotation matrices [..., 3, 3] about x, y or z."""
  radians = np.radians(degrees)
  c, s = np.cos(radians), np.sin(radians)
  matrix = np.zeros((*np.shape(radians), 3, 3))
  matrix[..., axis, axis] = 1
  i, j = (axis + 1) % 3, (axis + 2) % 3
  matrix[..., i, i] = matrix[..., j, j] = c
  matrix[..., i, j], matrix[..., j, i] = -s, s
  return matrix


def local_rotations(
  angles: Float[np.ndarray, "t a"],
) -> Float[np.ndarray, "t bones 3 3"]:
  """Returns each bone's rotation relative to its parent."""

  def get(name):
    return angles[:, ANGLE[name]]

  turn = np.tile(np.eye(3), (len(angles), len(BONES), 1, 1))
  turn[:, BONE["pelvis"]] = (
    rotation(1, get("body_yaw"))
    @ rotation(0, get("body_pitch"))
    @ rotation(2, get("body_roll"))
  )
  for name, share in (("lumbar", 0.55), ("chest", 0.45)):
    turn[:, BONE[name]] = (
      rotation(1, share * get("spine_twist"))
      @ rotation(0, share * get("spine_flex"))
      @ rotation(2, share * get("spine_side"))
    )
  for name in ("neck", "head"):
    turn[:, BONE[name]] = (
      rotation(1, 0.5 * get("head_twist"))
      @ rotation(0, 0.5 * get("head_flex"))
      @ rotation(2, 0.5 * get("head_side"))
    )
  for side, sign in (("left", 1), ("right", -1)):
    _turn_side(turn, side, sign, lambda name, side=side: get(f"{side}_{name}"))
  return turn


def _turn_side(turn, side, sign, get):
  """Fills in the rotations of one arm and one leg."""
  plane = sign * get("arm_plane")
  turn[:, BONE[f"{side}_clavicle"]] = rotation(2, sign * get("clavicle_lift"))
  turn[:, BONE[f"{side}_arm"]] = (
    rotation(1, plane)
    @ rotation(0, -get("arm_raise"))
    @ rotation(1, -plane - sign * get("arm_twist"))
  )
  turn[:, BONE[f"{side}_forearm"]] = rotation(0, -get("elbow_flex"))
  turn[:, BONE[f"{side}_hand"]] = rotation(2, -sign * get("wrist_flex"))
  turn[:, BONE[f"{side}_thigh"]] = (
    rotation(0, -get("hip_flex"))
    @ rotation(2, sign * get("hip_spread"))
    @ rotation(1, -sign * get("hip_twist"))
  )
  turn[:, BONE[f"{side}_shank"]] = rotation(0, get("knee_flex"))
  turn[:, BONE[f"{side}_foot"]] = rotation(0, -get("ankle_flex"))


def forward(
  body: Body, angles: Float[np.ndarray, "t a"]
) -> tuple[Float[np.ndarray, "t bones 3 3"], Float[np.ndarray, "t bones 3"]]:
  """Returns the bones' rotations and origins in the person's frame.

  The pelvis is at the origin; the person looks along +z where body_yaw is 0.
  """
  local, steps = local_rotations(angles), offsets(body)
  turn = np.empty_like(local)
  origin = np.zeros((len(angles), len(BONES), 3))
  for index, name in enumerate(BONES):
    above = parent(name)
    if above is None:
      turn[:, index] = local[:, index]
      continue
    base = BONE[above]
    turn[:, index] = turn[:, base] @ local[:, index]
    origin[:, index] = origin[:, base] + turn[:, base] @ steps[index]
  return turn, origin


def joint_anchors(body: Body) -> tuple[tuple[str, tuple[float, ...]], ...]:
  """Returns (bone, offset in that bone) of the 17 PoseTrack18 slots."""
  face = (0.0, 0.37 * body.head, 0.39 * body.head)
  ear = (0.28 * body.head, 0.45 * body.head, 0.0)
  centre = (0.0, 0.0, 0.0)
  pairs = [
    (f"{side}_{bone}", centre)
    for bone in ("arm", "forearm", "hand", "thigh", "shank", "foot")
    for side in ("left", "right")
  ]
  return (
    ("head", face),
    ("head", centre),
    ("head", (0.0, body.head, 0.0)),
    ("head", ear),
    ("head", (-ear[0], *ear[1:])),
    *pairs,
  )


def joints(
  body: Body,
  turn: Float[np.ndarray, "t bones 3 3"],
  origin: Float[np.ndarray, "t bones 3"],
) -> Float[np.ndarray, "t 17 3"]:
  """Returns the 17 PoseTrack18 joints in the frame of `turn` and `origin`."""
  places = []
  for bone, offset in joint_anchors(body):
    index = BONE[bone]
    places.append(origin[:, index] + turn[:, index] @ np.array(offset))
  return np.stack(places, axis=1)
