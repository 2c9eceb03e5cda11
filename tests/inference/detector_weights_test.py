"""Weights are fetched by name, and only by the verb that does it."""

import hashlib

import pytest

from diffpose_jax import verbs
from diffpose_jax.inference import detector_weights, onnx_detector
from diffpose_jax.weights import download

DATA = b"weights, as far as this test goes"


@pytest.fixture
def cache(tmp_path, monkeypatch):
  """The folder of fetched weights; what is fetched comes from no web."""
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  asked = []

  def give(url, target, *, sha256, most, member=None):
    asked.append((url, sha256, most, member))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(DATA)

  monkeypatch.setattr(download, "download", give)
  known = detector_weights.Published(
    "yolox",
    "https://example.org/a.onnx",
    hashlib.sha256(DATA).hexdigest(),
    len(DATA),
    "Apache-2.0",
  )
  monkeypatch.setitem(detector_weights.PUBLISHED, "yolox-nano", known)
  return tmp_path / "diffpose_jax" / "detectors", asked


def test_what_is_published_can_be_checked():
  for name, known in detector_weights.PUBLISHED.items():
    assert name.startswith(known.kind)
    assert known.kind in onnx_detector.KINDS
    assert known.url.startswith("https://")
    assert len(bytes.fromhex(known.sha256)) == 32
    assert known.sha256 == known.sha256.lower()
    assert 0 < known.most <= 40 << 20
    assert known.licence == "Apache-2.0"
    assert (known.member is None) == known.url.endswith(".onnx")
  hashes = [known.sha256 for known in detector_weights.PUBLISHED.values()]
  assert len(set(hashes)) == len(hashes)


def test_fetched_and_found(cache, capsys):
  folder, asked = cache
  path = detector_weights.fetch(name="yolox-nano")
  assert path == folder / "yolox-nano.onnx"
  assert detector_weights.find("yolox-nano") == path
  known = detector_weights.PUBLISHED["yolox-nano"]
  assert asked == [(known.url, known.sha256, len(DATA), None)]
  told = capsys.readouterr().out
  assert known.sha256 in told
  assert "Apache-2.0" in told
  assert "--detector=yolox-nano" in told


def test_fetched_once(cache, capsys):
  _, asked = cache
  detector_weights.fetch(name="yolox-nano")
  detector_weights.fetch(name="yolox-nano")
  assert len(asked) == 1
  assert "is there already" in capsys.readouterr().out


def test_into_a_folder_of_ones_own(cache, tmp_path, capsys):
  own = tmp_path / "own"
  path = detector_weights.fetch(name="yolox-nano", out=own)
  assert path == own / "yolox-nano.onnx"
  assert f"--detector={path}" in capsys.readouterr().out
  with pytest.raises(ValueError, match="no such file"):
    detector_weights.find("yolox-nano")


def test_a_changed_file_is_not_used(cache):
  path = detector_weights.fetch(name="yolox-nano")
  path.write_bytes(DATA + b"!")
  with pytest.raises(
    ValueError, match=r"is not what was fetched; .* fetch --n"
  ):
    detector_weights.find("yolox-nano")
  detector_weights.fetch(name="yolox-nano")
  assert detector_weights.find("yolox-nano") == path


def test_unknown_names_are_told_the_others():
  with pytest.raises(ValueError, match=r"'yolov8'; there are yolox-nano, "):
    detector_weights.fetch(name="yolov8")


def test_the_verb():
  verb = verbs.VERBS["fetch"]
  assert verb.module == "diffpose_jax.inference.detector_weights"
  assert verb.function == "fetch"
  assert set(verb.flags) == {"name", "out"}
