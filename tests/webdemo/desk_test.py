"""What each call of the page gives; workers are calls of this process."""

import dataclasses
import pathlib

import numpy as np
import pytest

from diffpose_jax.webdemo import clip, desk, drawing, request, visits, worker
from diffpose_jax.webdemo import limits as limits_lib

LIMITS = limits_lib.Limits(megabytes=1)
DONE = {
  "video": "walk.webm",
  "page": "walk.html",
  "files": ["walk.json", "walk.webm", "walk.html"],
  **{"frames": 9, "people": 9, "tracks": 1},
  **{"notes": [], "uncertainty": []},
}


class Called(worker.Worker):
  """A worker that is none: what it is asked for, and by whom."""

  def __init__(self, work):
    self.work, self.asked, self.stopped = work, [], []

  def __call__(self, asked, told=lambda done, count: None, *, whose=""):
    self.asked.append((asked, whose))
    return self.work(asked, told)

  def stop(self, whose):
    self.stopped.append(whose)
    return True


@pytest.fixture
def served(tmp_path):
  """A desk, on whose `poses` a job writes what it was asked."""

  def poses(asked, told):
    told(9, 9)
    for name in DONE["files"]:
      (pathlib.Path(asked["out"]) / name).write_text("content")
    return DONE

  uploads, kept = tmp_path / "uploads", tmp_path / "visits"
  uploads.mkdir()
  kept.mkdir()
  look, works = Called(clip.Look(LIMITS)), Called(poses)
  return desk.Desk(
    visits.Visits(kept, most=9),
    uploads,
    look=look,
    poses=works,
    limits=LIMITS,
  )


@pytest.fixture
def upload(served, clip_file):
  """Puts a file where uploads come, and shows it to the desk."""

  def run(content=None, name="walk.webm", session="one", visit=None):
    folder = served.uploads / "0a1b"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(clip_file.read_bytes() if content is None else content)
    found = served.take(session, str(path), visit or desk.Visit())
    assert not path.exists()  # whatever becomes of it
    return found

  return run


def left(served):
  """Files that there are of all visits."""
  return [p.name for p in served.uploads.parent.rglob("*") if p.is_file()]


def test_an_upload_becomes_a_clip(served, upload):
  visit, about, hint = upload()
  assert visit.clip.frames == 9 and "9 frames of 160×120" in about
  assert "Click on two opposite corners" in hint
  assert sorted(left(served)) == ["first.png", "walk.webm"]
  # Enlarged, so that corners are well hit.
  assert served.picture(visit).shape == (480, 640, 3)
  again, _, _ = upload(visit=visit)
  assert again.clip.path == visit.clip.path
  assert served.take("one", None, again) == (desk.Visit(), "", "")
  assert left(served) == []


@pytest.mark.parametrize(
  ("content", "name", "message"),
  [
    (b"no video", "walk.mp4", "walk.mp4: cannot be opened as video"),
    (b"", "walk.webm", "walk.webm: "),
    (b"<script>", "page.html", "a file .html is no clip"),
    (bytes(1_000_001), "walk.mp4", "the file is larger than 1 MB"),
  ],
)
def test_a_bad_upload_is_a_line_and_gone(
  served, upload, content, name, message
):
  before, _, _ = upload()
  visit, about, hint = upload(content, name, visit=before)
  assert visit == desk.Visit() and hint == ""
  assert about.startswith("<p class=dp-refused role=alert>")
  assert message in about and "\n" not in about
  assert "/" not in about.replace("</p>", "")  # of no folder here
  assert served.picture(visit) is None and left(served) == []


@pytest.mark.parametrize("kind", ["outside", "climbing", "link", "none"])
def test_only_uploads_are_taken(served, tmp_path, clip_file, kind):
  other = tmp_path / "other.webm"
  other.write_bytes(clip_file.read_bytes())
  given = {
    "outside": other,
    "climbing": served.uploads / ".." / "other.webm",
    "link": served.uploads / "link.webm",
    "none": served.uploads / "none.webm",
  }[kind]
  if kind == "link":
    given.symlink_to(other)
  visit, about, _ = served.take("one", str(given), desk.Visit())
  assert visit == desk.Visit() and "upload" in about
  assert other.read_bytes() == clip_file.read_bytes()
  kept = served.visits.folder(served.visits.of("one"))
  assert list(kept.iterdir()) == []


