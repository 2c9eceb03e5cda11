"""The page in a real browser: a clip goes in, poses come out and are fetched."""

import json

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.slow
COUNT, FPS = 9, 6.0
INPUT = "document.querySelector('#clip input[type=file]')"
PICTURE = "document.querySelector('#picture img')"
DONE = "#result .dp-result, #result .dp-refused"
# What Gradio itself says to the console.
HARMLESS = ("Method not implemented",)


@pytest.fixture
def page(served, browser):
  with browser.page(served.address, width=1280, height=1000) as page:
    page.wait(f"{INPUT} && document.querySelector('#go')")
    yield page
    faults = [f for f in page.faults() if not any(h in f for h in HARMLESS)]
    assert faults == []
    # Nothing comes from anywhere else.
    asked = page.requests()
    assert len(asked) > 10
    assert [a for a in asked if not a.startswith(served.address)] == []


def text(page, selector):
  return page.run(f"document.querySelector('{selector}')?.innerText ?? ''")


def give(page, path):
  """Uploads a file, and waits for what is said of it."""
  page.give_file(INPUT, path)
  page.wait("document.querySelector('#about .dp-line, #about .dp-refused')")
  return text(page, "#about")


def choose(page, value):
  page.run(f"document.querySelector('#way input[value={value}]').click()")
  page.wait(f"document.querySelector('#way input[value={value}]').checked")


def find(page, sign=DONE):
  page.run("document.querySelector('#go').click()")
  # The first job waits until the network is compiled.
  page.wait(f"document.querySelector('{sign}')", seconds=500)


def click_at(page, x, y):
  """On the first frame, at a place of its 160×120 pixels."""
  page.run(f"{PICTURE}.scrollIntoView({{block: 'center'}})")
  left, top, width, height = page.run(
    "(() => { const box = " + PICTURE + ".getBoundingClientRect();"
    "return [box.left, box.top, box.width, box.height]; })()"
  )
  page.click(left + x / 160 * width, top + y / 120 * height)


def fetched(page, name):
  """The text of a file behind its link."""
  return page.run(
    f"fetch(document.querySelector('a[download=\"{name}\"]').href)"
    ".then(answer => answer.ok ? answer.text() : 'not ok')"
  )


def test_a_box_is_drawn_and_poses_are_found(page, clip_file):
  assert "9 frames of 160×120 pixels" in give(page, clip_file)
  page.wait(f"{PICTURE}?.naturalWidth === 640")
  assert "Click on two opposite corners" in text(page, "#hint")
  click_at(page, 10, 15)
  page.wait("document.querySelector('#hint').innerText.includes('across')")
  click_at(page, 90, 110)
  page.wait("document.querySelector('#hint').innerText.includes('1 person')")
  find(page)
  assert "9 frames" in text(page, "#result")
  # The video plays, to its end.
  video = "document.querySelector('#result video')"
  page.wait(f"{video}.readyState >= 2")
  length = page.run(f"{video}.duration")
  assert length == pytest.approx(COUNT / FPS, abs=0.1)
  assert page.run(f"[{video}.videoWidth, {video}.videoHeight]") == [160, 120]
  page.wait(f"{video}.currentTime > 0.2")
  # Each file has a record for each frame.
  own = json.loads(fetched(page, "walk.poses.json"))
  assert [frame["index"] for frame in own["frames"]] == list(range(COUNT))
  [person] = own["frames"][0]["people"]
  np.testing.assert_allclose(person["box"], [10, 15, 90, 110], atol=1)
  assert len(json.loads(fetched(page, "walk.json"))["images"]) == COUNT
  rows = fetched(page, "walk.frames.csv").strip().splitlines()
  assert len(rows) == 1 + COUNT
  assert fetched(page, "walk.npz").startswith("PK")
  # So has the table of uncertainty, and the page within the page is there.
  joints = page.run("document.querySelectorAll('.dp-joints tbody tr').length")
  assert joints == 15
  viewer = fetched(page, "walk.html")
  assert "<title>" in viewer and len(viewer) > 50_000


def test_the_viewer_reaches_nothing_of_the_page(page, clip_file):
  give(page, clip_file)
  choose(page, "whole")
  find(page)
  frame = "document.querySelector('#result iframe')"
  page.run(f"{frame}.scrollIntoView()")
  page.wait(f"{frame}.contentDocument === null")  # of another origin
  policy = page.run(
    f"fetch({frame}.src).then(a => a.headers.get('content-security-policy'))"
  )
  assert policy.startswith("sandbox allow-scripts; default-src 'none'")


def test_bad_input_is_a_line_and_the_page_goes_on(page, clip_file, tmp_path):
  find(page)
  assert "there is no clip yet" in text(page, "#result")
  bad = tmp_path / "bad.mp4"
  bad.write_bytes(b"this is no video")
  assert "bad.mp4: cannot be opened as video" in give(page, bad)
  page.run("document.querySelector('#clip button[aria-label]')?.click()")
  page.wait("!document.querySelector('#about .dp-refused')")
  give(page, clip_file)
  page.wait(f"{PICTURE}?.naturalWidth === 640")
  page.run("document.querySelector('#result').innerText")
  page.run("document.querySelector('#go').click()")
  page.wait("document.querySelector('#result').innerText.includes('no box')")
  choose(page, "whole")
  find(page, "#result video")


def test_a_clip_that_is_too_long(page, tmp_path, film_of):
  assert "more than 20 frames: at most 5 s" in give(page, film_of(21))


def test_a_picture_is_done_too(page, tmp_path):
  path = tmp_path / "one.png"
  cv2.imwrite(str(path), np.full((120, 160, 3), 90, np.uint8))
  assert "A picture of 160×120 pixels." in give(page, path)
  choose(page, "whole")
  find(page)
  assert "1 frame, 1 poses" in text(page, "#result")
  assert len(json.loads(fetched(page, "one.poses.json"))["frames"]) == 1
