"""What is kept of a frame is small enough, and its pixels are means."""

import numpy as np
import pytest

from diffpose_jax.inference import canvas


@pytest.mark.parametrize(
  ("full", "size"),
  [
    ((180, 240), (180, 240)),
    ((1280, 720), (1280, 720)),
    ((2160, 3840), (720, 1280)),
    ((4320, 7680), (720, 1280)),  # 8K
    ((3840, 2160), (1280, 720)),
  ],
)
def test_size_of_what_is_kept(full, size):
  assert canvas.size(full) == size


def test_shrinking_is_the_mean_of_what_falls_together():
  frame = np.zeros((1280, 2560, 3), np.uint8)
  frame[::2, ::2] = 200  # one of four pixels
  small = canvas.shrunk(frame)
  assert small.shape == (640, 1280, 3) and np.all(small == 50)
  assert canvas.shrunk(small) is small
