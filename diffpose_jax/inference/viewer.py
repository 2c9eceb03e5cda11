"""One HTML page that plays a video with its poses, to look into them.

It needs no network and no second file, except the video where that is too large
to be in it. What it does is written in `viewer_page/*.js`.
"""

import base64
import dataclasses
import html
import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from diffpose_jax.data import annotations, poses
from diffpose_jax.data import video as videos
from diffpose_jax.inference import colours, page, viewer_data
from diffpose_jax.pose import uncertainty

EMBED = 24_000_000  # bytes of a video that is put into the page
_SHARES = (0.5, 0.9)  # of the errors, in the ellipses
_SCRIPTS = (
  "elements",
  "poses",
  "clock",
  "stage",
  "span",
  "timeline",
  "curves",
  "panel",
  "keys",
  "main",
)
_MEDIA = {".webm": "video/webm", ".mp4": "video/mp4"}
_NUMBERS, _FILM = "<!--numbers-->", "<!--film-->"  # where they go


@dataclasses.dataclass(frozen=True)
class Written:
  """What a user should know of a page."""

  embedded: bool  # the video is in the page; else it must stay beside it
  notes: tuple[str, ...]  # what the page says of itself, a line each


def write(
  path: pathlib.Path,
  head: poses.Head,
  frames: Iterable[annotations.Frame],
  video: pathlib.Path | None,
  *,
  embed: int = EMBED,
) -> Written:
  """Writes the page of a video's poses, whole or not at all.

  Args:
    path: of the page.
    head: what is said once of the poses.
    frames: of the video, in order; gone through twice.
    video: WebM or MP4 of these frames, nothing drawn in, that a browser plays.
      Without one the poses are seen on black.
    embed: bytes up to which the video is put into the page; a larger one is
      named by where it lies, seen from the page.

  Raises:
    ValueError: there are no frames or they are not in order, people have not the
      skeleton's joints, or the video is none that a browser plays.
  """
  film = _film(video, path.parent, embed)
  shown = [] if video is None else videos.shown_at(video)
  found = viewer_data.survey(head, frames)
  kept = viewer_data.thin(found, viewer_data.MOST)
  columns, step = viewer_data.pack(head, frames, found, kept)
  notes = _notes(found, kept, film)
  if len(shown) == found.frames:
    columns["shown"] = viewer_data.times(shown[:: kept.every])
  elif film:
    notes.append(
      f"The video has {len(shown)} frames, the poses are of {found.frames}: "
      "they may not lie where they should."
    )
  about = _about(head, found, kept, step)
  about["video"] = film and {k: v for k, v in film.items() if k != "data"}
  content = json.dumps({"about": about, "columns": columns})
  page.write(path, _pieces(_html(head, found, notes), content, film))
  return Written(film is None or "data" in film, tuple(notes))


def _about(
  head: poses.Head,
  found: viewer_data.Survey,
  kept: viewer_data.Kept,
  step: float,
) -> dict[str, Any]:
  """What the page is told beside the numbers, as JSON types."""
  skeleton = head.skeleton
  place = {channel: k for k, channel in enumerate(found.joints)}
  sides = colours.sides(skeleton)
  return {
    "fps": head.fps,
    "height": head.height,
    "width": head.width,
    "joints": [skeleton.joints[channel] for channel in found.joints],
    "limbs": [
      [place[a], place[b]]
      for a, b in skeleton.limbs
      if a in place and b in place
    ],
    "sides": [sides[channel] for channel in found.joints],
    "colours": {
      "left": _hex(colours.LEFT),
      "right": _hex(colours.RIGHT),
      "middle": _hex(colours.MIDDLE),
      "none": _hex(colours.person(-1)),
      "people": [_hex(colour) for colour in colours.PEOPLE],
    },
    "ellipses": [
      {"share": share, "distance": uncertainty.region(share, head.tail)}
      for share in _SHARES
    ],
    "frames": found.frames,
    "every": kept.every,
    "samplesEvery": kept.samples_every,
    "members": found.members,
    "step": step,
    "calibrated": found.calibrated,
    "kinds": viewer_data.KINDS,
  }


