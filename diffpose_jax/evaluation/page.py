"""The parts that a report's page is made of, its style and its script.

Every text that comes in is escaped here or where it says so. The page is read
without the script too, which lets tables be sorted by their headings.
"""

import dataclasses
import html
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Body:
  """Rows of a table, (name, cells), under an optional heading."""

  rows: Sequence[tuple[str, Sequence[str]]]
  heading: str = ""
  ours: str | None = None  # name of the row that stands out


def whole(title: str, sections: Sequence[str]) -> str:
  """The page around its sections, of which empty ones are left out."""
  return _PAGE.format(
    title=html.escape(title),
    style=_STYLE,
    script=_SCRIPT,
    body="\n".join(filter(None, sections)),
  )


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

# Headings become buttons; a click sorts all tables of the box together, the
# unknown always last, and each table keeps its number of rows.
_SCRIPT = """
for (const box of document.querySelectorAll(".sortable")) {
  const bodies = [...box.querySelectorAll("tbody")];
  const sizes = bodies.map((body) => body.rows.length);
  const heads = [...box.querySelectorAll("thead tr")];
  const sort = (column, down) => {
    const value = (row) => row.cells[column].textContent;
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "–" || y === "–") return (x === "–") - (y === "–");
      const gap = x - y;
      const order = Number.isNaN(gap) ? x.localeCompare(y) : gap;
      return down ? -order : order;
    };
    const rows = bodies.flatMap((body) => [...body.rows]).sort(compare);
    bodies.forEach((body, i) => body.append(...rows.splice(0, sizes[i])));
    for (const head of heads) {
      for (const cell of head.cells) cell.removeAttribute("aria-sort");
      const said = down ? "descending" : "ascending";
      head.cells[column].setAttribute("aria-sort", said);
    }
  };
  for (const head of heads) {
    [...head.cells].forEach((cell, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...cell.childNodes);
      button.addEventListener("click", () =>
        sort(column, cell.getAttribute("aria-sort") === "ascending"));
      cell.append(button);
    });
  }
}
"""

# Colours of curves: those of Okabe and Ito (2008), which colour-blind people
# tell apart, darkened on white and lightened on black for contrast.
_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1c1f24;
  --quiet: #5c6672; --line: #dde1e6; --card: #f5f6f8; --mark: #1f6feb;
  --ours: #e7f0fe; --warn: #fff4d6; --edge: #b7791f;
  --s0: #0072b2; --s1: #c44e00; --s2: #00805c; --s3: #b0508a; --s4: #9a6a00;
  --s5: #4b5563; --s6: #2b8fc4; }
