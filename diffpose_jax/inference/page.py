"""The parts that the project's pages are made of; `page.css` is their look.

Every text that comes in is escaped here or where it says so. A page needs no
network. It is read without the script too, which lets tables be sorted by their
headings.
"""

import base64
import dataclasses
import html
import json
import os
import pathlib
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Body:
  """Rows of a table, (name, cells), under an optional heading."""

  rows: Sequence[tuple[str, Sequence[str]]]
  heading: str = ""
  ours: str | None = None  # name of the row that stands out


def whole(
  title: str, sections: Sequence[str], *, style: str = "", script: str = ""
) -> str:
  """The page around its sections, of which empty ones are left out.

  `style` and `script` follow those of all pages.
  """
  return _PAGE.format(
    title=html.escape(title),
    style=asset("page.css") + style,
    script=asset("page.js") + script,
    body="\n".join(filter(None, sections)),
  )


def asset(name: str) -> str:
  """The text of a file beside this module: `name`, from its folder on."""
  return (pathlib.Path(__file__).parent / name).read_text(encoding="utf-8")


def write(path: pathlib.Path, pieces: Iterable[str]) -> None:
  """Writes a page, whole or not at all; its folder is made if it must be."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{path.name}.partial")
  try:
    # Names of files may hold what is no text.
    with temporary.open("w", encoding="utf-8", errors="replace") as file:
      file.writelines(pieces)
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def data_uri(kind: str, data: bytes) -> str:
  """Data of a media type as an address that holds it."""
  return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def beside(file: pathlib.Path, folder: pathlib.Path) -> str:
  """The address of a file for a page in a folder; not escaped for HTML."""
  # With `a:b.webm` quoted too, which would be taken for a protocol.
  parts = pathlib.Path(os.path.relpath(file, folder)).parts
  return "/".join(urllib.parse.quote(os.fsencode(part)) for part in parts)


def section(heading: str, content: str) -> str:
  """A section, or nothing where it has no content (HTML)."""
  if not content:
    return ""
  return f"<section><h2>{html.escape(heading)}</h2>\n{content}\n</section>"


def details(summary: str, content: str) -> str:
  """Content (HTML) that is folded away, or nothing where there is none."""
  if not content:
    return ""
  return (
    f"<details><summary>{html.escape(summary)}</summary>{content}</details>"
  )


def paragraph(words: str) -> str:
  """A line of text in the quiet colour, or nothing."""
  return f"<p>{html.escape(words)}</p>\n" if words else ""


def listing(values: Mapping[str, Any]) -> str:
  """Names and values below each other; nothing where there are none."""
  rows = "\n".join(
    f"<dt>{html.escape(str(key))}</dt><dd>{html.escape(_plain(value))}</dd>"
    for key, value in values.items()
  )
  return f"<dl>{rows}</dl>" if rows else ""


def table(
  columns: Sequence[str], bodies: Sequence[Body], *, corner: str = ""
) -> str:
  """A table; nothing without rows. `corner` is the heading of the names."""
  bodies = [body for body in bodies if body.rows]
  if not bodies:
    return ""
  first = f"<th scope=col>{html.escape(corner)}</th>" if corner else "<td></td>"
  head = "".join(f"<th scope=col>{html.escape(c)}</th>" for c in columns)
  parts = "\n".join(_body(body, len(columns)) for body in bodies)
  return (
    f'<div class=wide><table style="--columns: {len(columns)}">'
    f"<thead><tr>{first}{head}</tr></thead>\n{parts}</table></div>"
  )


def folded_table(
  columns: Sequence[str],
  body: Body,
  *,
  corner: str,
  shown: int,
  rest: str,
) -> str:
  """A table that the headings sort, of which the first rows are in sight.

  Args:
    columns: headings.
    body: all rows.
    corner: heading of the names.
    shown: rows in sight; the rest is folded away under the same headings.
    rest: what the rest is called, as in "The other {count} videos".
  """
  head = dataclasses.replace(body, rows=body.rows[:shown])
  tail = dataclasses.replace(body, rows=body.rows[shown:])
  others = details(
    rest.format(count=len(tail.rows)), table(columns, [tail], corner=corner)
  )
  return (
    f"<div class=sortable>{table(columns, [head], corner=corner)}{others}</div>"
    if body.rows
    else ""
  )


def number(value: float | None, digits: int) -> str:
  """The value with so many digits after the point; a dash where unknown."""
  return "–" if value is None or value != value else f"{value:.{digits}f}"


def _plain(value: Any) -> str:
  return value if isinstance(value, str) else json.dumps(value, default=str)


def _body(body: Body, columns: int) -> str:
  heading = (
    f"<tr class=heading><th scope=rowgroup colspan={columns + 1}>"
    f"{html.escape(body.heading)}</th></tr>\n"
    if body.heading
    else ""
  )
  rows = "\n".join(_row(*row, body.ours) for row in body.rows)
  return f"<tbody>{heading}{rows}</tbody>"


def _row(name: str, cells: Sequence[str], ours: str | None) -> str:
  start = "<tr class=ours>" if name == ours else "<tr>"
  rest = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
  return f"{start}<th scope=row>{html.escape(name)}</th>{rest}</tr>"


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
<script>{script}</script>
</body>
</html>
"""
