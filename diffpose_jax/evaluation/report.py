"""One HTML page that shows a run: tables, curves, pictures.

The page needs no network and no second file, except the video where that is
too large to embed. Pictures are JPEG, curves are SVG.
"""

import base64
import dataclasses
import html
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import cv2

from diffpose_jax.evaluation import curves as curves_lib
from diffpose_jax.evaluation import table
from diffpose_jax.evaluation.gallery import GalleryItem

_EMBEDDED_VIDEO = 12_000_000  # bytes; a larger one is linked
_LEGEND = (
  "Prediction in colour: left orange, right blue, middle green. "
  "Truth: thin white."
)


@dataclasses.dataclass(frozen=True)
class Content:
  """What the page shows; parts that are empty are left out."""

  title: str
  # Name → AP in percent by group, keyed `head` ... `total`, as `ap_groups`. The
  # last row stands out: the model.
  table_rows: Mapping[str, Mapping[str, float | None]]
  protocol: Mapping[str, Any]  # how the numbers came about, shown as it is
  # Records of `metrics.jsonl`: `step` and `loss`, or `step` and `val/ap`.
  curves: Sequence[Mapping[str, Any]] = ()
  gallery: Mapping[str, Sequence[GalleryItem]] = dataclasses.field(
    default_factory=dict
  )  # kind → pictures
  pck: Mapping[str, Mapping[str, float | None]] = dataclasses.field(
    default_factory=dict
  )  # row → column → fraction
  video: pathlib.Path | None = None  # annotated WebM


def write(path: pathlib.Path, content: Content) -> None:
  """Writes the page, whole or not at all; its folder must exist."""
  sections = [
    _section("Average precision, %", _ap_table(content.table_rows)),
    _section("Share of joints within reach (PCK)", _pck_table(content.pck)),
    _section("Training", _curves(content.curves)),
    _section("Video", _video(content.video, path.parent)),
    _section("Cases", _gallery(content.gallery)),
    _section("Protocol", _protocol(content.protocol)),
  ]
  page = _PAGE.format(
    title=html.escape(content.title),
    style=_STYLE,
    body="\n".join(filter(None, sections)),
  )
  temporary = path.with_name(f".{path.name}.partial")
  temporary.write_text(page, encoding="utf-8")
  os.replace(temporary, path)


def _section(heading: str, content: str) -> str:
  """A section, or nothing where it has no content."""
  if not content:
    return ""
  return f"<section><h2>{html.escape(heading)}</h2>\n{content}\n</section>"


def _ap_table(rows: Mapping[str, Mapping[str, float | None]]) -> str:
  columns = table.columns(rows)
  cells = {
    name: [_number(values.get(key), 1) for key, _ in columns]
    for name, values in rows.items()
  }
  return _table([title for _, title in columns], cells, kind="model")


def _pck_table(rows: Mapping[str, Mapping[str, float | None]]) -> str:
  columns = list(dict.fromkeys(c for row in rows.values() for c in row))
  cells = {
    name: [_number(values.get(column), 3) for column in columns]
    for name, values in rows.items()
  }
  return _table(columns, cells)


def _table(
  columns: Sequence[str],
  rows: Mapping[str, Sequence[str]],
  kind: str = "plain",
) -> str:
  """A table; the last row stands out in kind `model`. Nothing without rows."""
  if not rows:
    return ""
  head = "".join(f"<th scope=col>{html.escape(c)}</th>" for c in columns)
  body = "\n".join(
    f"<tr><th scope=row>{html.escape(name)}</th>"
    + "".join(f"<td>{cell}</td>" for cell in cells)
    + "</tr>"
    for name, cells in rows.items()
  )
  return (
    f'<div class=wide><table class={kind} style="--columns: {len(columns)}">'
    f"<thead><tr><td></td>{head}</tr></thead>\n<tbody>{body}</tbody>"
    "</table></div>"
  )


