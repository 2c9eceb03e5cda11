"""Key poses and activities of synthetic people.

A pose names only the angles that it sets (degrees, see `synthetic_body`); an
angle without a side sets both sides; `lift` is the height of a hop in metres.
An activity is a loop of (pose, shortest and longest seconds of the way to it),
with the gait under it and what is held.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from diffpose_jax.data import synthetic_body

_A, _B = "left_", "right_"


def _legs(left, right, spread=8):
  """Returns hip and knee flexion of both legs."""
  return {
    "left_hip_flex": left[0],
    "left_knee_flex": left[1],
    "right_hip_flex": right[0],
    "right_knee_flex": right[1],
    "hip_spread": spread,
  }


def _arm(side, raised, plane, elbow, twist=0):
  """Returns the angles of one arm (side '' sets both)."""
  return {
    f"{side}arm_raise": raised,
    f"{side}arm_plane": plane,
    f"{side}elbow_flex": elbow,
    f"{side}arm_twist": twist,
  }


_CROUCH = {
  "body_pitch": 25,
  "spine_flex": 20,
  "head_flex": -20,
  "ankle_flex": 22,
}
_GRIP = {"left_arm_plane": -25, "right_arm_plane": -25, "arm_twist": 25}

POSES = {
  "stand": _arm("", 6, 40, 14),
  "hip_hands": _arm("", 35, 95, 95, 60),
  "folded": _arm("", 35, -5, 105, 70),
  "talk_a": _arm(_A, 35, 20, 85, 20) | _arm(_B, 10, 30, 20),
  "talk_b": _arm(_B, 45, 35, 95, -10) | _arm(_A, 30, 10, 80, 40),
  "arms_out": _arm("", 90, 95, 10),
  "arms_up": _arm("", 165, 60, 15),
  "goal_post": _arm("", 90, 90, 90, -75),
  "reach_fwd": _arm("", 85, 5, 15) | {"spine_flex": 8},
  "clap_open": _arm("", 60, 35, 70, 10),
  "clap_shut": _arm("", 60, -20, 65, 35),
  "wave_a": _arm(_A, 110, 95, 100, -75) | _arm(_B, 8, 30, 15),
  "wave_b": _arm(_A, 130, 95, 50, -70) | _arm(_B, 8, 30, 15),
  "hair_a": _arm(_A, 95, 60, 140, -5) | {"head_side": -12, "head_flex": 10},
  "hair_b": _arm(_A, 70, 60, 125, 5) | {"head_side": -18},
  "drink": _arm(_A, 55, 20, 135, 25) | _arm(_B, 10, 30, 60),
  "pour_a": _arm(_A, 55, 30, 75, 45) | _arm(_B, 35, 5, 75, 20),
  "pour_b": _arm(_A, 80, 55, 85, 70) | _arm(_B, 40, 5, 75, 20),
  "read": _arm("", 35, 0, 90, 30) | {"head_flex": 30},
  "aim_gun": _arm("", 82, -18, 12, 10) | {"head_flex": 5},
  "aim_rifle": _arm(_A, 80, 5, 55, 20)
  | _arm(_B, 65, 70, 135, 20)
  | {"body_yaw": -35, "head_twist": 30},
  "bow_draw": _arm(_A, 88, 85, 4)
  | _arm(_B, 88, 75, 140, 10)
  | {"head_twist": 65},
  "bow_nock": _arm(_A, 60, 50, 20)
  | _arm(_B, 55, 15, 80, 30)
  | {"head_twist": 40, "head_flex": 15},
  "golf_address": _GRIP
  | _legs((28, 22), (28, 22), 10)
  | {"spine_flex": 38, "body_pitch": 8, "arm_raise": 50, "elbow_flex": 8},
  "golf_back": _arm(_A, 105, -45, 15, 10)
  | _arm(_B, 80, 45, 95, -40)
  | _legs((25, 28), (22, 18), 10)
  | {"spine_flex": 28, "spine_twist": -42, "body_yaw": -30, "head_twist": 55},
  "golf_through": _arm(_B, 115, -45, 20, 10)
  | _arm(_A, 100, 50, 95, -40)
  | _legs((5, 5), (0, 30), 10)
  | {"spine_twist": 40, "body_yaw": 65, "head_twist": -10},
  "bat_ready": _arm(_A, 75, -40, 60, 20)
  | _arm(_B, 60, 55, 120, -10)
  | _legs((30, 38), (30, 35), 18)
  | {"spine_flex": 15, "spine_twist": -30, "body_yaw": -25, "head_twist": 60},
  "bat_hit": _GRIP
  | _legs((25, 10), (0, 35), 20)
  | {"arm_raise": 75, "elbow_flex": 10, "spine_twist": 30, "body_yaw": 55},
  "throw_back": _arm(_A, 95, 95, 95, -70)
  | _arm(_B, 75, 30, 15)
  | _legs((-5, 25), (40, 30), 8)
  | {"spine_twist": 38, "body_yaw": 30, "spine_flex": -12},
  "throw_out": _arm(_A, 105, 5, 12, 20)
  | _arm(_B, 20, 10, 75)
  | _legs((-15, 40), (40, 30), 5)
  | {"spine_twist": -35, "body_yaw": -20, "spine_flex": 30},
  "catch_low": _arm("", 55, -5, 60, 10)
  | _legs((45, 60), (45, 60), 15)
  | _CROUCH,
  "catch_high": _arm("", 140, 15, 25) | {"spine_flex": -8, "head_flex": -20},
  "shoot_low": _arm("", 65, 15, 110, 10)
  | _legs((35, 55), (35, 55), 8)
  | {"body_pitch": 12},
  "shoot_high": _arm("", 155, 20, 20)
  | {"lift": 0.28, "ankle_flex": -35, "head_flex": -15},
  "kick_back": _arm(_B, 50, 80, 25)
  | _arm(_A, 30, 60, 40)
  | _legs((-28, 85), (12, 18), 6)
  | {"body_pitch": 8, "spine_twist": 12},
  "kick_out": _arm(_B, -25, 30, 25)
  | _arm(_A, 40, 80, 30)
  | _legs((75, 12), (5, 15), 5)
  | {"body_pitch": -14, "spine_flex": 15, "left_ankle_flex": -35},
  "jump_low": _arm("", -35, 20, 20)
  | _legs((75, 90), (75, 90), 8)
  | _CROUCH
  | {"body_pitch": 32},
  "jump_high": _arm("", 150, 30, 20)
  | _legs((15, 25), (10, 30), 8)
  | {"lift": 0.5, "ankle_flex": -35},
  "tuck": _arm("", 70, 50, 40)
  | _legs((95, 110), (80, 100), 15)
  | {"lift": 0.6},
  "pick_bend": _arm("", 75, 5, 12)
  | _legs((75, 18), (70, 22), 8)
  | {"body_pitch": 42, "spine_flex": 55, "head_flex": -15},
  "pick_squat": _arm("", 50, 5, 20)
  | _legs((105, 125), (100, 120), 22)
  | _CROUCH
  | {"body_pitch": 30, "spine_flex": 35},
  "pick_one": _arm(_A, 75, 10, 10)
  | _arm(_B, 5, 60, 70)
  | _legs((85, 65), (30, 55), 8)
  | {"body_pitch": 30, "spine_flex": 50, "spine_side": 12, "ankle_flex": 15},
  "lunge": _arm("", 20, 60, 40) | _legs((80, 85), (-15, 55), 5),
  "kneel": _arm("", 35, 5, 70, 20)
  | _legs((90, 95), (0, 100), 8)
  | {"right_ankle_flex": -40},
  "push": _arm("", 72, 5, 45, 5)
  | _legs((60, 55), (15, 25), 6)
  | {"body_pitch": 38, "spine_flex": 8, "head_flex": -25, "ankle_flex": 20},
  "push_far": _arm("", 88, 5, 12)
  | _legs((70, 50), (5, 15), 6)
  | {"body_pitch": 48, "head_flex": -30, "ankle_flex": 22},
  "sit": _arm("", 30, 10, 55, 30) | _legs((85, 85), (85, 88), 10),
  "sit_lean": _arm("", 45, 5, 75, 40)
  | _legs((85, 75), (90, 95), 14)
  | {"spine_flex": 35, "head_flex": 5},
  "sit_back": _arm("", 20, 60, 60, 30)
  | _legs((75, 70), (95, 60), 12)
  | {"body_pitch": -15},
  "sit_rise": _arm("", 35, 10, 40)
  | _legs((80, 75), (80, 75), 10)
  | {"body_pitch": 35, "spine_flex": 20, "ankle_flex": 20},
  "floor_sit": _arm("", 30, 30, 45, 20)
  | _legs((95, 35), (90, 55), 22)
  | {"body_pitch": 2, "spine_flex": 20},
  "floor_cross": _arm("", 35, 10, 75, 25)
  | _legs((95, 120), (95, 120), 50)
  | {"hip_twist": -30, "spine_flex": 20},
  "all_fours": _arm("", 82, 5, 8)
  | _legs((80, 85), (85, 90), 8)
  | {"body_pitch": 82, "head_flex": -40, "ankle_flex": -40},
  "push_up": _arm("", 85, 15, 8)
  | _legs((5, 5), (5, 5), 4)
  | {"body_pitch": 76, "head_flex": -25, "ankle_flex": 25},
  "push_down": _arm("", 25, 60, 110, -10)
  | _legs((5, 5), (5, 5), 4)
  | {"body_pitch": 88, "head_flex": -25, "ankle_flex": 25},
  "hang": _arm("", 170, 50, 6)
  | _legs((5, 20), (5, 30), 3)
  | {"head_flex": -15},
  "pull_up": _arm("", 110, 92, 132, -70)
  | _legs((20, 60), (15, 75), 4)
  | {"head_flex": -10, "spine_flex": -8},
  "look_left": {"head_twist": 60, "spine_twist": 20},
  "look_down": {"head_flex": 35, "spine_flex": 12},
  "stretch_side": _arm(_A, 165, 70, 20) | {"spine_side": -28, "body_roll": -8},
  "climb_a": _arm(_A, 150, 30, 20)
  | _arm(_B, 80, 30, 95)
  | _legs((15, 20), (95, 90), 20),
  "climb_b": _arm(_B, 150, 30, 20)
  | _arm(_A, 80, 30, 95)
  | _legs((95, 90), (15, 20), 20),
}


@dataclasses.dataclass(frozen=True)
class Activity:
  """A loop of key poses: what people do.

  `gait` is 'walk', 'run', 'stairs' or ''; `anchor` says whether the feet or
  the hands stay in place; `seat` puts a chair under the person; `held` is
  '', 'club', 'ball', 'gun', 'bow', 'bar' or 'cup'.
  """

  keys: tuple[tuple[str, float, float], ...]
  gait: str = ""
  anchor: str = "feet"
  seat: bool = False
  held: str = ""
  weight: float = 1.0


def _idle(*names):
  return tuple((name, 0.5, 1.4) for name in names)


ACTIVITIES = {
  "stand": Activity(
    _idle("stand", "talk_a", "hip_hands", "look_left", "folded")
  ),
  "talk": Activity(_idle("talk_a", "talk_b", "look_left", "read"), weight=1.5),
  "clap": Activity((("clap_open", 0.18, 0.4), ("clap_shut", 0.15, 0.3))),
  "wave": Activity((("wave_a", 0.25, 0.5), ("wave_b", 0.25, 0.5))),
  "hair": Activity((("hair_a", 0.4, 0.8), ("hair_b", 0.4, 0.8))),
  "pour": Activity(_idle("pour_a", "pour_b", "drink"), held="cup"),
  "walk": Activity((), gait="walk", weight=2.5),
  "walk_talk": Activity(_idle("talk_a", "look_left", "stand"), gait="walk"),
  "run": Activity((), gait="run", weight=1.5),
  "stairs": Activity((), gait="stairs", weight=1.5),
  "push": Activity((("push", 0.6, 1.2), ("push_far", 0.6, 1.2)), weight=1.5),
  "golf": Activity(
    (
      ("golf_address", 0.5, 0.9),
      ("golf_back", 0.6, 1.0),
      ("golf_address", 0.2, 0.28),
      ("golf_through", 0.25, 0.4),
    ),
    held="club",
    weight=1.7,
  ),
  "bat": Activity(
    (
      ("bat_ready", 0.6, 1.1),
      ("bat_hit", 0.22, 0.35),
      ("golf_through", 0.2, 0.4),
    ),
    held="club",
    weight=1.2,
  ),
  "throw": Activity(
    (("stand", 0.4, 0.8), ("throw_back", 0.4, 0.8), ("throw_out", 0.2, 0.35)),
    held="ball",
    weight=1.2,
  ),
  "catch": Activity(
    (
      ("catch_low", 0.3, 0.6),
      ("catch_high", 0.3, 0.6),
      ("reach_fwd", 0.3, 0.6),
    ),
    held="ball",
  ),
  "shoot_ball": Activity(
    (("shoot_low", 0.4, 0.8), ("shoot_high", 0.3, 0.45), ("stand", 0.4, 0.6)),
    held="ball",
    weight=1.2,
  ),
  "kick": Activity(
    (("stand", 0.4, 0.7), ("kick_back", 0.3, 0.5), ("kick_out", 0.2, 0.35)),
    weight=1.5,
  ),
  "kick_run": Activity(
    (("stand", 0.6, 0.9), ("kick_back", 0.3, 0.5), ("kick_out", 0.2, 0.35)),
    gait="run",
    weight=0.5,
  ),
  "jump": Activity(
    (("jump_low", 0.4, 0.7), ("jump_high", 0.25, 0.4), ("jump_low", 0.25, 0.4)),
    weight=1.2,
  ),
  "tuck": Activity((("jump_low", 0.4, 0.7), ("tuck", 0.3, 0.4)), weight=0.5),
  "pick": Activity(
    (("stand", 0.5, 0.9), ("pick_bend", 0.6, 1.0), ("pick_one", 0.6, 1.0)),
    weight=1.5,
  ),
  "squat": Activity((("stand", 0.5, 0.8), ("pick_squat", 0.6, 1.0))),
  "lunge": Activity(_idle("lunge", "stand", "kneel")),
  "gun": Activity(_idle("aim_gun", "stand"), held="gun", weight=0.8),
  "rifle": Activity(_idle("aim_rifle", "look_left"), held="gun", weight=0.8),
  "bow": Activity(_idle("bow_nock", "bow_draw"), held="bow", weight=1.2),
  "sit": Activity(
    _idle("sit", "sit_lean", "sit_back", "sit"), seat=True, weight=1.5
  ),
  "rise": Activity(
    (("sit", 0.6, 1.0), ("sit_rise", 0.4, 0.7), ("stand", 0.5, 0.8)), weight=1.5
  ),
  "floor": Activity(_idle("floor_sit", "floor_cross"), weight=0.8),
  "crawl": Activity(_idle("all_fours", "pick_squat"), weight=0.5),
  "push_up": Activity(
    (("push_up", 0.5, 0.8), ("push_down", 0.5, 0.8)), weight=0.6
  ),
  "pull_up": Activity(
    (("hang", 0.6, 1.0), ("pull_up", 0.6, 1.0)),
    anchor="hands",
    held="bar",
    weight=1.5,
  ),
  "climb": Activity((("climb_a", 0.5, 0.9), ("climb_b", 0.5, 0.9))),
  "dance": Activity(
    tuple(
      (name, 0.25, 0.7)
      for name in ("arms_out", "goal_post", "stretch_side", "arms_up", "lunge")
    ),
    weight=1.2,
  ),
  "free": Activity((), weight=3.0),
}

_MIRRORED = np.ones(len(synthetic_body.ANGLES))
for _name, _index in synthetic_body.ANGLE.items():
  if _name in (
    "body_roll",
    "body_yaw",
    "spine_side",
    "spine_twist",
    "head_side",
    "head_twist",
  ):
    _MIRRORED[_index] = -1
SWAP = np.array(
  [
    synthetic_body.ANGLE[
      name.replace("left_", "right_")
      if name.startswith("left_")
      else name.replace("right_", "left_")
    ]
    for name in synthetic_body.ANGLES
  ]
)


def mirrored(angles: Float[np.ndarray, "... a"]) -> Float[np.ndarray, "... a"]:
  """Returns the angles of the mirror image of a pose."""
  return (angles * _MIRRORED)[..., SWAP]


def pose_vector(
  name: str,
) -> tuple[Float[np.ndarray, " a"], Float[np.ndarray, " a"], float]:
  """Returns a key pose's angles, 1 where it sets them, and its lift."""
  values = np.zeros(len(synthetic_body.ANGLES))
  mask = np.zeros(len(synthetic_body.ANGLES))
  pose = POSES[name]
  generic = [key for key in pose if key not in synthetic_body.ANGLE]
  for key in generic + [key for key in pose if key in synthetic_body.ANGLE]:
    if key == "lift":
      continue
    for full in (key,) if key in synthetic_body.ANGLE else (_A + key, _B + key):
      values[synthetic_body.ANGLE[full]] = pose[key]
      mask[synthetic_body.ANGLE[full]] = 1
  return values, mask, float(pose.get("lift", 0.0))
