"""The page is one file that asks for nothing, and says what it lacks."""

import base64
import html.parser
import json
import pathlib
import re
import zlib

import numpy as np
import pytest

from diffpose_jax.data import annotations, poses, video
from diffpose_jax.inference import viewer, viewer_data
from diffpose_jax.pose import skeleton as skeletons

SIZE = (48, 64)  # (height, width)
BAD = "\"><script>alert(1)</script><!-- ' &"
SKELETON = skeletons.Skeleton(
  name="own",
  joints=("hat", "left_hand", BAD),
  pairs=((1, 2),),
  limbs=((0, 1), (0, 2)),
  upper=(0, 1, 2),
  lower=(),
  evaluated=(0, 1, 2),
  groups=(),
  sigmas=(0.1, 0.1, 0.1),
)


def _head(source="walk.mp4", **protocol):
  return poses.Head("walk", source, 10.0, *SIZE, SKELETON, protocol, tail=4.0)


def _frames(count=5, times=None):
  person = annotations.Person(
    box=np.array([5, 5, 40, 40], np.float32),
    joints=np.array([[9, 9], [20, 20], [30, 30]], np.float32),
    labelled=np.array([True, False, True]),
    track_id=3,
    scores=np.array([0.5, 0, 0.75], np.float32),
  )
  return [
    annotations.Frame(
      f"{i}.jpg", i, True, (person,), time=times[i] if times else i / 10
    )
    for i in range(count)
  ]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
  """A plain video of five frames, a tenth of a second each."""
  path = tmp_path_factory.mktemp("film") / "walk.webm"
  with video.Writer(path, fps=10.0, size=SIZE, backend="opencv") as writer:
    for _ in range(5):
      writer.write(np.full((*SIZE, 3), 90, np.uint8))
  return path


class _Elements(html.parser.HTMLParser):
  """Names and attributes of all elements, and the texts of scripts by id."""

  def __init__(self, path):
    super().__init__()
    self.found, self.scripts, self.texts = [], {}, []
    self._script = None
    self.feed(path.read_text())
    self.close()

  def handle_starttag(self, tag, attrs):
    self.found.append((tag, dict(attrs)))
    if tag == "script":
      self._script = dict(attrs).get("id", "code")

  def handle_endtag(self, tag):
    if tag == "script":
      self._script = None

  def handle_data(self, data):
    if self._script is None:
      self.texts.append(data)
    else:
      self.scripts[self._script] = self.scripts.get(self._script, "") + data


def test_it_is_one_file_that_asks_for_nothing(tmp_path, film):
  path = tmp_path / "new" / "walk.html"
  written = viewer.write(path, _head(), _frames(), film)
  assert written == viewer.Written(embedded=True, notes=())
  assert list(path.parent.iterdir()) == [path]
  page = _Elements(path)
  for tag, given in page.found:
    assert not {"src", "href", "srcset", "poster", "data"} & set(given), tag
    assert tag not in ("link", "iframe", "object", "embed", "base")
  for tag, given in page.found:
    assert not [name for name in given if name.startswith("on")], tag
  assert base64.b64decode(page.scripts["film"]) == film.read_bytes()
  assert "walk.mp4" in "".join(page.texts)
  style = re.search(r"<style>(.*?)</style>", path.read_text(), re.DOTALL)
  assert style and "url(" not in style[1] and "@import" not in style[1]


def test_all_parts_of_the_page_are_used():
  folder = pathlib.Path(viewer.__file__).with_name("viewer_page")
  used = {"style.css", "body.html", *(f"{s}.js" for s in viewer._SCRIPTS)}
  assert {path.name for path in folder.iterdir()} == used


def test_what_it_is_told(tmp_path):
  path = tmp_path / "walk.html"
  viewer.write(path, _head(), _frames(), None)
  told = json.loads(_Elements(path).scripts["numbers"])
  about, columns = told["about"], told["columns"]
  assert about["video"] is None and "shown" not in columns
  # A joint that nobody has is not there, nor are its limbs.
  assert about["joints"] == ["hat", BAD]
  assert about["limbs"] == [[0, 1]] and about["sides"] == [0, 1]
  # Student with 4 degrees: 4 ((1 - share)^(-1/2) - 1).
  expected = [4 * (0.5**-0.5 - 1), 4 * (0.1**-0.5 - 1)]
  found = [share["distance"] for share in about["ellipses"]]
  np.testing.assert_allclose(found, expected, rtol=1e-12)
  assert about["kinds"] == viewer_data.KINDS
  track = zlib.decompress(base64.b64decode(columns["track"][0]))
  assert list(track) == [3] * 5


