import cv2
import numpy as np
import pytest

from diffpose_jax.data.annotations import Frame, Person, Video
from diffpose_jax.evaluation import pairing


def person(joints=None, labelled=None):
  return Person(
    box=None,
    joints=np.zeros((3, 2), np.float32) if joints is None else joints,
    labelled=np.ones(3, bool) if labelled is None else labelled,
  )


def video(name, numbers, prefix="images/val/", first_id=0, people=1):
  return Video(
    name,
    tuple(
      Frame(
        f"{prefix}{name}/{i:06}.jpg", first_id + i, True, (person(),) * people
      )
      for i in numbers
    ),
  )


def ids(pairs):
  return [(name, a.image_id, b.image_id) for name, a, b in pairs]


def test_pairs_by_name_in_order_whatever_the_order_given():
  truth = [video("b", [0, 1]), video("a", [3])]
  predicted = [video("a", [3]), video("b", [1, 0])]
  assert ids(pairing.pair_frames(truth, predicted)) == [
    ("a", 3, 3),
    ("b", 0, 0),
    ("b", 1, 1),
  ]


def test_renumbered_ids_do_not_matter():
  # The ids of the prediction are those of other true frames.
  truth = [video("a", [0, 1, 2], first_id=10)]
  predicted = [video("a", [2, 1, 0], first_id=11)]
  assert ids(pairing.pair_frames(truth, predicted)) == [
    ("a", 10, 11),
    ("a", 11, 12),
    ("a", 12, 13),
  ]


def test_another_folder_or_other_names_are_found_too():
  truth = [video("a", [0, 1], first_id=10)]
  moved = [video("a", [0, 1], prefix="/elsewhere/", first_id=20)]
  assert ids(pairing.pair_frames(truth, moved)) == [
    ("a", 10, 20),
    ("a", 11, 21),
  ]
  renamed = [Video("a", (Frame("y.png", 11, True), Frame("x.png", 10, True)))]
  assert ids(pairing.pair_frames(truth, renamed)) == [
    ("a", 10, 10),
    ("a", 11, 11),
  ]


def test_frames_without_people_need_no_prediction():
  empty = video("a", [5], people=0).frames
  truth = [Video("a", video("a", [0, 1]).frames + empty)]
  pairs = pairing.pair_frames(truth, [video("a", [0, 1])])
  assert ids(pairs) == [("a", 0, 0), ("a", 1, 1), ("a", 5, 5)]
  assert pairs[2][2].people == ()


@pytest.mark.parametrize(
  ("truth", "predicted", "message"),
  [
    ([video("a", [0])], [], r"1 video\(s\) .*: a has no prediction"),
    (
      [video("a", [0])],
      [video(n, [0]) for n in "aedcb"],
      r"4 video\(s\) of one side only: b, c, d, \.\.\. is not in the ground",
    ),
    (
      [video("a", [0, 1])],
      [video("a", [0])],
      r"a: 1 frame\(s\) .*000001\.jpg has no prediction",
    ),
    (
      [video("a", [0])],
      [video("a", [0, 1])],
      r"a: 1 frame\(s\) .*000001\.jpg is not in the ground truth",
    ),
    ([video("a", [0]), video("a", [1])], [], "ground truth: video 'a'"),
    ([], [video("a", [0])] * 2, "predictions: video 'a' is there 2 times"),
    ([video("a", [0, 0])], [video("a", [0, 0])], "with the same name"),
  ],
)
def test_what_does_not_fit_is_an_error(truth, predicted, message):
  with pytest.raises(ValueError, match=message):
    pairing.pair_frames(truth, predicted)


def test_inside_excludes_edges_and_corners():
  square = np.array([[0, 0], [4, 0], [4, 4], [0, 4]], float)
  points = np.array(
    [[2, 2], [0, 2], [4, 2], [2, 0], [2, 4], [0, 0], [4, 4], [5, 2], [-1, 4]],
    float,
  )
  want = [True] + [False] * 8
  assert pairing.inside(points, square).tolist() == want
  assert pairing.inside(points, square[::-1]).tolist() == want
  closed = np.concatenate([square, square[:1]])
  assert pairing.inside(points, closed).tolist() == want


def test_inside_of_what_is_no_polygon_is_empty():
  for count in range(3):
    got = pairing.inside(np.zeros((5, 2)), np.zeros((count, 2)))
    assert not np.any(got)
  assert pairing.inside(np.zeros((0, 2)), np.eye(3, 2)).shape == (0,)


def test_inside_agrees_with_opencv_on_random_polygons():
  rng = np.random.default_rng(0)
  for corners in (3, 5, 11, 23):
    # Whole numbers, so that many points lie on edges and corners; sorted by
    # angle around the centre, so that the polygon does not cross itself.
    angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radius = rng.uniform(3, 12, corners)[:, None]
    polygon = np.round(radius * np.stack([np.cos(angle), np.sin(angle)], 1))
    grid = np.stack(np.meshgrid(np.arange(-13, 14), np.arange(-13, 14)), -1)
    points = grid.reshape(-1, 2).astype(float)
    contour = polygon.astype(np.float32)
    want = [
      cv2.pointPolygonTest(contour, p, False) > 0 for p in points.tolist()
    ]
    assert pairing.inside(points, polygon).tolist() == want
    assert 0 < sum(want) < len(want)
