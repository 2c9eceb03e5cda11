"""Boxes are told apart, made steady, and shared; frames keep their order."""

# pyright: reportArgumentType=false, reportOptionalSubscript=false

import numpy as np
import pytest

from diffpose_jax.inference import boxes_in, boxing, flow, shared_boxes

SIZE = 100.0  # of the people, pixels


@pytest.fixture
def frames(dots):
  """A function that makes frames of boxes: lists of (x, track)."""
  job = dots.job([])

  def make(rows):
    for index, row in enumerate(rows):
      frame = flow.Shown(
        *(job, index, index / 25, (400, 600), np.zeros((4, 6, 3)))
      )
      frame.given = [
        boxes_in.Box(
          np.array([x, 5, x + SIZE, 5 + SIZE], np.float32), 0.9, track
        )
        for x, track in row
      ]
      frame.boxes = frame.given
      yield frame

  return make


def _ids(frames, rows, tracked):
  return [ids for _, ids in boxing.identities(frames(rows), tracked)]


def test_identities_of_a_file(frames):
  rows = [[(0, 7), (200, 3)], [], [(0, 3), (100, 3), (200, 9), (300, -1)]]
  assert _ids(frames, rows, True) == [[7, 3], [], [-1, -1, 9, -1]]


def test_identities_by_the_boxes(frames):
  rows = [[(0, -1), (300, -1)], [(302, -1), (1, -1)], [(3, -1)]]
  assert _ids(frames, rows, False) == [[0, 1], [1, 0], [0]]


@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize(("how", "most"), [("online", 0.75), ("lag", 0.4)])
def test_boxes_tremble_less(frames, tracked, how, most):
  """Someone who stands and someone who walks, as a shaky detector sees them."""
  rng = np.random.default_rng(0)
  noise = 3 * rng.standard_normal((60, 2))
  rows = [
    [(50 + noise[i, 0], 1), (200 + i + noise[i, 1], 2)] for i in range(60)
  ]
  found = list(boxing.steadied(frames(rows), how, tracked))
  assert [frame.index for frame in found] == list(range(60))
  x = np.array([[one.box[0] for one in frame.boxes] for frame in found])

  def trembling(x):
    return np.abs(np.diff(x[10:], 2, axis=0)).mean(axis=0)

  given = np.array([[x for x, _ in row] for row in rows])
  assert (trembling(x) < most * trembling(given)).all()
  for frame in found:
    for one, given in zip(frame.boxes, frame.given, strict=True):
      assert (one.score, one.track_id) == (given.score, given.track_id)
      assert one.box.dtype == np.float32 and one is not given


def test_who_has_no_identity_is_left_as_is(frames):
  rows = [[(50 + 9 * (i % 2), -1)] for i in range(9)]
  for frame in boxing.steadied(frames(rows), "lag", True):
    np.testing.assert_array_equal(frame.boxes[0].box, frame.given[0].box)


def test_views_are_shared_along_identities(frames):
  rows = [[(50 + i, 1), (200, -1)][: 2 - (i == 3)] for i in range(7)]
  options = shared_boxes.Options(most=4, stray=0.5)
  found = list(boxing.shared(frames(rows), options, True))
  assert [frame.index for frame in found] == list(range(7))
  first = [frame.views[0] for frame in found]
  assert {view.number for view in first} == {first[0].number}
  assert first[0].box[0] == 51.5  # the mean of the first window
  others = [frame.views[1].number for frame in found if len(frame.views) > 1]
  assert len(set(others)) == 6


def test_nothing_waits_without_frames(frames):
  assert list(boxing.shared(frames([]), shared_boxes.Options(), True)) == []
  found = list(boxing.shared(frames([[], []]), shared_boxes.Options(), False))
  assert [frame.views for frame in found] == [[], []]


@pytest.mark.parametrize(
  ("size", "most"), [((720, 1280), 16), ((4320, 7680), 2), ((9000, 9999), 1)]
)
def test_large_frames_wait_for_shorter_windows(size, most):
  options = shared_boxes.Options(most=16, stray=0.2)
  found = boxing._fitting(options, size)
  assert (found.most, found.stray) == (most, 0.2)
