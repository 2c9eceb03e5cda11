"""Boxes and affines against hand-made cases."""

import numpy as np
import pytest

from diffpose_jax.pose import geometry


def _f32(values):
  return np.array(values, np.float32)


def test_file_boxes_keep_their_corner():
  box = geometry.xywh_to_xyxy(_f32([10, 20, 30, 50]))
  np.testing.assert_array_equal(box, [10, 20, 40, 70])
  np.testing.assert_array_equal(geometry.xyxy_to_xywh(box), [10, 20, 30, 50])


def test_enlarge_keeps_the_centre():
  box = geometry.enlarge(_f32([10, 20, 50, 40]), 1.25)
  np.testing.assert_allclose(box, [5, 17.5, 55, 42.5])


@pytest.mark.parametrize(
  ("box", "expected"),
  [([0, 0, 10, 40], [-10, 0, 20, 40]), ([0, 0, 30, 10], [0, -15, 30, 25])],
)
def test_pad_to_aspect_grows_the_short_side(box, expected):
  padded = geometry.pad_to_aspect(_f32(box), 0.75)
  np.testing.assert_allclose(padded, expected, atol=1e-5)


def test_iou_by_hand():
  a = _f32([[0, 0, 2, 2], [5, 5, 5, 5]])
  b = _f32([[1, 1, 3, 3], [0, 0, 2, 2], [9, 9, 10, 10]])
  np.testing.assert_allclose(
    geometry.iou(a, b), [[1 / 7, 1, 0], [0, 0, 0]], atol=1e-6
  )


def test_crop_maps_box_edges_to_crop_edges():
  affine = geometry.crop_affine(_f32([10, 20, 40, 60]), (64, 48))
  corners = np.array([[10.0, 20.0], [40.0, 60.0], [25.0, 40.0]])
  np.testing.assert_allclose(
    geometry.apply(affine, corners),
    [[-0.5, -0.5], [47.5, 63.5], [23.5, 31.5]],
    atol=1e-9,
  )


def test_rotation_turns_counter_clockwise_on_screen():
  box = _f32([0, 0, 30, 40])
  affine = geometry.crop_affine(box, (40, 30), rotation=90)
  # A point to the right of the centre moves up, where y is smaller.
  right = np.array([[15.0 + 5, 20.0]])
  np.testing.assert_allclose(
    geometry.apply(affine, right), [[14.5, 19.5 - 5]], atol=1e-9
  )


def test_mirror_and_scale():
  box = _f32([0, 0, 30, 40])
  affine = geometry.crop_affine(box, (40, 30), scale=2.0, mirror=True)
  point = np.array([[15.0 + 4, 20.0 + 6]])
  np.testing.assert_allclose(
    geometry.apply(affine, point), [[14.5 - 2, 19.5 + 3]], atol=1e-9
  )


def test_invert_undoes_apply():
  rng = np.random.default_rng(0)
  points = rng.normal(size=(7, 2)) * 100
  affine = geometry.crop_affine(
    _f32([3, 5, 90, 71]), (256, 192), scale=1.3, rotation=33, mirror=True
  )
  back = geometry.apply(geometry.invert(affine), geometry.apply(affine, points))
  np.testing.assert_allclose(back, points, atol=1e-9)


@pytest.mark.parametrize(
  "linear",
  [
    [[0, 0], [0, 0]],
    [[1, 2], [2, 4]],
    [[1e-9, 2e-9], [2e-9, 4e-9]],
    [[np.nan, 0], [0, 1]],
    [[np.inf, 0], [0, np.inf]],
  ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_singular_affine_is_refused(linear):
  affine = np.concatenate([linear, np.ones((2, 1))], axis=1)
  sound = geometry.crop_affine(_f32([0, 0, 3, 4]), (40, 30))
  for affines in (affine, np.stack([sound, affine])):
    with pytest.raises(ValueError, match="singular"):
      geometry.invert(affines)


@pytest.mark.parametrize("side", [1e-3, 1.0, 1e4, 1e9, 1e15])
@pytest.mark.parametrize("corner", [0.0, -3e4, 7.5])
def test_crops_of_any_size_can_be_undone(side, corner):
  box = np.array([corner, corner, corner + side, corner + 2 * side])
  affine = geometry.crop_affine(box, (256, 192), rotation=-40, mirror=True)
  assert np.isfinite(affine).all()
  crop = np.array([[0.0, 0.0], [191.0, 255.0], [13.0, 201.0]])
  back = geometry.apply(affine, geometry.apply(geometry.invert(affine), crop))
  np.testing.assert_allclose(back, crop, atol=1e-2 if side < 1 else 1e-6)


@pytest.mark.parametrize(
  ("box", "options", "match"),
  [
    ([0, 0, 0, 5], {}, "no area"),
    ([5, 0, 1, 5], {}, "no area"),
    ([0, 0, np.nan, 5], {}, "not finite"),
    ([0, 0, 3, 5], {"scale": 0.0}, "scale 0"),
    ([0, 0, 3, 5], {"scale": np.nan}, "scale nan"),
    ([0, 0, 3, 5], {"rotation": np.inf}, "rotation inf"),
  ],
)
def test_no_crop_of_what_is_no_box(box, options, match):
  with pytest.raises(ValueError, match=f"crop: .*{match}"):
    geometry.crop_affine(_f32(box), (40, 30), **options)


@pytest.mark.parametrize(
  ("box", "match"),
  [
    ([0, 0, 0, 5], "no area"),
    ([0, 5, 5, 5], "no area"),
    ([5, 0, 1, 5], "no area"),
    ([0, 0, np.nan, 5], "not finite"),
    ([0, 0, np.inf, 5], "not finite"),
  ],
)
def test_bad_boxes_are_named(box, match):
  with pytest.raises(ValueError, match=f"a.json: annotation 7.*{match}"):
    geometry.check_box(_f32(box), "a.json: annotation 7")
