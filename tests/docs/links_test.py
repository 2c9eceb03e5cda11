"""No link leads nowhere, and every page can be found."""

import ast
import os
import pathlib
import posixpath
import re
import urllib.parse

REPO = pathlib.Path(__file__).resolve().parents[2]


def problems(page, pages) -> list[str]:
  """What is wrong with the links of a page."""
  found = []
  for link in page.links:
    parts = urllib.parse.urlsplit(link)
    if parts.scheme or parts.netloc:
      if parts.scheme != "https" and parts.hostname != "jhmdb.is.tue.mpg.de":
        found.append(f"{page.name}: {link} is not https")
      continue
    target = posixpath.normpath(
      posixpath.join(posixpath.dirname(page.name), parts.path)
    )
    if not parts.path:
      target = page.name
    there = target in pages or (REPO / target).exists()
    if target.startswith("..") or not there:
      found.append(f"{page.name}: there is no {link}")
    elif parts.fragment and target not in pages:
      found.append(f"{page.name}: {link} has a fragment and is no page")
    elif parts.fragment and parts.fragment not in pages[target].anchors:
      found.append(f"{page.name}: {target} has no #{parts.fragment}")
  return found


def test_links_lead_somewhere(pages):
  assert len(pages) > 30
  assert sum(len(page.links) for page in pages.values()) > 200
  assert [p for page in pages.values() for p in problems(page, pages)] == []


def test_a_link_that_leads_nowhere_is_found(page_type, pages):
  text = """# A *title*, `--flag` and more
## Twice
## Twice
[1](start.md) [2](start.md#1-see-it-work) [3](#twice-1) [4](../LICENSE)
[5](#a-title---flag-and-more) ![6](flow.svg) [7](https://example.org/#x)

| [8](../diffpose_jax/model) |
|---|

[a](gone.md) [b](start.md#gone) [c](#twice-2) [d](../LICENSE#x)
[e](../../outside.md) [f](http://example.org) ![g](gone.svg)
`[h](no-link.md)`
"""
  page = page_type("docs/new.md", text)
  assert problems(page, pages | {page.name: page}) == [
    "docs/new.md: there is no gone.md",
    "docs/new.md: docs/start.md has no #gone",
    "docs/new.md: docs/new.md has no #twice-2",
    "docs/new.md: ../LICENSE#x has a fragment and is no page",
    "docs/new.md: there is no ../../outside.md",
    "docs/new.md: http://example.org is not https",
    "docs/new.md: there is no gone.svg",
  ]


def _toctrees(page) -> list[str]:
  """The names of the pages that a page's toctrees list."""
  found = []
  for block in page.blocks:
    if block.language != "{toctree}":
      continue
    entries = [line for line in block.text.splitlines() if line[:1] not in ":"]
    entries = [re.sub(r"^.* <(.*)>$", r"\1", entry) for entry in entries]
    found += [
      posixpath.normpath(posixpath.join(os.path.dirname(page.name), f"{e}.md"))
      for e in entries
    ]
  return found


def test_every_page_is_in_one_toctree(pages):
  listed = [name for page in pages.values() for name in _toctrees(page)]
  assert sorted(listed) == sorted(set(pages) - {"docs/index.md"})


def test_sphinx_takes_the_same_pages(pages):
  # Read, not run: running it changes how annotations are written.
  tree = ast.parse((REPO / "docs" / "conf.py").read_text())
  (patterns,) = (
    ast.literal_eval(node.value)
    for node in tree.body
    if isinstance(node, ast.Assign)
    and ast.unparse(node.targets[0]) == "include_patterns"
  )
  taken = {
    path.relative_to(REPO).as_posix()
    for pattern in patterns
    for path in REPO.glob(pattern)
  }
  assert taken == set(pages)


def test_every_page_is_linked_from_another(pages):
  """In the text: who reads on the repository's web page sees no sidebar."""
  linked = set()
  for page in pages.values():
    for link in page.links:
      path = link.partition("#")[0]
      folder = posixpath.dirname(page.name)
      target = posixpath.normpath(posixpath.join(folder, path))
      if path and target != page.name:
        linked.add(target)
  assert set(pages) - linked <= {"README.md", "docs/index.md"}


def test_no_page_names_a_place_of_one_machine(pages):
  for page in pages.values():
    assert not re.search(r"/(root|home|work/wt)/|localhost", page.text), page
