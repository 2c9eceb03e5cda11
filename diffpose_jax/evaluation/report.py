"""One HTML page that shows an evaluation: tables, plots, pictures.

The page needs no network and no second file, except the video where that is
too large to embed. Pictures are JPEG, plots are SVG.
"""

import dataclasses
import html
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from diffpose_jax.evaluation import (
  breakdown,
  metric,
  published,
  table,
)
from diffpose_jax.evaluation import curves as curves_lib
from diffpose_jax.evaluation import plots as plots_lib
from diffpose_jax.evaluation.gallery import GalleryItem
from diffpose_jax.inference import page

_EMBEDDED_VIDEO = 7_000_000  # bytes; a larger one is linked
_PICTURES = 4_000_000  # bytes of all pictures, about; JPEG gives way
_QUALITIES = (88, 75, 60, 40)  # of JPEG, the first that keeps to it
_VIDEOS = 20  # rows in sight
_PUBLISHED = 12
_LEGEND = (
  "Prediction in colour: left orange, right blue, middle green. "
  "Truth: thin white."
)
_JOINTS = (
  "PCKh@0.5: of the labelled joints, those within half a head size of their "
  "person's pose, whatever its score. Error: the median distance in head sizes."
)
_MOMENT = " In each row: the frame before, the key frame, the frame after."


@dataclasses.dataclass(frozen=True)
class Content:
  """What the page shows; parts that are empty are left out."""

  title: str
  # Name → AP in percent by group, keyed `head` ... `total`, as `ap_groups`. The
  # last row stands out: the model.
  table_rows: Mapping[str, Mapping[str, float | None]]
  # How the numbers came about, shown as it is; what it says of data and boxes
  # chooses the published rows, see `published.compare`.
  protocol: Mapping[str, Any]
  # Records of `metrics.jsonl`: `step` and `loss`, or `step` and `val/ap`.
  curves: Sequence[Mapping[str, Any]] = ()
  gallery: Mapping[str, Sequence[GalleryItem]] = dataclasses.field(
    default_factory=dict
  )  # kind → pictures
  pck: Mapping[str, Mapping[str, float | None]] = dataclasses.field(
    default_factory=dict
  )  # row → column → fraction
  video: pathlib.Path | None = None  # annotated WebM
  warnings: Sequence[str] = ()  # what a reader must know first
  tables: Sequence[metric.Table] = ()  # of metrics beside `table_rows`
  plots: Sequence[plots_lib.Plot] = ()
  joints: Sequence[breakdown.JointScore] = ()
  videos: Sequence[breakdown.VideoScore] = ()  # in the order shown


def write(path: pathlib.Path, content: Content) -> None:
  """Writes the page, whole or not at all; its folder is made if it must be."""
  sections = [
    *(_warning(words) for words in content.warnings),
    page.section("Average precision, %", _ap(content)),
    *(page.section(one.title, _metric(one)) for one in content.tables),
    page.section(
      "Share of joints within reach (PCK)",
      _metric(metric.Table("", content.pck, digits=3)),
    ),
    page.section("Plots", _plots(content.plots)),
    page.section("Joints", _joints(content.joints)),
    page.section("Videos", _videos(content.videos)),
    page.section("Cases", _gallery(content.gallery)),
    page.section("Training", _curves(content.curves)),
    page.section("Video", _video(content.video, path.parent)),
    page.section("Protocol", page.listing(content.protocol)),
  ]
  page.write(path, [page.whole(content.title, sections)])


def _warning(words: str) -> str:
  return (
    f"<p class=warning role=note><strong>Warning:</strong> "
    f"{html.escape(words)}</p>"
  )


def _ap(content: Content) -> str:
  """Our rows, and below them those that papers published."""
  rows = content.table_rows
  if not rows:
    return ""
  columns = table.columns(rows)
  titles = [title for _, title in columns]
  ours = page.Body(_cells(rows, columns, 1), ours=list(rows)[-1])
  if columns != table.COLUMNS:  # a skeleton's own groups
    return page.table(titles, [ours])
  beside = published.compare(content.protocol)
  found = _cells({r.method: r.values for r in beside.rows}, columns, 1)
  if found:
    ours = dataclasses.replace(ours, heading="Measured here")
  best = page.Body(found[:_PUBLISHED], heading="Published")
  rest = found[_PUBLISHED:]
  return "".join(
    [
      page.table(titles, [ours, best]),
      page.details(
        f"{len(rest)} published rows of lower mean",
        page.table(titles, [page.Body(rest)]),
      ),
      page.paragraph(published.CAUTION),
      page.paragraph(beside.note),
    ]
  )


def _metric(one: metric.Table) -> str:
  """Any metric's table."""
  keys = dict.fromkeys(key for values in one.rows.values() for key in values)
  columns = (
    table.columns(one.rows) if one.groups else [(key, key) for key in keys]
  )
  body = page.Body(_cells(one.rows, columns, one.digits))
  return page.table([title for _, title in columns], [body])


