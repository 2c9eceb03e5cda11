"""The detector that a name stands for, or why there is none."""

import pytest

from diffpose_jax.inference import detection, detector_weights, detectors


def test_hog():
  plain = detectors.open_detector("hog")
  assert isinstance(plain, detection.Detector)
  assert plain.name == "hog"
  assert plain.protocol()["detector_threshold"] == 0.6
  strict = detectors.open_detector("hog", threshold=0.75)
  assert strict.protocol()["detector_threshold"] == 0.75


@pytest.mark.parametrize("name", ["", "hug", "yolox", "yolox:", "weights.pth"])
def test_no_such_detector(name):
  with pytest.raises(ValueError, match=r"hog, yolox-nano, .* as FILE\.onnx"):
    detectors.open_detector(name)


@pytest.mark.parametrize("name", detector_weights.PUBLISHED)
def test_names_ask_for_their_weights(name, tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  with pytest.raises(ValueError, match=f"fetch --name={name}"):
    detectors.open_detector(name)
  assert not list(tmp_path.iterdir())