def test_clicks_are_in_pixels_of_the_clip(served, upload):
  visit, _, _ = upload()
  visit, picture, hint = served.clicked(visit, [40, 80])
  assert "corner across" in hint and picture.shape == (480, 640, 3)
  visit, picture, hint = served.clicked(visit, (240, 400))
  assert visit.drawing.boxes == ((10, 20, 60, 100),)
  assert not np.array_equal(picture, served.picture(desk.Visit(visit.clip)))
  assert "1 person." in hint
  same, _, hint = served.clicked(visit, ["a", None])
  assert same == visit and "dp-refused" in hint
  assert served.undone(visit)[0].drawing == drawing.Drawing()
  assert served.cleared(visit)[0].drawing == drawing.Drawing()
  assert served.clicked(desk.Visit(), [1, 1]) == (desk.Visit(), None, "")


def test_a_job_is_asked_for_and_shown(served, upload):
  visit, _, _ = upload()
  told = []
  found = served.find(
    *("one", visit, request.WHOLE, 2, 4),
    lambda *given: told.append(given),
  )
  assert told == [(9, 9)] and "9 frames, 9 poses" in found
  [(asked, whose)] = served.poses.asked
  assert asked["way"] == "whole" and asked["boxes"] == ()
  assert (asked["steps"], asked["samples"]) == (2, 4)
  assert whose == served.visits.of("one")
  address = found.split("<video", 1)[1].split('src="', 1)[1].split('"', 1)[0]
  _, _, result, name = address.split("/")
  path = served.visits.find(result, name)
  assert path is not None and path.read_text() == "content"
  assert whose not in found  # the visit's own name is nobody's business


@pytest.mark.parametrize(
  ("given", "message"),
  [
    (dict(visit=desk.Visit()), "there is no clip yet"),
    (dict(way=request.DRAWN), "no box is drawn"),
    (dict(way="x"), "people are given by one of"),
    (dict(steps=99), "steps is 99"),
    (dict(samples=0), "samples is 0"),
  ],
)
def test_what_cannot_be_asked_is_a_line(served, upload, given, message):
  visit, _, _ = upload()
  usual = dict(visit=visit, way=request.WHOLE, steps=2, samples=4)
  found = served.find("one", **{**usual, **given})
  assert message in found and found.count("\n") == 0
  assert served.poses.asked == []


@pytest.mark.parametrize(
  ("error", "message"),
  [
    (ValueError("{folder}/walk.webm: has ended"), ">walk.webm: has ended<"),
    (worker.BrokenError("KeyError"), "something went wrong"),
    (RuntimeError("a secret"), "something went wrong"),
    (FileNotFoundError("{folder}"), "the clip is gone; upload it again"),
  ],
)
def test_what_goes_wrong_in_a_job_is_a_line(
  served, upload, error, message, capsys
):
  visit, _, _ = upload()
  folder = str(served.visits.folder(served.visits.of("one")))

  def work(asked, told):
    raise type(error)(str(error).format(folder=folder))

  served.poses.work = work
  found = served.find("one", visit, request.WHOLE, 2, 4)
  assert message in found and folder not in found
  assert "secret" not in found and "Traceback" not in found
  assert left(served).count("walk.webm") == 1


def test_who_leaves_stops_the_job_and_takes_all_along(served, upload):
  visit, _, _ = upload()
  name = served.visits.of("one")
  served.stop("one")
  served.leave("one")
  assert served.poses.stopped == [name, name] and left(served) == []
  found = served.find("one", visit, request.WHOLE, 2, 4)
  assert "dp-result" in found or "gone" in found
  served.leave("nobody")
  assert dataclasses.replace(visit) == visit
