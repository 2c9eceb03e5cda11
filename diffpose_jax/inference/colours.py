"""What is painted in which colour, the same in videos, pages and pictures."""

from diffpose_jax.pose import skeleton as skeleton_lib

Rgb = tuple[int, int, int]

# Told apart by most colour-blind people too, and from most surroundings.
LEFT = (255, 149, 0)
RIGHT = (56, 142, 255)
MIDDLE = (86, 210, 120)
OUTLINE = (20, 20, 24)
LABEL = (245, 245, 245)

# Of what is painted on people it is the boxes and labels that have these, so
# that none is mistaken for a side. `OUTLINE` can be read on all of them.
PEOPLE = (
  (255, 221, 51),
  (196, 77, 255),
  (64, 224, 208),
  (255, 77, 109),
  (190, 242, 100),
  (99, 102, 241),
  (255, 182, 193),
  (0, 153, 136),
  (255, 255, 255),
  (214, 64, 170),
  (222, 184, 135),
  (120, 150, 40),
)


def person(track_id: int) -> Rgb:
  """The colour of an identity; grey below 0, where there is none."""
  return PEOPLE[track_id % len(PEOPLE)] if track_id >= 0 else (170, 170, 170)


def sides(skeleton: skeleton_lib.Skeleton) -> list[int]:
  """-1 for each joint of the left, 1 for the right, 0 in the middle."""
  found = [0] * len(skeleton.joints)
  for left, right in skeleton.pairs:
    found[left], found[right] = -1, 1
  return found


def side(number: int) -> Rgb:
  """The colour of what lies left (below 0), right (above), in the middle."""
  return LEFT if number < 0 else RIGHT if number > 0 else MIDDLE
