"""Position embeddings on another grid, against OpenCV's cubic interpolation.

OpenCV's has PyTorch's free parameter and edges; `vitpose_parity_test.py`
compares with PyTorch itself.
"""

import cv2
import numpy as np
import pytest

from diffpose_jax.weights import position


@pytest.mark.parametrize("old", [(14, 14), (16, 12), (2, 3), (1, 1)])
@pytest.mark.parametrize("new", [(16, 12), (24, 18), (5, 3), (13, 29)])
def test_as_opencv(old, new):
  values = np.random.RandomState(1).standard_normal((1, *old, 7))
  values = values.astype(np.float32)
  expected = np.stack(
    [
      cv2.resize(values[0, :, :, c], new[::-1], interpolation=cv2.INTER_CUBIC)
      for c in range(7)
    ],
    axis=-1,
  )
  resized = position.resize(values, new)
  assert resized.dtype == np.float32
  assert resized.shape == (1, *new, 7)
  # OpenCV's coordinates are float32.
  np.testing.assert_allclose(resized[0], expected, atol=1e-5)


def test_the_same_grid_stays():
  values = np.random.RandomState(1).rand(1, 7, 5, 3).astype(np.float32)
  np.testing.assert_array_equal(position.resize(values, (7, 5)), values)


def test_a_constant_stays():
  values = np.full((1, 7, 5, 3), 1.25, np.float32)
  np.testing.assert_allclose(position.resize(values, (11, 13)), 1.25, rtol=1e-6)


@pytest.mark.parametrize(
  ("tokens", "grid"),
  [
    (196, (14, 14)),
    (256, (16, 16)),
    (192, (16, 12)),
    (432, (24, 18)),
    (12, (4, 3)),
    (1, (1, 1)),
    (193, None),
    (13, None),
    (24, None),
    (0, (0, 0)),
  ],
)
def test_grids(tokens, grid):
  assert position.grid_of(tokens) == grid