def _number(value: float | None, digits: int) -> str:
  if value is None or not math.isfinite(value):
    return "–"
  return f"{value:.{digits}f}"


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
  rows = [
    f"<h3>{html.escape(kind.capitalize())}</h3>\n"
    f"<div class=gallery>{''.join(map(_figure, items))}</div>"
    for kind, items in kinds.items()
    if items
  ]
  return "\n".join([f"<p>{_LEGEND}</p>", *rows]) if rows else ""


def _figure(item: GalleryItem) -> str:
  caption = html.escape(item.caption)
  height, width = item.image.shape[:2]
  return (
    f'<figure><img src="{_jpeg(item)}" alt="{caption}" width="{width}" '
    f'height="{height}"><figcaption>{caption}</figcaption></figure>\n'
  )


def _jpeg(item: GalleryItem) -> str:
  bgr = cv2.cvtColor(item.image, cv2.COLOR_RGB2BGR)
  _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 88])
  return _data_uri("image/jpeg", data.tobytes())


def _video(video: pathlib.Path | None, folder: pathlib.Path) -> str:
  if video is None:
    return ""
  source = html.escape(os.path.relpath(video, folder))
  if video.stat().st_size <= _EMBEDDED_VIDEO:
    source = _data_uri("video/webm", video.read_bytes())
  return (
    f'<video controls loop muted playsinline preload=metadata src="{source}">'
    "</video>"
  )


def _data_uri(kind: str, data: bytes) -> str:
  return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _protocol(protocol: Mapping[str, Any]) -> str:
  rows = "\n".join(
    f"<dt>{html.escape(str(key))}</dt><dd>{html.escape(_plain(value))}</dd>"
    for key, value in protocol.items()
  )
  return f"<dl>{rows}</dl>" if rows else ""


def _plain(value: Any) -> str:
  return value if isinstance(value, str) else json.dumps(value, default=str)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""

_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1c1f24;
  --quiet: #66707c; --line: #dde1e6; --card: #f5f6f8; --mark: #1f6feb; }
@media (prefers-color-scheme: dark) { :root { --ground: #15181c;
  --text: #e6e9ed; --quiet: #98a2ae; --line: #313840; --card: #1d2227;
  --mark: #5aa2ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
h3 { font-size: .95rem; margin: 1.2rem 0 .5rem; }
p { color: var(--quiet); margin: 0 0 .8rem; font-size: .9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums;
  min-width: 100%; }
th, td { padding: .4rem .7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
thead th { color: var(--quiet); font-weight: 500; font-size: .85rem; }
tbody th { text-align: left; font-weight: 400; position: sticky; left: 0;
  background: var(--ground); }
.model tbody tr:last-child > * { font-weight: 650; }
@media (max-width: 620px) {
  /* A row's name gets a line of its own, so that all columns fit. */
  tr { display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 1fr));
    border-bottom: 1px solid var(--line); }
  th, td { padding: .2rem .1rem; border: 0; font-size: .8rem; }
  thead th { font-size: clamp(.56rem, 2.6vw, .8rem); }
  thead td { display: none; }
  tbody th { grid-column: 1 / -1; white-space: normal;
    padding: .4rem 0 0; }
}
.charts { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); }
.charts figure { margin: 0; padding: .8rem; background: var(--card);
  border-radius: 8px; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--quiet); font: 13px system-ui, sans-serif; }
svg .grid { stroke: var(--line); }
svg .raw { stroke: var(--mark); opacity: .3; fill: none; }
svg .curve { stroke: var(--mark); stroke-width: 2; fill: none;
  stroke-linejoin: round; }
svg .point { fill: var(--mark); }
.gallery { display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
.gallery figure { margin: 0; }
.gallery img { display: block; width: 100%; height: auto;
  border-radius: 6px; }
figcaption { color: var(--quiet); font-size: .8rem; line-height: 1.35;
  padding-top: .3rem; overflow-wrap: anywhere; }
video { display: block; width: 100%; max-width: 800px; border-radius: 8px;
  background: #000; }
dl { display: grid; grid-template-columns: fit-content(45%) 1fr;
  gap: .25rem 1.2rem; margin: 0; font-size: .9rem; }
dt { color: var(--quiet); }
dd { margin: 0; overflow-wrap: anywhere; }
"""
