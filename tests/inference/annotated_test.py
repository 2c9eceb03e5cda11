"""What is chosen is drawn, where it lies, in the colour of its person."""

import numpy as np
import pytest

from diffpose_jax.data import annotations
from diffpose_jax.inference import annotated, colours
from diffpose_jax.pose.skeleton import POSETRACK

K = len(POSETRACK.joints)
FRAME = (302, 422)  # (height, width)


def _person(track_id=5, box=(100, 60, 180, 260), scale=None, **joints):
  """A person of whom the named joints are known and score 0.9."""
  places, known = np.full((K, 2), -900, np.float32), np.zeros(K, bool)
  for name, place in joints.items():
    places[POSETRACK.index(name)] = place
    known[POSETRACK.index(name)] = True
  return annotations.Person(
    box=np.array(box, np.float32),
    joints=places,
    labelled=known,
    track_id=track_id,
    scores=np.where(known, 0.9, 0).astype(np.float32),
    scale=None if scale is None else np.tile(scale, (K, 1, 1)),
  )


def _drawn(people, parts, picture=None, **more):
  picture = np.full((*FRAME, 3), 128, np.uint8) if picture is None else picture
  return annotated.drawn(
    picture,
    people,
    frame=FRAME,
    skeleton=POSETRACK,
    options=annotated.parse(parts),
    **more,
  )


def _centre(weight):
  ys, xs = np.mgrid[: weight.shape[0], : weight.shape[1]]
  return np.array([(weight * xs).sum(), (weight * ys).sum()]) / weight.sum()


def test_parse():
  options = annotated.parse("skeleton, ids")
  assert options == annotated.Options(boxes=False)
  assert annotated.parse("skeleton,boxes,ids") == annotated.Options()
  nothing = annotated.parse("none")
  assert not any(getattr(nothing, part) for part in annotated.PARTS)
  assert not options.views and annotated.parse("crops").views
  assert annotated.parse("heatmaps").views


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("boxes,bone", "no 'bone' there.*skeleton, boxes"),
    ("", "empty; give some"),
  ],
)
def test_what_cannot_be_drawn(text, words):
  with pytest.raises(ValueError, match=words) as caught:
    annotated.parse(text)
  assert "\n" not in str(caught.value)
  with pytest.raises(ValueError, match="none"):
    annotated.parse("none,boxes")
  with pytest.raises(ValueError, match="share of 1"):
    annotated.Options(shares=(0.5, 1.0))


def test_the_picture_given_stays():
  picture = np.full((*FRAME, 3), 128, np.uint8)
  person = _person(nose=(140, 90))
  drawn = _drawn([person], "skeleton,boxes,ids", picture)
  assert (picture == 128).all() and (drawn != 128).any()
  np.testing.assert_array_equal(_drawn([person], "none", picture), picture)
  np.testing.assert_array_equal(_drawn([], "skeleton,boxes"), picture)


@pytest.mark.parametrize("zoom", [1.0, 0.5])
def test_people_lie_in_a_smaller_picture_where_they_did(zoom):
  size = (round(FRAME[0] * zoom), round(FRAME[1] * zoom))
  picture = np.zeros((*size, 3), np.uint8)
  person = _person(left_wrist=(201.4, 97.8))
  drawn = _drawn([person], "skeleton", picture)
  weight = (drawn[..., 0].astype(float) - colours.OUTLINE[0]).clip(0)
  # Half of a pixel to the left at half the size: (x + 1/2) / 2 - 1/2.
  expected = (np.array([201.4, 97.8]) + 0.5) * zoom - 0.5
  np.testing.assert_allclose(_centre(weight), expected, atol=0.2)


def test_boxes_and_labels_have_the_colour_of_the_identity():
  people = [
    _person(7, (60, 100, 140, 260)),
    _person(-1, (240, 100, 320, 260)),
  ]
  drawn = _drawn(people, "boxes,ids")
  for person, x in zip(people, (60, 240), strict=True):
    colour = colours.person(person.track_id)
    np.testing.assert_allclose(drawn[180, x], colour, atol=25)
  # Above its box the one has a label, the other has no identity.
  assert (drawn[90:98, 62] == colours.person(7)).all()
  assert (drawn[80:98, 230:330] == 128).all()
  without = _drawn(people, "boxes")
  assert (without[80:98] == 128).all()


def test_what_scores_too_little_is_not_drawn():
  person = _person(left_wrist=(201, 97), right_wrist=(61, 97))
  assert person.scores is not None
  person.scores[POSETRACK.index("left_wrist")] = 0.19
  drawn = _drawn([person], "skeleton")
  assert tuple(drawn[97, 61]) == colours.RIGHT
  assert (drawn[:, 130:] == 128).all()