@media (prefers-color-scheme: dark) { :root { --ground: #15181c;
  --text: #e6e9ed; --quiet: #a0aab6; --line: #313840; --card: #1d2227;
  --mark: #5aa2ff; --ours: #16304f; --warn: #3a2f14; --edge: #d9a441;
  --s0: #56b4e9; --s1: #ff8a4c; --s2: #2fc79a; --s3: #e69cc8; --s4: #e8b93c;
  --s5: #c3cad3; --s6: #a3b8ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem;
  overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: .95rem; margin: 1.4rem 0 .5rem; overflow-wrap: anywhere; }
p { color: var(--quiet); margin: 0 0 .8rem; font-size: .9rem;
  max-width: 48rem; overflow-wrap: anywhere; }
.warning { background: var(--warn); border-left: 4px solid var(--edge);
  border-radius: 4px; padding: .5rem .8rem; color: var(--text);
  max-width: none; }
.wide { overflow-x: auto; margin: 0 0 .8rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums;
  width: 100%; }
th, td { padding: .35rem .6rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
thead th { color: var(--quiet); font-weight: 500; font-size: .85rem; }
/* As wide in each table, so that the folded rest is in line. */
thead th:not(:first-child), td { width: 5.6rem; }
thead td { width: auto; }
thead th:first-child { text-align: left; }
tbody th { text-align: left; font-weight: 400; position: sticky; left: 0;
  background: var(--ground); overflow-wrap: anywhere; }
.heading th { color: var(--quiet); font-size: .8rem; font-weight: 500;
  padding-top: .9rem; position: static; }
.ours > * { font-weight: 650; background: var(--ours); }
.ours th { box-shadow: inset 4px 0 var(--mark); padding-left: .8rem; }
th button { all: unset; cursor: pointer; white-space: nowrap; }
th button:focus-visible { outline: 2px solid var(--mark); }
th button::after { content: " ↕"; opacity: .5; }
[aria-sort=ascending] button::after { content: " ↑"; opacity: 1; }
[aria-sort=descending] button::after { content: " ↓"; opacity: 1; }
summary { cursor: pointer; color: var(--quiet); font-size: .85rem;
  padding: .3rem 0; }
.charts { display: grid; gap: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
.charts figure { margin: 0; padding: .8rem; background: var(--card);
  border-radius: 8px; min-width: 0; }
.charts tbody th { background: var(--card); }
.charts th, .charts td { font-size: .8rem; padding: .2rem .4rem; }
.charts figcaption { color: var(--text); font-size: .9rem; padding: 0 0 .5rem; }
figcaption span { display: block; color: var(--quiet); font-size: .8rem; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--quiet); font: 13px system-ui, sans-serif; }
svg .grid { stroke: var(--line); }
svg .raw { stroke: var(--mark); opacity: .3; fill: none; }
svg .curve { stroke: var(--mark); stroke-width: 2; fill: none;
  stroke-linejoin: round; }
svg .point { fill: var(--mark); }
svg .ideal { stroke: var(--quiet); stroke-dasharray: 2 4; fill: none; }
svg .mark { fill: var(--card); stroke-width: 2; }
svg .s0 { stroke: var(--s0); }
svg .s1 { stroke: var(--s1); }
svg .s2 { stroke: var(--s2); }
svg .s3 { stroke: var(--s3); }
svg .s4 { stroke: var(--s4); }
svg .s5 { stroke: var(--s5); }
svg .s6 { stroke: var(--s6); }
svg .curve.s1 { stroke-dasharray: 8 3; }
svg .curve.s2 { stroke-dasharray: 3 3; }
svg .curve.s3 { stroke-dasharray: 10 3 2 3; }
svg .curve.s4 { stroke-dasharray: 14 4; }
svg .curve.s5 { stroke-dasharray: 1.5 3; }
svg .curve.s6 { stroke-dasharray: 6 2 2 2 2 2; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1rem;
  margin: .4rem 0 .2rem; padding: 0; font-size: .82rem; }
.legend li { display: flex; align-items: center; gap: .4rem; }
.legend svg { width: 40px; flex: none; }
.gallery { display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
.gallery:has(.moment) { grid-template-columns:
  repeat(auto-fill, minmax(min(100%, 340px), 1fr)); }
.gallery figure { margin: 0; min-width: 0; }
.gallery img { display: block; width: 100%; height: auto;
  border-radius: 6px; }
.moment { display: grid; gap: 3px; align-items: center;
  grid-template-columns: repeat(3, minmax(0, 1fr)); }
.moment figcaption { grid-column: 1 / -1; }
.moment .none { color: var(--quiet); font-size: .75rem; text-align: center; }
figcaption { color: var(--quiet); font-size: .8rem; line-height: 1.35;
  padding-top: .3rem; overflow-wrap: anywhere; }
video { display: block; width: 100%; max-width: 800px; border-radius: 8px;
  background: #000; }
dl { display: grid; grid-template-columns: fit-content(45%) 1fr;
  gap: .25rem 1.2rem; margin: 0; font-size: .9rem; }
dt { color: var(--quiet); }
dt, dd { overflow-wrap: anywhere; min-width: 0; }
dd { margin: 0; }
@media (max-width: 620px) {
  /* A row's name gets a line of its own, so that all columns fit. */
  tr { display: grid; border-bottom: 1px solid var(--line);
    grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); }
  th, td { padding: .2rem .1rem; border: 0; font-size: .8rem; width: auto; }
  thead th { font-size: clamp(.56rem, 2.6vw, .8rem); white-space: normal;
    align-self: end; }
  thead td { display: none; }
  thead th:not(:first-child), td { width: auto; }
  thead th:first-child { grid-column: 1 / -1; }
  thead td + th:nth-child(2) { text-align: right; }
  tbody th { grid-column: 1 / -1; white-space: normal;
    padding: .4rem 0 0; position: static; }
  .ours { background: var(--ours); box-shadow: inset 4px 0 var(--mark);
    padding-left: .5rem; }
  .ours > * { background: none; }
  .ours th { box-shadow: none; padding-left: 0; }
  svg text { font-size: 17px; }
}
"""
