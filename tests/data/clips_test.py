"""Crops of frames, and how far frames may be shrunk for them."""

import numpy as np

from diffpose_jax.data import (
  clips,
  images,
  instances,
  pipeline,
  prepared,
  warping,
)


def test_black_beyond_the_picture():
  frame = np.full((11, 13, 3), 200, np.uint8)
  affine = np.array([[1.0, 0.0, 5.0], [0.0, 1.0, 0.0]])
  crop = warping.warp([frame, frame], affine, (7, 17))
  assert crop.shape == (2, 7, 17, 3)
  assert np.all(crop[:, :, :5] == 0)
  assert np.all(crop[:, :, 5:] == 200)


def test_what_is_the_same_twice_is_warped_once_and_what_moves_is_not():
  rng = np.random.default_rng(0)
  frame = rng.integers(0, 256, (11, 13, 3), np.uint8)
  still = np.array([[1.0, 0, 0], [0, 1, 0]])
  moved = np.array([[1.0, 0, 2], [0, 1, 0]])
  crops = warping.warp([frame] * 3, np.stack([still, still, moved]), (11, 13))
  np.testing.assert_array_equal(crops[:2], [frame, frame])
  np.testing.assert_array_equal(crops[2, :, 2:], frame[:, :-2])


def test_a_batch_is_filled_in_place_and_in_order():
  given = []

  def clip(turn, crops):
    given.append(crops)
    crops[:] = turn
    return {"frames": crops, "index": np.int32(10 * turn)}

  batch = clips.fill(clip, [3, 1, 2], (2, 5, 7))
  assert batch["frames"].shape == (3, 2, 5, 7, 3)
  np.testing.assert_array_equal(batch["frames"][:, 1, 4, 6, 2], [3, 1, 2])
  np.testing.assert_array_equal(batch["index"], [30, 10, 20])
  assert all(np.shares_memory(crops, batch["frames"]) for crops in given)


def _shrunk(boxes, rows, **options):
  return clips.shrink_factors(
    np.array(boxes, np.float32), np.array(rows), (50, 40), frames=5, **options
  ).tolist()


def test_frames_shrink_as_far_as_their_largest_crop_allows():
  # Crops of 50 x 40: a box of 80 x 100 has twice the pixels, 79 x 99 less.
  boxes = [[0, 0, 80, 100], [0, 0, 79, 99], [9, 9, 1000, 1000]]
  rows = [[0, 1], [1, 2], [2, 3]]
  assert _shrunk(boxes, rows) == [2, 1, 1, 8, 8]
  # A crop that may enlarge by 1.25 needs a box of 2 x 1.25.
  assert _shrunk([[0, 0, 99, 124]], [[0, 1]], zoom=1.25)[:2] == [1, 1]
  assert _shrunk([[0, 0, 101, 126]], [[0, 1]], zoom=1.25)[:2] == [2, 2]
  # The box is widened to the crop's aspect: its long side decides.
  assert _shrunk([[0, 0, 10, 100]], [[0, 1]])[:2] == [2, 2]


def test_shrunk_pictures_give_the_same_joints_and_nearly_the_same_crops(
  dots, small_config
):
  split = prepared.open_split(dots, "val")
  people = instances.gt_instances(split, need_joints=False)
  config = small_config
  config.data.size = (47, 37)
  shrunk = next(pipeline.eval_batches(split, people, config, batch=3))
  frame = images.decode(split.jpeg(1), place="key frame")
  affine = instances.crop_affines(people, config)[1]
  assert images.shrinkage(affine) == 2
  full = warping.warp([frame], affine, (47, 37))[0]
  ours = shrunk["frames"][1, 1].astype(int)
  assert shrunk["labelled"][1].all()
  y, x = np.mgrid[:47, :37]
  apart = []
  for jx, jy in shrunk["joints"][1]:
    near = (np.abs(x - jx) <= 3) & (np.abs(y - jy) <= 3)
    dot = ours.max(axis=-1) * near
    dot[dot < 25] = 0  # what JPEG leaves around it
    centre = ((x * dot).sum() / dot.sum(), (y * dot).sum() / dot.sum())
    apart.append(np.subtract(centre, (jx, jy)))
  # Half a pixel of the full picture, a wrong offset, would be 0.19 here.
  np.testing.assert_allclose(np.mean(apart, axis=0), 0, atol=0.04)
  assert np.abs(ours - full).mean() < 6