def _cells(
  rows: Mapping[str, Mapping[str, float | None]],
  columns: Sequence[tuple[str, str]],
  digits: int,
) -> list[tuple[str, list[str]]]:
  return [
    (name, [page.number(values.get(key), digits) for key, _ in columns])
    for name, values in rows.items()
  ]


def _plots(found: Sequence[plots_lib.Plot]) -> str:
  figures = "".join(map(plots_lib.figure, found))
  return f"<div class=charts>{figures}</div>" if figures else ""


def _joints(scores: Sequence[breakdown.JointScore]) -> str:
  columns = ("Labelled", "AP, %", "Precision, %", "PCKh@0.5, %", "Error, heads")
  rows = [
    (
      score.joint.replace("_", " "),
      [
        str(score.labelled),
        *(page.number(v, 1) for v in (score.ap, score.precision, score.pckh)),
        page.number(score.error, 3),
      ],
    )
    for score in scores
  ]
  return page.folded_table(
    columns, page.Body(rows), corner="Joint", shown=len(rows), rest=""
  ) + page.paragraph(_JOINTS if rows else "")


def _videos(scores: Sequence[breakdown.VideoScore]) -> str:
  """The videos; MOTA is a column where any has one."""
  tracked = any(score.mota is not None for score in scores)
  columns = ["People", "Frames", "AP, %", "PCKh@0.5, %"]
  rows = []
  for score in scores:
    cells = [str(score.people), str(score.frames)]
    shares = [score.ap, score.pckh, *([score.mota] if tracked else [])]
    rows.append((score.video, cells + [page.number(v, 1) for v in shares]))
  return page.folded_table(
    [*columns, *(["MOTA, %"] if tracked else [])],
    page.Body(rows),
    corner="Video",
    shown=_VIDEOS,
    rest="The other {count} videos",
  )


def _curves(records: Sequence[Mapping[str, Any]]) -> str:
  """The curves of what the records hold, side by side."""
  charts = []
  for heading, key in (("Loss", "loss"), ("Mean AP, validation", "val/ap")):
    points = [
      (float(record["step"]), float(record[key]))
      for record in records
      if record.get(key) is not None and math.isfinite(record[key])
    ]
    if points:
      charts.append(curves_lib.svg(points, title=heading))
  return f"<div class=charts>{''.join(charts)}</div>" if charts else ""


def _gallery(kinds: Mapping[str, Sequence[GalleryItem]]) -> str:
  """A row of pictures for each kind that has some."""
  shown = [item for items in kinds.values() for item in items]
  if not shown:
    return ""
  quality = _quality([p for item in shown for p in _pictures(item)])
  moments = _MOMENT if any(len(_pictures(item)) > 1 for item in shown) else ""
  rows = [
    f"<h3>{html.escape(kind[:1].upper() + kind[1:])}</h3>\n<div class=gallery>"
    f"{''.join(_figure(item, quality) for item in items)}</div>"
    for kind, items in kinds.items()
    if items
  ]
  return "\n".join([page.paragraph(_LEGEND + moments), *rows])


def _figure(item: GalleryItem, quality: int) -> str:
  """The key frame, between its neighbours where it has any."""
  key = _image(item.image, item.caption, quality)
  caption = f"<figcaption>{html.escape(item.caption)}</figcaption>"
  if len(_pictures(item)) == 1:
    return f"<figure>{key}{caption}</figure>\n"
  before, after = (
    "<span class=none>no frame</span>"
    if image is None
    else _image(image, f"the frame {name}", quality)
    for image, name in ((item.before, "before"), (item.after, "after"))
  )
  return f"<figure class=moment>{before}{key}{after}{caption}</figure>\n"


def _pictures(item: GalleryItem) -> list[np.ndarray]:
  return [p for p in (item.before, item.image, item.after) if p is not None]


def _quality(pictures: Sequence[np.ndarray]) -> int:
  """Of JPEG, so that the page stays small enough to send."""
  for quality in _QUALITIES:
    if sum(len(_jpeg(picture, quality)) for picture in pictures) <= _PICTURES:
      return quality
  return _QUALITIES[-1]


def _image(picture: np.ndarray, words: str, quality: int) -> str:
  height, width = picture.shape[:2]
  source = page.data_uri("image/jpeg", _jpeg(picture, quality))
  return (
    f'<img src="{source}" alt="{html.escape(words)}" width="{width}" '
    f'height="{height}">'
  )


def _jpeg(picture: np.ndarray, quality: int) -> bytes:
  bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
  _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
  return data.tobytes()


def _video(video: pathlib.Path | None, folder: pathlib.Path) -> str:
  if video is None:
    return ""
  source = html.escape(page.beside(video, folder))
  if video.stat().st_size <= _EMBEDDED_VIDEO:
    source = page.data_uri("video/webm", video.read_bytes())
  return (
    f'<video controls loop muted playsinline preload=metadata src="{source}">'
    "</video>"
  )
