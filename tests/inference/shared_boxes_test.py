"""Which frames of a person share a box, and which box that is."""

# pyright: reportOptionalMemberAccess=false

import itertools

import numpy as np
import pytest

from diffpose_jax.inference import shared_boxes
from diffpose_jax.inference.shared_boxes import Options, SharedBoxes


def _box(x, size=100.0):
  """Of an area whose root is `size`, at x."""
  return np.array([x, 5, x + size / 2, 5 + 2 * size])


def _shared(boxes, **options):
  """The views of one person's boxes; None for a frame without them."""
  share, ready = SharedBoxes(Options(**options)), []
  for box in boxes:
    there = [] if box is None else [box]
    ready += share.push([7] * len(there), np.array(there).reshape(-1, 4))
  ready += share.finish()
  assert len(ready) == len(boxes)
  return [views[0] if views else None for views in ready]


def _x(views):
  return [None if view is None else round(view.box[0], 3) for view in views]


def test_within_a_window_the_box_is_the_mean():
  views = _shared([_box(x) for x in (0, 1, 2, 3, 4, 5)], most=3)
  # 4 is within a tenth of 1 ± 3: the box before will do.
  assert _x(views) == [1] * 6
  assert {view.number for view in views} == {0}
  views = _shared([_box(x) for x in (0, 1, 2, 3, 4, 5)], most=3, stray=0.025)
  assert _x(views) == [1, 1, 1, 4, 4, 4]
  assert [view.number for view in views] == [0, 0, 0, 1, 1, 1]


def test_a_window_ends_before_a_box_strays():
  views = _shared([_box(x) for x in (0, 8, 16, 24, 100)], most=9)
  # 0 and 8 and 16 are within 10 of 8; 24 would be 12 off their mean of 12.
  assert _x(views) == [8, 8, 8, 24, 100]


def test_size_counts_too():
  grown = [_box(50, size) for size in (100, 103, 106, 190)]
  views = _shared(grown, most=9)
  assert [view.number for view in views] == [0, 0, 0, 1]
  np.testing.assert_allclose(views[0].box, np.mean(grown[:3], axis=0))
  np.testing.assert_array_equal(views[3].box, grown[3])


@pytest.mark.parametrize("size", [10.0, 1000.0])
def test_lengths_are_in_sizes_of_the_person(size):
  boxes = [_box(x * size / 100, size) for x in (0, 8, 16, 24, 100)]
  assert [v.number for v in _shared(boxes)] == [0, 0, 0, 1, 2]


def test_with_windows_of_one_frame_a_box_holds_until_the_person_strays():
  share = SharedBoxes(Options(most=1))
  found = []
  for x in (0, 5, 9, 11, 20, 22):
    [[view]] = share.push([3], _box(x)[None])  # at once
    found.append(view.box[0])
  assert found == [0, 0, 0, 11, 11, 22]


def test_a_gap_does_not_end_a_window_but_takes_time():
  boxes = [_box(0), None, _box(4), None, None, _box(9)]
  views = _shared(boxes, most=4, stray=0.045)
  # The third frame after the first is the last of its window.
  assert _x(views) == [2, None, 2, None, None, 9]


def test_who_is_long_gone_is_forgotten():
  share = SharedBoxes(Options(most=2))
  share.push([3], _box(0)[None])
  for _ in range(shared_boxes._GONE + 3):
    share.push([], np.zeros((0, 4)))
  assert not share._tracks
  [first, *_] = share.push([3], _box(0)[None]) + share.finish()
  assert first[0].number == 1


def test_nobody_shares_without_identity():
  boxes = np.stack([_box(0), _box(0), _box(0)])
  share = SharedBoxes(Options(most=1))
  [views] = share.push([-1, 4, -1], boxes)
  [more] = share.push([-1, -1, 4], boxes)
  numbers = [view.number for view in views + more]
  assert numbers[1] == numbers[5]
  assert len(set(numbers)) == 5


def test_frames_come_out_in_order_and_soon():
  """Whatever the people do: at most `most` frames wait."""
  rng = np.random.default_rng(0)
  share, given, ready = SharedBoxes(Options(most=5)), [], []
  for frame in range(200):
    ids = np.flatnonzero(rng.random(4) < 0.8)
    boxes = np.stack([_box(10 * np.sin(frame / 5 + i) + i) for i in range(4)])
    given.append(boxes[ids])
    ready += share.push(ids.tolist(), boxes[ids])
    assert len(given) - len(ready) < 5
  ready += share.finish()
  assert len(ready) == 200
  for boxes, views in zip(given, ready, strict=True):
    assert len(boxes) == len(views)
    for box, view in zip(boxes, views, strict=True):
      assert np.abs(box - view.box).max() <= 0.1 * 100 + 1e-9
  # A number stands for one box.
  views = list(itertools.chain.from_iterable(ready))
  boxes = {view.number: view.box.tobytes() for view in views}
  assert all(boxes[view.number] == view.box.tobytes() for view in views)
  assert 4 < len(boxes) < len(views) / 3


@pytest.mark.parametrize("wrong", [{"most": 0}, {"stray": -0.1}])
def test_options_that_cannot_work(wrong):
  with pytest.raises(ValueError, match="must be"):
    Options(**wrong)