def test_ellipses_grow_with_the_picture_and_the_tail():
  """The 90 % ellipse of a variance of 400: a radius of 42.9 pixels."""
  person = _person(scale=np.eye(2) * 400.0, left_wrist=(211, 151))
  plain = np.full((*FRAME, 3), 128, np.uint8)

  def extent(tail=np.inf, picture=plain):
    drawn = _drawn([person], "ellipses", picture, tail=tail)
    changed = (drawn != 128).any(axis=(0, 2))
    return np.ptp(np.flatnonzero(changed)) / 2

  exact = 20 * np.sqrt(-2 * np.log(0.1))
  assert extent() == pytest.approx(exact, abs=2.5)  # the outline, one or two
  assert extent(picture=plain[::2, ::2]) == pytest.approx(exact / 2, abs=2.5)
  student = 20 * np.sqrt(3 * (0.1 ** (-2 / 3) - 1))
  assert extent(tail=3.0) == pytest.approx(student, abs=2.5)
  assert (_drawn([_person(nose=(50, 50))], "ellipses") == 128).all()


def _view(colour, to_picture=None, cell=None):
  """A crop of one colour of 64x48; the whole of it warm, or one cell."""
  heat = np.zeros((16, 12), np.uint8)
  if cell is not None:
    heat[cell] = 255
  affine = np.eye(2, 3) if to_picture is None else np.array(to_picture)
  crop = np.full((64, 48, 3), colour, np.uint8)
  return annotated.View(crop, heat, affine)


@pytest.mark.parametrize("zoom", [1.0, 0.5])
def test_heat_lies_where_the_crop_came_from(zoom):
  size = (round(FRAME[0] * zoom), round(FRAME[1] * zoom))
  picture = np.zeros((*size, 3), np.uint8)
  view = _view(0, [[3.0, 0, 101.0], [0, 3.0, 47.0]], cell=(5, 7))
  drawn = _drawn([_person()], "heatmaps", picture, views=[view])
  # Cell (5, 7) is at (7 * 4 + 1.5, 5 * 4 + 1.5) of the crop.
  at = np.array([29.5, 21.5]) * 3 + [101, 47]
  expected = (at + 0.5) * zoom - 0.5
  found = _centre(drawn.sum(axis=-1).astype(float))
  np.testing.assert_allclose(found, expected, atol=0.15)


def test_of_two_people_the_greater_heat_counts():
  picture = np.zeros((*FRAME, 3), np.uint8)
  view = _view(0, [[3.0, 0, 101.0], [0, 3.0, 47.0]], cell=(5, 7))
  one = _drawn([_person()], "heatmaps", picture, views=[view])
  both = _drawn([_person()] * 2, "heatmaps", picture, views=[view] * 2)
  np.testing.assert_array_equal(one, both)


def test_crops_stand_beside_the_picture_by_identity():
  people = [_person(9), _person(-1), _person(2)]
  views = [_view((200, 0, 0)), _view((0, 200, 0)), _view((0, 0, 200))]
  drawn = _drawn(people, "crops", views=views)
  height, width = annotated.size(FRAME, annotated.parse("crops"))
  assert drawn.shape == (height, width, 3) and height == FRAME[0]
  assert (drawn[:, : FRAME[1]] == 128).all()
  # Four cells of 75 rows, three quarters as wide.
  assert width - FRAME[1] == 56
  strip = drawn[:, FRAME[1] :]
  for row, colour in enumerate([(0, 0, 200), (200, 0, 0), (0, 200, 0)]):
    assert tuple(strip[row * 75 + 37, 28]) == colour
  edge = strip[37, 1]
  assert tuple(edge) == colours.person(2)
  assert (strip[3 * 75 :] == strip[-1, -1]).all()  # nobody in the fourth


def test_a_crowd_is_counted_where_there_is_no_room():
  views = [_view(200)] * 200
  drawn = _drawn([_person(i) for i in range(200)], "crops", views=views)
  few = _drawn([_person(i) for i in range(4)], "crops", views=views[:4])
  changed = (drawn != few).any(axis=-1)
  assert changed[-30:, FRAME[1] :].any() and not changed[:-40].any()


def test_people_need_their_views():
  with pytest.raises(ValueError, match="0 views of 1 people"):
    _drawn([_person()], "heatmaps")
  assert _drawn([], "crops").shape == (302, 478, 3)


def test_a_tiny_picture_has_room_for_no_crop():
  picture = np.zeros((7, 11, 3), np.uint8)
  drawn = _drawn([_person()], "crops", picture, views=[_view(200)])
  assert drawn.shape == (7, 13, 3)
