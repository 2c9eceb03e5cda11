"""What the page shows of a finished job, as HTML; its looks are `look.css`."""

import html
import urllib.parse
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from diffpose_jax.inference import page
from diffpose_jax.webdemo import job

_KINDS = {  # by ending, the longer first
  ".poses.json": "all there is of the poses",
  ".frames.csv": "the frames' times, beside the table",
  ".plain.webm": "the video of the viewer page; keep it beside that",
  ".json": "PoseTrack18",
  ".csv": "a table, a row for each joint",
  ".npz": "NumPy arrays",
  ".webm": "the video with poses drawn in",
  ".html": "the viewer page, in one file",
}


def of(done: job.Done, base: str) -> str:
  """The result, of which the files are at `base`, an address without end `/`."""
  address = {n: f"{base}/{urllib.parse.quote(n)}" for n in done.files}
  count = f"{done.frames} frames" if done.frames != 1 else "1 frame"
  identities = "1 identity" if done.tracks == 1 else f"{done.tracks} identities"
  return "\n".join(
    [
      "<div class=dp-result>",
      *(f"<p class=dp-note>{html.escape(note)}</p>" for note in done.notes),
      f"<p>{count}, {done.people} poses, {identities}.</p>",
      '<video class=dp-video controls loop muted autoplay playsinline src="'
      f'{html.escape(address[done.video])}"></video>',
      _files(done.files, address),
      "<h3>How far off each joint may be</h3>",
      _uncertainty(done.uncertainty),
      "<h3>Look into it, frame by frame</h3>",
      f'<p><a href="{html.escape(address[done.page])}" target=_blank '
      "rel=noopener>Open the viewer in a tab of its own</a></p>",
      f'<iframe class=dp-viewer title="Viewer" loading=lazy '
      'sandbox="allow-scripts" '
      f'src="{html.escape(address[done.page])}"></iframe>',
      "</div>",
    ]
  )


def refused(words: str) -> str:
  """A line that says why there is no result."""
  return f"<p class=dp-refused role=alert>{html.escape(words)}</p>"


def _files(names: Sequence[str], address: dict[str, str]) -> str:
  rows = [
    f'<li><a href="{html.escape(address[name])}" download="{html.escape(name)}">'
    f"{html.escape(name)}</a> <span>{html.escape(_kind(name))}</span></li>"
    for name in names
  ]
  return f"<h3>Files</h3><ul class=dp-files>{''.join(rows)}</ul>"


def _kind(name: str) -> str:
  return next(text for end, text in _KINDS.items() if name.endswith(end))


def _uncertainty(people: Sequence[dict[str, Any]]) -> str:
  """A table for each person."""
  if not people:
    return "<p>There is nobody.</p>"
  known = people[0]["calibrated"]
  words = (
    "The chance that the joint is within half a head of the truth, the error "
    "that half of the errors stay below, and the chance over time: yellow is "
    "1, violet is 0, grey where the person is not there."
    if known
    else "Not calibrated: the raw spread, which ranks joints and is no "
    "probability. The error that half of the errors stay below, and over time: "
    "yellow is none, violet a tenth of the person's size or more, grey where the "
    "person is not there."
  )
  return f"<p>{words}</p>{''.join(_table(person) for person in people)}"


def _table(person: dict[str, Any]) -> str:
  rows = "".join(_row(joint) for joint in person["joints"])
  known = person["calibrated"]
  chance = "<th scope=col>within half a head</th>" if known else ""
  name = "Somebody" if person["track"] < 0 else f"Person {person['track']}"
  frames = "1 frame" if person["frames"] == 1 else f"{person['frames']} frames"
  return (
    f"<table class=dp-joints><caption>{name}, in {frames}</caption>"
    f"<thead><tr><th scope=col>joint</th>{chance}"
    "<th scope=col>half of errors below</th><th scope=col>over time</th></tr>"
    f"</thead><tbody>{rows}</tbody></table>"
  )


def _row(joint: dict[str, Any]) -> str:
  chance = ""
  if joint["within"] is not None:
    chance = f"<td>{100 * joint['within']:.0f} %</td>"
  picture = page.data_uri("image/png", _png(strip(joint["sure"])))
  name = html.escape(joint["name"])
  return (
    f"<tr><th scope=row>{name}</th>{chance}<td>{joint['error']:.1f} px</td>"
    f'<td><img class=dp-strip alt="{name} over time" src="{picture}"></td></tr>'
  )


def strip(sure: Sequence[float | None]) -> UInt8[np.ndarray, "1 n 4"]:
  """A pixel for each frame: dark is 0, bright is 1, transparent is nobody."""
  known = np.array([value is not None for value in sure])
  values = np.array([value or 0.0 for value in sure])
  grey = np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)[None]
  colours = cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS)[..., ::-1].copy()
  alpha = np.where(known, 255, 0).astype(np.uint8)[None, :, None]
  return np.concatenate([colours, alpha], axis=-1)


def _png(picture: UInt8[np.ndarray, "1 n 4"]) -> bytes:
  _, data = cv2.imencode(".png", picture[..., [2, 1, 0, 3]])
  return data.tobytes()
