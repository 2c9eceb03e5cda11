"""The pages of the documentation, taken apart: links, anchors, blocks of code."""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Iterator

import markdown_it
import pytest
from markdown_it.token import Token

REPO = pathlib.Path(__file__).resolve().parents[2]
# Of Markdown that readers see, in the order in which they may come upon it.
PATTERNS = (
  "README.md",
  "docs/**/*.md",
  "datasets/*/README.md",
  "benchmarks/README.md",
  "CHANGELOG.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
)


@dataclasses.dataclass(frozen=True)
class Block:
  """A fenced block of a page."""

  place: str  # page and line, for errors
  language: str  # 'bash', '{toctree}', or ''
  comment: str  # of the HTML comment directly above it, or ''
  text: str


@dataclasses.dataclass(frozen=True)
class Page:
  """A Markdown file; `name` is its path from the checkout."""

  name: str
  text: str

  @functools.cached_property
  def tokens(self) -> list[Token]:
    """As markdown-it reads it, with the tables of the repository's web page."""
    return markdown_it.MarkdownIt().enable("table").parse(self.text)

  @functools.cached_property
  def inline(self) -> list[Token]:
    """What is inside of paragraphs, headings and cells."""
    return [
      child
      for token in self.tokens
      if token.type == "inline"
      for child in token.children or ()
    ]

  @functools.cached_property
  def links(self) -> list[str]:
    """Where links and pictures lead."""
    found = [t.attrGet("href") or t.attrGet("src") for t in self.inline]
    return [str(target) for target in found if target]

  @functools.cached_property
  def code(self) -> list[str]:
    """Code within lines."""
    return [t.content for t in self.inline if t.type == "code_inline"]

  @functools.cached_property
  def anchors(self) -> set[str]:
    """What headings are called in links, as on the repository's web page."""
    found: set[str] = set()
    for opening, title in zip(self.tokens, self.tokens[1:], strict=False):
      if opening.type != "heading_open":
        continue
      words = "".join(t.content for t in title.children or ())
      name = slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
      count = 0
      while name in found:
        count += 1
        name = f"{slug}-{count}"
      found.add(name)
    return found

  @functools.cached_property
  def blocks(self) -> list[Block]:
    """The fenced blocks, in order."""
    return list(self._blocks())

  def _blocks(self) -> Iterator[Block]:
    comment = ""
    for token in self.tokens:
      if token.type == "fence":
        line = (token.map or [0])[0] + 1
        language = token.info.split()[0] if token.info else ""
        yield Block(f"{self.name}:{line}", language, comment, token.content)
      match = re.fullmatch(r"<!--\s*(.*?)\s*-->\s*", token.content, re.DOTALL)
      is_comment = token.type == "html_block" and match is not None
      comment = match[1] if is_comment and match else ""


@pytest.fixture(scope="session")
def page_type():
  """`Page`, to make small ones."""
  return Page


@pytest.fixture(scope="session")
def pages():
  """All pages by name."""
  found = {}
  for pattern in PATTERNS:
    for path in sorted(REPO.glob(pattern)):
      name = path.relative_to(REPO).as_posix()
      if not name.startswith("docs/_build/"):
        found[name] = Page(name, path.read_text("utf-8"))
  return found
