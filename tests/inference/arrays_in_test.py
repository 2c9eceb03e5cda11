"""What of pictures and boxes is taken, and what is refused in one line."""

from typing import Any

import numpy as np
import pytest

from diffpose_jax.inference import arrays_in

PICTURE = np.zeros((7, 11, 3), np.uint8)
BOX = np.array([[0, 0, 5.0, 5]])


def _take(frames, boxes) -> Any:
  arrays_in.check_frames(frames)
  if frames.ndim == 4:
    return arrays_in.boxes_of_video(boxes, frames)
  return arrays_in.boxes_of(boxes, frames.shape, "boxes")


@pytest.mark.parametrize(
  ("frames", "boxes", "message"),
  [
    ([PICTURE], BOX, r"frames: a list; give np.stack\(frames\)"),
    ("a.mp4", BOX, "frames: a str; give an array"),
    (PICTURE / 255, BOX, r"of float64, must be uint8 .*np.round\(255"),
    (PICTURE.astype(bool), BOX, "frames: of bool"),
    (PICTURE[..., 0], BOX, r"of shape \(7, 11\), .*grey ones: np.repeat"),
    (np.zeros((7, 11, 4), np.uint8), BOX, r"without alpha: frames\[\.\.\., :3"),
    (np.zeros((3, 7, 11), np.uint8), BOX, "colours last: np.moveaxis"),
    (np.zeros((2, 3, 7, 11), np.uint8), BOX, "colours last: np.moveaxis"),
    (np.zeros((1, 1, 7, 11, 3), np.uint8), BOX, r"must be \(h, w, 3\) or"),
    (np.zeros((0, 7, 11, 3), np.uint8), BOX, "nothing to see"),
    (np.zeros((1, 40000, 3), np.uint8), BOX, "more than 32766 pixels a side"),
    (PICTURE, np.array([0, 0, 5, 5]), r"boxes: of shape \(4,\), must be"),
    (PICTURE, BOX[:, :3], r"of shape \(1, 3\), must be \(n, 4\)"),
    (PICTURE, [[0, 0, 5, 5], [1]], "boxes: not all of one length"),
    (PICTURE, [["a", "b", "c", "d"]], "boxes: of <U1, must be numbers"),
    (PICTURE, BOX > 0, "boxes: of bool, must be numbers"),
    (PICTURE, None, r"boxes: of shape \(\), must be"),
    (PICTURE, BOX * np.nan, r"boxes: 0: \[nan, .* is not finite"),
    (PICTURE, np.vstack([BOX, BOX + np.inf]), r"boxes: 1: .* is not finite"),
    (PICTURE, BOX[:, [2, 3, 0, 1]], "boxes: 0: .* has no area; give edges"),
    (PICTURE, BOX * [1, 1, 0.04, 1], "has no area"),
    (PICTURE, BOX * [1, 1, 1e6, 1], "reaches beyond 1e.06 pixels"),
    (
      PICTURE,
      BOX + np.array([10.5, 0, 10.5, 0]),
      "lies outside of the picture.*11x7",
    ),
    (PICTURE, BOX - np.array([0, 5.5, 0, 5.5]), "lies outside of the picture"),
    (PICTURE[None], [BOX, BOX], "boxes: 2 for 1 frames; give"),
    (PICTURE[None], 3, "boxes: a int; give an array"),
    (PICTURE[None], [[0, 0, 5, 5]], r"boxes of frame 0: of shape \(4,\)"),
    (
      np.stack([PICTURE] * 2),
      [BOX, BOX * np.nan],
      "boxes of frame 1: 0: .* is not finite",
    ),
  ],
)
def test_what_is_refused(frames, boxes, message):
  with pytest.raises(ValueError, match=message) as caught:
    _take(frames, boxes)
  assert "\n" not in str(caught.value)


def test_what_is_taken():
  video = np.stack([PICTURE] * 3)
  for boxes in (BOX, BOX.tolist(), BOX.astype(int)):
    found = _take(PICTURE, boxes)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, BOX)
  for nobody in ([], np.zeros((0, 4))):
    found = _take(PICTURE, nobody)
    assert found.shape == (0, 4)
  everywhere = _take(video, BOX)
  assert [len(boxes) for boxes in everywhere] == [1, 1, 1]
  some = _take(video, [BOX, [], np.vstack([BOX, BOX])])
  assert [len(boxes) for boxes in some] == [1, 0, 2]
