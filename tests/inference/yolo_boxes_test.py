"""Rows of networks become edges and scores, as written out by hand."""

import numpy as np
import pytest

from diffpose_jax.inference import yolo_boxes

SIZE = (64, 96)  # 8x12, 4x6 and 2x3 cells: 96 + 24 + 6


def cells():
  grid = yolo_boxes.cells(SIZE, 126)
  assert grid is not None
  return grid


def encoded(box, row, grid):
  """What a network says for a box in a row."""
  x, y, stride = grid[row]
  centre = (box[:2] + box[2:]) / 2 / stride - (x, y)
  return np.concatenate([centre, np.log((box[2:] - box[:2]) / stride)])


def test_cells_go_row_by_row_and_grid_by_grid():
  grid = cells()
  assert grid.shape == (126, 3)
  np.testing.assert_array_equal(grid[:3], [[0, 0, 8], [1, 0, 8], [2, 0, 8]])
  np.testing.assert_array_equal(grid[12], [0, 1, 8])
  np.testing.assert_array_equal(grid[95], [11, 7, 8])
  np.testing.assert_array_equal(grid[96], [0, 0, 16])
  np.testing.assert_array_equal(grid[120], [0, 0, 32])
  np.testing.assert_array_equal(grid[125], [2, 1, 32])


@pytest.mark.parametrize(
  ("size", "count"),
  [((640, 640), 8400), ((416, 416), 3549), ((640, 640), 8500)],
)
def test_published_sizes(size, count):
  # YOLOX's 640 and 416; 8400 and 10x10 more cells of 64 pixels with P6.
  grid = yolo_boxes.cells(size, count)
  assert grid is not None
  assert len(grid) == count


@pytest.mark.parametrize("count", [0, 125, 25200])
def test_rows_of_no_grid(count):
  assert yolo_boxes.cells(SIZE, count) is None


@pytest.mark.parametrize("raw", [True, False])
def test_boxes_and_scores(raw):
  grid = cells()
  output = np.zeros((126, 85), np.float32)
  people = {17: [3.5, 7, 41, 55.25], 101: [10, 0, 30, 64], 124: [0, 9, 90, 60]}
  for row, box in people.items():
    output[row, :4] = encoded(np.array(box, float), row, grid)
    output[row, 4], output[row, 5] = 0.8, 0.75
  output[50, 4:6] = 0.9, 0.6  # 0.54: below the threshold
  output[51, 4:7] = 0.9, 0.1, 0.9  # a bicycle
  if not raw:
    centre = (output[:, :2] + grid[:, :2]) * grid[:, 2:]
    output[:, 2:4] = np.exp(output[:, 2:4]) * grid[:, 2:]
    output[:, :2] = centre
  assert yolo_boxes.is_raw(output, grid) == raw
  boxes, scores = yolo_boxes.yolox(output, grid, raw=raw, threshold=0.55)
  np.testing.assert_allclose(boxes, list(people.values()), atol=1e-4)
  np.testing.assert_allclose(scores, 0.6, atol=1e-6)


def test_raw_is_told_by_where_centres_are():
  grid, rng = cells(), np.random.default_rng(1)
  output = rng.normal(0, 2, (126, 6)).astype(np.float32)
  assert yolo_boxes.is_raw(output, grid)
  output[:, :2] = (output[:, :2] + grid[:, :2]) * grid[:, 2:]
  assert not yolo_boxes.is_raw(output, grid)


def test_one_class_is_people():
  output = np.zeros((126, 6), np.float32)
  output[3, 4:] = 0.5
  _, scores = yolo_boxes.yolox(output, cells(), raw=True, threshold=0.2)
  np.testing.assert_array_equal(scores, [0.25])


def test_a_side_beyond_measure_stays_finite():
  output = np.zeros((126, 6), np.float32)
  output[0] = [0, 0, 1000, 1000, 1, 1]
  boxes, _ = yolo_boxes.yolox(output, cells(), raw=True, threshold=0.2)
  assert np.isfinite(boxes).all()


def test_scores_that_are_no_numbers_are_not_lost():
  output = np.zeros((126, 6), np.float32)
  output[7, 4] = np.nan
  _, scores = yolo_boxes.yolox(output, cells(), raw=True, threshold=0.2)
  assert np.isnan(scores).tolist() == [True]


def test_ended_keeps_people():
  dets = np.array(
    [[1, 2, 3, 4, 0.9], [5, 6, 7, 8, 0.8], [9, 9, 9, 9, 0], [0, 1, 5, 6, 0.3]],
    np.float32,
  )
  boxes, scores = yolo_boxes.ended(dets, np.array([0, 1, 0, 0]))
  np.testing.assert_array_equal(boxes, [[1, 2, 3, 4], [0, 1, 5, 6]])
  np.testing.assert_allclose(scores, [0.9, 0.3], atol=1e-7)
  boxes, scores = yolo_boxes.ended(dets, np.array([-1, -1, -1, 2]))
  assert boxes.shape == (0, 4)
  assert scores.shape == (0,)
