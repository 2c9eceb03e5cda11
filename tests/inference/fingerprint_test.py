"""What changes poses changes the fingerprint, and nothing else does."""

import dataclasses
import os

import numpy as np
import pytest

from diffpose_jax.data import sources, video
from diffpose_jax.inference import boxes_in, fingerprint
from diffpose_jax.inference import estimator as estimator_lib


@pytest.fixture(scope="module")
def tiny(tiny_run):
  return estimator_lib.Estimator.load(tiny_run)


@pytest.fixture
def of(clip, tiny):
  """The fingerprint of a clip; changed in one respect if something is given."""

  def make(path=clip, estimator=tiny, supply=None, fps=25.0, **way):
    [source] = sources.find(path, fps=fps)
    info = video.open_video(source)
    supply = supply or boxes_in.whole()
    return fingerprint.of(source, info, supply, estimator, way)

  return make


def _differ(one, other):
  return {name for name in one if one[name] != other[name]}


def test_the_same_is_the_same(of, clip, tmp_path):
  before = of()
  os.utime(clip, (1, 1))
  elsewhere = tmp_path / "elsewhere" / clip.name
  elsewhere.parent.mkdir()
  elsewhere.write_bytes(clip.read_bytes())
  assert before == of() == of(path=elsewhere)


def test_each_change_is_seen_and_named(of, clip, tiny):
  before = of()
  assert _differ(before, of(follow=True)) == {"options"}
  steps = tiny.with_steps(3)
  assert _differ(before, of(estimator=steps)) == {"options"}
  other = tiny.with_params(
    {name: value for name, value in tiny.params.items() if name != "vit"}
  )
  assert _differ(before, of(estimator=other)) == {"weights"}
  supply = boxes_in.whole()
  boxes = dataclasses.replace(supply, sha256="a")
  assert _differ(before, of(supply=boxes)) == {"boxes"}
  boxes = dataclasses.replace(supply, protocol={"boxes": "detector"})
  assert _differ(before, of(supply=boxes)) == {"boxes"}
  clip.write_bytes(clip.read_bytes() + b"x")
  assert _differ(before, of()) == {"frames"}


def test_boxes_of_a_file_are_known_by_what_they_are(clip, tmp_path):
  [source] = sources.find(clip)
  pair = [(source, video.open_video(source))]

  def sha256(text):
    path = tmp_path / "boxes.csv"
    path.write_text(f"frame_index,x1,y1,x2,y2,score,track_id\n{text}")
    [supply] = boxes_in.of_file(path, pair, threshold=0.0)
    return supply.sha256

  lines = ["0,1,2,30,40,0.5,1", "3,1,2,30,40,0.5,1", "3,9,2,30,40,0.5,2"]
  first = sha256("\n".join(lines))
  assert first == sha256("\n".join([lines[1], lines[2], lines[0]]))
  changes = ["0,1,2,30,40,0.5,2", "1,1,2,30,40,0.5,1", "0,1,2,30.5,40,0.5,1"]
  changes += ["0,1,2,30,40,0.6,1"]
  found = {sha256("\n".join([one, *lines[1:]])) for one in changes}
  assert len(found | {first}) == 5


def test_files_are_known_by_samples_of_them(tmp_path):
  size = 10 * fingerprint._SAMPLE
  content = np.random.default_rng(0).integers(0, 256, size, np.uint8)
  path = tmp_path / "a"

  def digest(content, name="a"):
    one = tmp_path / name
    one.write_bytes(content.tobytes())
    return fingerprint.files((one,))

  before = digest(content)
  for place in (0, fingerprint._SAMPLE - 1, size // 2, size - 1):
    other = content.copy()
    other[place] ^= 1
    assert digest(other) != before
  assert digest(content[:-1]) != before
  assert digest(content, "b") != before
  assert digest(content) == before
  both = fingerprint.files((path, tmp_path / "b"))
  assert both != fingerprint.files((tmp_path / "b", path))
  assert fingerprint.files(()) != before


def test_pictures_have_a_rate(of, folder):
  assert _differ(of(folder), of(folder, fps=10.0)) == {"frames"}