def _notes(
  found: viewer_data.Survey,
  kept: viewer_data.Kept,
  film: dict[str, Any] | None,
) -> list[str]:
  """What a reader must know, a line each."""
  notes = []
  if kept.every > 1:
    notes.append(
      f"Of {found.frames} frames every {_ordinal(kept.every)} is here: there "
      "are more poses than a page can hold. The files of the poses have all."
    )
  if kept.samples_every > 1 and found.members:
    which = "of these frames" if kept.every > 1 else "frame"
    notes.append(
      f"Samples are kept of every {_ordinal(kept.samples_every)} {which}: there "
      "are more than a page can hold. The files of the poses have all."
    )
  if film and "data" not in film:
    notes.append(
      f"The video is not in this page but in {film['name']}; keep the two where "
      "they are to each other."
    )
  return notes


def _film(
  video: pathlib.Path | None, folder: pathlib.Path, embed: int
) -> dict[str, Any] | None:
  """Type and name of the video, and its data or its address."""
  if video is None:
    return None
  if video.suffix not in _MEDIA:
    raise ValueError(
      f"{video}: browsers play {' and '.join(_MEDIA)}; give one of these"
    )
  film: dict[str, Any] = {"type": _MEDIA[video.suffix], "name": video.name}
  if video.stat().st_size <= embed:
    return film | {"data": video.read_bytes()}
  return film | {"address": page.beside(video, folder)}


def _html(
  head: poses.Head, found: viewer_data.Survey, notes: Iterable[str]
) -> str:
  """The page without its numbers and its video."""
  asset = {
    name: page.asset(f"viewer_page/{name}")
    for name in ("style.css", "body.html", *(f"{n}.js" for n in _SCRIPTS))
  }
  size = f":root {{ --width: {head.width}; --height: {head.height}; }}\n"
  code = "\n".join(asset[f"{name}.js"] for name in _SCRIPTS)
  return page.whole(
    head.source,
    [
      page.paragraph(_summary(head, found)),
      *(f"<p class=warning role=note>{html.escape(n)}</p>" for n in notes),
      asset["body.html"],
      page.details("How the poses came about", page.listing(head.protocol)),
      _NUMBERS,
      _FILM,
    ],
    style=size + asset["style.css"],
    # In a block of its own, so that no name of it is one of the page's.
    script=f"{{\n{code}\n}}\n",
  )


def _summary(head: poses.Head, found: viewer_data.Survey) -> str:
  tracks = "1 identity" if found.tracks == 1 else f"{found.tracks} identities"
  frames = "1 frame" if found.frames == 1 else f"{found.frames} frames"
  return (
    f"{head.width}×{head.height} pixels, {frames}, {head.fps:.4g} a second; "
    f"{found.people / found.frames:.3g} people a frame, {tracks}"
  )


def _pieces(
  text: str, content: str, film: dict[str, Any] | None
) -> Iterator[str]:
  """The page in its parts, with numbers and video in their places."""
  before, rest = text.split(_NUMBERS, 1)
  between, after = rest.split(_FILM, 1)
  yield before
  # No text in it can end the element.
  yield '<script id="numbers" type="application/json">'
  yield content.replace("<", "\\u003c")
  yield "</script>\n"
  yield between
  if film and "data" in film:
    yield '<script id="film" type="text/plain">'
    yield base64.b64encode(film["data"]).decode()
    yield "</script>\n"
  yield after


def _hex(colour: colours.Rgb) -> str:
  return "#{:02x}{:02x}{:02x}".format(*colour)


def _ordinal(number: int) -> str:
  ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
  return f"{number}{'th' if 10 <= number % 100 <= 20 else ending}"