def test_texts_from_outside_are_texts(tmp_path):
  path = tmp_path / "walk.html"
  viewer.write(path, _head(f"{BAD}.mp4", **{BAD: [BAD]}), _frames(), None)
  text = path.read_text()
  assert "<script>alert" not in text
  page = _Elements(path)
  # As many scripts as of a harmless video: the numbers and the code.
  assert sum(tag == "script" for tag, _ in page.found) == 2
  assert f"{BAD}.mp4" in page.texts  # the heading, read back
  assert json.dumps([BAD]) in page.texts  # of the protocol
  assert json.loads(page.scripts["numbers"])["about"]["joints"][1] == BAD


def test_a_large_video_stays_beside_the_page(tmp_path, film):
  beside = tmp_path / "clips" / "50% #1?.webm"
  beside.parent.mkdir()
  beside.write_bytes(film.read_bytes())
  path = tmp_path / "pages" / "walk.html"
  size = beside.stat().st_size
  written = viewer.write(path, _head(), _frames(), beside, embed=size - 1)
  assert not written.embedded
  (note,) = written.notes
  assert "50% #1?.webm" in note and "keep" in note
  page = _Elements(path)
  assert note in page.texts
  told = json.loads(page.scripts["numbers"])["about"]["video"]
  assert told["address"] == "../clips/50%25%20%231%3F.webm"
  assert "film" not in page.scripts
  assert viewer.write(path, _head(), _frames(), beside, embed=size).embedded


def test_frames_are_where_the_video_shows_them(tmp_path, film):
  """OpenCV writes a constant rate, whatever the times of the records."""
  path = tmp_path / "walk.html"
  times = [0.0, 0.05, 0.3, 0.31, 0.5]
  viewer.write(path, _head(), _frames(times=times), film)
  columns = json.loads(_Elements(path).scripts["numbers"])["columns"]

  def seconds(name):
    planes = [zlib.decompress(base64.b64decode(t)) for t in columns[name]]
    return np.stack([np.frombuffer(p, np.uint8) for p in planes], 1).view("<i4")

  np.testing.assert_allclose(seconds("time").ravel() / 1e4, times)
  shown = seconds("shown").ravel() / 1e4
  np.testing.assert_allclose(shown, np.arange(5) / 10, atol=1e-3)


def test_a_video_of_other_frames_is_told(tmp_path, film):
  path = tmp_path / "walk.html"
  (note,) = viewer.write(path, _head(), _frames(4), film).notes
  assert "The video has 5 frames, the poses are of 4" in note
  page = _Elements(path)
  assert note in page.texts
  assert "shown" not in json.loads(page.scripts["numbers"])["columns"]


def test_what_is_left_out_is_told(tmp_path, film, monkeypatch):
  path = tmp_path / "walk.html"
  # A frame with its person has 6 + 22 + 2 * 24 bytes.
  monkeypatch.setattr(viewer_data, "MOST", 5 * 76 // 2)
  (note,) = viewer.write(path, _head(), _frames(), film).notes
  assert note.startswith("Of 5 frames every 2nd is here")
  page = _Elements(path)
  assert note in page.texts
  told = json.loads(page.scripts["numbers"])
  assert told["about"]["every"] == 2
  for name in ("time", "shown"):
    lowest = zlib.decompress(base64.b64decode(told["columns"][name][0]))
    # 0, 0.2 and 0.4 s, in tenths of a millisecond.
    assert list(lowest) == [0, 2000 % 256, 4000 % 256]


@pytest.mark.parametrize(
  ("number", "words"),
  [
    (2, "2nd"),
    (3, "3rd"),
    (10, "10th"),
    (11, "11th"),
    (21, "21st"),
    (112, "112th"),
  ],
)
def test_ordinals(number, words):
  assert viewer._ordinal(number) == words


def test_what_cannot_be_a_page(tmp_path, film):
  path = tmp_path / "walk.html"
  other = tmp_path / "walk.avi"
  other.write_bytes(film.read_bytes())
  with pytest.raises(
    ValueError, match="walk.avi: browsers play .webm and .mp4"
  ):
    viewer.write(path, _head(), _frames(), other)
  with pytest.raises(ValueError, match="no frames"):
    viewer.write(path, _head(), [], film)
  broken = tmp_path / "broken.webm"
  broken.write_bytes(b"no video")
  with pytest.raises(ValueError, match="broken.webm"):
    viewer.write(path, _head(), _frames(), broken)
  assert sorted(f.name for f in tmp_path.iterdir()) == [
    "broken.webm",
    "walk.avi",
  ]
