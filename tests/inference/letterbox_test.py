"""A picture lies at the top left of the input, and boxes come back exactly."""

import cv2
import numpy as np
import pytest

from diffpose_jax.inference import letterbox


@pytest.mark.parametrize(
  ("picture", "outer", "inner"),
  [
    ((240, 320), (640, 640), (480, 640)),
    ((320, 240), (640, 640), (640, 480)),
    ((1080, 1920), (416, 416), (234, 416)),
    ((97, 211), (64, 96), (44, 96)),  # 96 / 211 * 97 = 44.1
    ((64, 96), (64, 96), (64, 96)),
    ((1, 4001), (64, 96), (1, 96)),
    ((4001, 1), (64, 96), (64, 1)),
  ],
)
def test_fit(picture, outer, inner):
  fitted = letterbox.Letterbox.fit(picture, outer)
  assert fitted.inner == inner


def test_planes_are_bgr_on_grey():
  frame = np.zeros((31, 61, 3), np.uint8)
  frame[..., 0], frame[..., 1], frame[..., 2] = 200, 100, 50  # RGB
  fitted = letterbox.Letterbox.fit((31, 61), (64, 61))
  planes = fitted.tensor(frame)
  assert planes.shape == (1, 3, 64, 61)
  assert planes.dtype == np.float32
  assert planes.flags["C_CONTIGUOUS"]
  np.testing.assert_array_equal(planes[0, 0, :31], 50)
  np.testing.assert_array_equal(planes[0, 1, :31], 100)
  np.testing.assert_array_equal(planes[0, 2, :31], 200)
  np.testing.assert_array_equal(planes[0, :, 31:], 114)


def test_the_whole_picture_comes_back():
  for picture in [(97, 211), (211, 97), (1080, 1921), (7, 5)]:
    fitted = letterbox.Letterbox.fit(picture, (96, 128))
    inside = np.array([[0, 0, fitted.inner[1], fitted.inner[0]]], float)
    np.testing.assert_allclose(
      fitted.to_picture(inside),
      [[-0.5, -0.5, picture[1] - 0.5, picture[0] - 0.5]],
      atol=1e-9,
    )


@pytest.mark.parametrize("picture", [(97, 211), (211, 97), (53, 61)])
def test_boxes_are_where_the_resized_pixels_are(picture):
  """A blob's centre of mass, found in the input, against the one drawn."""
  centre = np.array([0.4 * picture[1], 0.6 * picture[0]])
  v, u = np.mgrid[: picture[0], : picture[1]]
  blob = np.exp(-((u - centre[0]) ** 2 + (v - centre[1]) ** 2) / (2 * 5.0**2))
  frame = np.repeat((255 * blob).astype(np.uint8)[..., None], 3, axis=2)
  fitted = letterbox.Letterbox.fit(picture, (160, 192))
  plane = fitted.tensor(frame)[0, 0, : fitted.inner[0], : fitted.inner[1]]
  v, u = np.mgrid[: fitted.inner[0], : fitted.inner[1]]
  # Edges count from the pixel's corner, its centre is half a pixel further.
  x, y = ((plane * (a + 0.5)).sum() / plane.sum() for a in (u, v))
  back = fitted.to_picture(np.array([[x, y, x, y]]))
  np.testing.assert_allclose(back[0, :2], centre, atol=0.12)


def test_shrinking_is_as_the_networks_were_trained():
  rng = np.random.default_rng(0)
  frame = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)
  fitted = letterbox.Letterbox.fit((60, 80), (32, 32))
  wanted = cv2.resize(frame, (32, 24), interpolation=cv2.INTER_LINEAR)
  np.testing.assert_array_equal(
    fitted.tensor(frame)[0, :, :24].transpose(1, 2, 0), wanted[..., ::-1]
  )
