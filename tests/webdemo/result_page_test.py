"""What is shown of a job: every file, every joint, and nothing unescaped."""

import html.parser

import numpy as np
import pytest

from diffpose_jax.webdemo import job, result_page

JOINT = {
  "name": "left wrist",
  "within": 0.256,
  "error": 3.14,
  "sure": [0.2, None],
}
PERSON = {"track": 3, "frames": 1, "calibrated": True, "joints": [JOINT]}
FILES = ("a.poses.json", "a.json", "a.csv", "a.frames.csv", "a.npz", "a.webm")


def done(**given):
  usual = dict(
    video="a.webm",
    page="a.html",
    files=(*FILES, "a.html"),
    frames=2,
    people=1,
    tracks=1,
    notes=(),
    uncertainty=(PERSON,),
  )
  return job.Done(**{**usual, **given})


class Tags(html.parser.HTMLParser):
  def __init__(self, text):
    super().__init__()
    self.found = []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.found.append((tag, dict(attrs)))

  def all(self, tag, key):
    return [given.get(key) for name, given in self.found if name == tag]


def test_it_leads_to_all_files():
  text = result_page.of(done(), "/made/x")
  tags = Tags(text)
  assert tags.all("a", "download")[:7] == [*FILES, "a.html"]
  assert tags.all("a", "href")[:7] == [
    f"/made/x/{n}" for n in (*FILES, "a.html")
  ]
  assert tags.all("video", "src") == ["/made/x/a.webm"]
  assert tags.all("iframe", "src") == ["/made/x/a.html"]
  assert tags.all("iframe", "sandbox") == ["allow-scripts"]
  assert "\n\n" not in text  # which Markdown would take for its own
  assert "2 frames, 1 poses, 1 identity" in text


def test_joints_have_their_numbers():
  text = result_page.of(done(), "/made/x")
  assert "Person 3, in 1 frame<" in text
  assert "<th scope=row>left wrist</th><td>26 %</td><td>3.1 px</td>" in text
  assert "not calibrated" not in text
  raw = PERSON | {"calibrated": False, "joints": [JOINT | {"within": None}]}
  text = result_page.of(done(uncertainty=(raw,)), "/made/x")
  assert "<th scope=row>left wrist</th><td>3.1 px</td>" in text
  assert "Not calibrated" in text and "within half a head</th>" not in text
  assert "There is nobody" in result_page.of(done(uncertainty=()), "/made/x")


def test_strips_are_dark_bright_and_transparent():
  pixels = result_page.strip([0.0, 1.0, None])
  assert pixels.shape == (1, 3, 4)
  assert pixels[0, 0].sum() < pixels[0, 1].sum()
  np.testing.assert_array_equal(pixels[..., 3], [[255, 255, 0]])


@pytest.mark.parametrize("bad", ['"><img src=x>', "<script>alert(1)</script>"])
def test_nothing_that_comes_in_is_html(bad):
  person = PERSON | {"joints": [JOINT | {"name": bad}]}
  text = result_page.of(done(notes=(bad,), uncertainty=(person,)), "/made/x")
  text += result_page.refused(bad)
  assert bad not in text
  assert not Tags(text).all("script", "src")
