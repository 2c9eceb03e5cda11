"""OpenCV's people detector finds somebody, nobody, and says that it is weak."""

import cv2
import numpy as np
import pytest

from diffpose_jax.data import annotations, images
from diffpose_jax.inference import hog
from diffpose_jax.pose import geometry, skeleton

# A frame of PoseTrack18 in which it finds somebody.
FOUND = "009473_mpii_test"


@pytest.fixture(scope="module")
def detector():
  return hog.Hog()


def test_it_says_that_it_is_weak(caplog):
  with caplog.at_level("WARNING"):
    made = hog.Hog(threshold=0.7, size=480)
  assert [record.getMessage() for record in caplog.records] == [
    f"detector hog is {hog.WEAK}"
  ]
  assert made.name == "hog"
  assert made.protocol() == {
    "detector": "hog",
    "detector_note": hog.WEAK,
    "detector_weights": f"OpenCV {cv2.__version__}",
    "detector_threshold": 0.7,
    "detector_size": 480,
  }
  assert "weak" in hog.WEAK


def test_opencv_5_has_none(monkeypatch):
  monkeypatch.delattr(cv2, "HOGDescriptor")
  with pytest.raises(ValueError, match=r"no HOG .* install 'opencv.*<5', or g"):
    hog.Hog()


@pytest.mark.parametrize(
  "size", [(97, 211), (211, 97), (1, 1), (5, 640), (720, 1280), (4320, 7680)]
)
def test_an_empty_picture_has_nobody(detector, size):
  found = detector(np.full((*size, 3), 90, np.uint8))
  assert found.boxes.shape == (0, 4)
  assert found.scores.shape == (0,)
  assert found.boxes.dtype == found.scores.dtype == np.float32


class Windows:
  """Stands for OpenCV's detector: says the windows, keeps the picture."""

  def __init__(self, *windows, margins=None):
    self.windows = windows
    self.margins = np.ones(len(windows)) if margins is None else margins

  def detectMultiScale(self, picture, **options):  # noqa: N802
    self.shape = picture.shape
    return np.array(self.windows, np.int32), np.array(self.margins)


@pytest.mark.parametrize(
  ("size", "zoom"), [((480, 960), 1.0), ((960, 1920), 0.5), ((120, 240), 2.0)]
)
def test_windows_lose_their_margins(monkeypatch, detector, size, zoom):
  # The picture as looked at has 16 rows and 8 columns more on each side.
  played = Windows((108, 66, 64, 128))
  monkeypatch.setattr(detector, "_hog", played)
  found = detector(np.zeros((*size, 3), np.uint8))
  assert played.shape == (size[0] * zoom + 32, size[1] * zoom + 16, 3)
  # The window is at (100, 50); the person in it at (108, 66), 48 by 96.
  wanted = np.array([[108, 66, 156, 162]]) / zoom - 0.5
  np.testing.assert_allclose(found.boxes, wanted, atol=1e-4)
  np.testing.assert_allclose(found.scores, 1 / (1 + np.exp(-1)), atol=1e-6)


def test_one_box_for_many_windows(monkeypatch, detector):
  played = Windows(
    (100, 100, 64, 128),
    (104, 100, 64, 128),  # the same person a bit to the right
    (110, 110, 48, 96),  # half of the same person
    (300, 100, 64, 128),
    (500, 100, 64, 128),
    margins=[0.9, 1.2, 0.8, 0.7, 0.3],
  )
  monkeypatch.setattr(detector, "_hog", played)
  found = detector(np.zeros((480, 960, 3), np.uint8))
  margins = np.array([1.2, 0.7])  # 0.3 scores 0.574, below 0.6
  np.testing.assert_allclose(
    found.scores, 1 / (1 + np.exp(-margins)), atol=1e-6
  )


def test_large_frames_cost_no_more(monkeypatch, detector):
  played = Windows()
  monkeypatch.setattr(detector, "_hog", played)
  detector(np.zeros((4320, 7680, 3), np.uint8))
  assert played.shape == (540 + 32, 960 + 16, 3)


def _frames(shared_data):
  root = shared_data / "posetrack18_mini"
  for video in annotations.read_folder(
    root / "annotations" / "val", skeleton=skeleton.POSETRACK
  ):
    for frame in video.frames:
      if frame.labelled:
        path = root / frame.file_name
        yield (
          video.name,
          frame,
          images.decode(path.read_bytes(), place=path.name),
        )


def test_real_people(detector, shared_data):
  """At least one of a frame's people, by half of the union of the boxes."""
  for name, frame, picture in _frames(shared_data):
    if name != FOUND:
      continue
    found = detector(picture)
    truth = np.array([p.box for p in frame.people if p.box is not None])
    assert geometry.iou(truth, found.boxes).max() >= 0.5
    again = detector(picture)  # threads find windows in any order
    np.testing.assert_array_equal(found.boxes, again.boxes)
    np.testing.assert_array_equal(found.scores, again.scores)
    return
  raise AssertionError(f"no frame of {FOUND}")
