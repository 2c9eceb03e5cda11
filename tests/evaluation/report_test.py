"""The page holds everything it was given and asks the network for nothing."""

import base64
import html.parser
import re

import cv2
import numpy as np
import pytest

from diffpose_jax.data import video as video_lib
from diffpose_jax.evaluation import gallery, report

KEYS = ["head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "total"]


class _Page(html.parser.HTMLParser):
  """Cells of the tables, sources, headings and open tags of a page."""

  VOID = frozenset({"meta", "img", "line", "circle", "polyline", "!doctype"})

  def __init__(self, text):
    super().__init__()
    self.rows, self.sources, self.headings, self.open = [], [], [], []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    if tag not in self.VOID:
      self.open.append(tag)
    self.sources += [v for k, v in attrs if k in ("src", "href")]
    if tag == "tr":
      self.rows.append([])

  def handle_startendtag(self, tag, attrs):
    pass

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open and self.open[-1] in ("td", "th"):
      self.rows[-1].append(data)
    if self.open and self.open[-1] in ("h2", "h3"):
      self.headings.append(data)


def _item(value, caption):
  return gallery.GalleryItem(np.full((40, 30, 3), value, np.uint8), caption)


def _write(path, **changes):
  arguments = {
    "title": "A <title>",
    "table_rows": {
      "mean pose": dict(zip(KEYS, (np.arange(8) + 0.25).tolist(), strict=True)),
      "model": dict(zip(KEYS, [80.0] * 3 + [None] + [71.06] * 4, strict=True)),
    },
    "protocol": {"boxes": "gt", "steps": 4, "flip": False, "note": "<b>"},
    "curves": [{"step": i, "loss": 1 / i} for i in range(1, 9)]
    + [{"step": 8, "val/ap": 41.5}],
    "gallery": {
      "best": [_item((200, 30, 30), "error 1 px")],
      "median": [],
      "worst": [_item((30, 30, 200), 'a "worst" <case>')],
    },
    "pck": {"box": {"@0.1": 0.5, "@0.2": None}, "head": {"@0.1": 0.25}},
  }
  report.write(path, report.Content(**(arguments | changes)))
  return path.read_text()


def test_tables(tmp_path):
  page = _Page(_write(tmp_path / "report.html"))
  assert page.open == []  # every tag is closed, in order
  head = ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Mean"]
  assert page.rows[0] == head
  assert page.rows[1] == ["mean pose"] + [f"{i}.2" for i in range(8)]
  assert page.rows[2] == ["model", *["80.0"] * 3, "–", *["71.1"] * 4]
  assert page.rows[3:] == [
    ["@0.1", "@0.2"],
    ["box", "0.500", "–"],
    ["head", "0.250", "–"],
  ]


def test_everything_is_inside(tmp_path):
  text = _write(tmp_path / "report.html")
  page = _Page(text)
  assert len(page.sources) == 2
  assert all(s.startswith("data:image/jpeg;base64,") for s in page.sources)
  assert "http" not in text
  assert not re.search(r"@import|url\(", text)
  for source, colour in zip(
    page.sources, [(200, 30, 30), (30, 30, 200)], strict=True
  ):
    data = np.frombuffer(base64.b64decode(source.partition(",")[2]), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    assert picture is not None
    assert picture.shape == (40, 30, 3)
    np.testing.assert_allclose(picture[20, 15], colour, atol=6)
  assert text.count("<svg") == 2
  assert list(tmp_path.iterdir()) == [tmp_path / "report.html"]


def test_text_is_escaped(tmp_path):
  text = _write(tmp_path / "report.html")
  assert "<title>A &lt;title&gt;</title>" in text
  assert "a &quot;worst&quot; &lt;case&gt;" in text
  assert "<dd>&lt;b&gt;</dd>" in text
  assert "<dt>flip</dt><dd>false</dd>" in text


def test_empty_parts_are_left_out(tmp_path):
  text = _write(tmp_path / "r.html", curves=[], gallery={"best": []}, pck={})
  assert _Page(text).headings == ["Average precision, %", "Protocol"]


def test_values_that_are_not_finite_do_not_reach_the_curves(tmp_path):
  records = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": float("nan")}]
  text = _write(tmp_path / "r.html", curves=records)
  assert "Loss: 0.5 at step 1" in text
  assert "nan" not in text


@pytest.fixture
def clip(tmp_path):
  path = tmp_path / "poses" / "clip.webm"
  path.parent.mkdir()
  with video_lib.Writer(path, fps=5.0, size=(40, 60)) as writer:
    writer.write(np.full((40, 60, 3), 90, np.uint8))
  return path


def test_a_small_video_is_embedded(tmp_path, clip):
  page = _Page(_write(tmp_path / "r.html", gallery={}, video=clip))
  [source] = page.sources
  kind, _, data = source.partition(",")
  assert kind == "data:video/webm;base64"
  assert base64.b64decode(data) == clip.read_bytes()


def test_a_large_video_is_linked(tmp_path, clip, monkeypatch):
  monkeypatch.setattr(report, "_EMBEDDED_VIDEO", 10)
  page = _Page(_write(tmp_path / "r.html", gallery={}, video=clip))
  assert page.sources == ["poses/clip.webm"]
