"""The documentation is built without a warning, and as it is meant."""

import html
import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(
    importlib.util.find_spec("sphinx") is None, reason="the extra docs"
  ),
]


def _build(source, out, address=""):
  """As `make docs`: what Sphinx said, and how it ended."""
  return subprocess.run(
    [
      *(sys.executable, "-m", "sphinx", "--builder=html"),
      *("--fail-on-warning", "--keep-going", "--quiet"),
      *(f"--conf-dir={source / 'docs'}", f"--doctree-dir={out}.doctrees"),
      *(str(source), str(out)),
    ],
    env=os.environ | {"DIFFPOSE_URL": address},
    capture_output=True,
    text=True,
    check=False,
    timeout=290,
  )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
  out = tmp_path_factory.mktemp("site") / "html"
  done = _build(REPO, out, "https://host.org/me/pose.git")
  assert (done.returncode, done.stderr) == (0, "")
  return out


def test_there_is_a_page_for_each_page(site, pages):
  for name in pages:
    assert (site / name).with_suffix(".html").is_file(), name
  assert 'url=docs/index.html"' in (site / "index.html").read_text()


def test_no_link_within_the_site_is_dead(site):
  """By its own HTML: files, and the ids that fragments name."""
  texts = {
    path.resolve(): path.read_text("utf-8") for path in site.rglob("*.html")
  }
  ids = {
    path: set(re.findall(r'\bid="([^"]+)"', t)) for path, t in texts.items()
  }
  count = 0
  for path, text in texts.items():
    for kind, link in re.findall(r'\b(href|src)="([^"]*)"', text):
      link = html.unescape(link)
      if re.match(r"https?:|data:|#?$", link) or path.name == "search.html":
        continue
      name, _, fragment = link.partition("#")
      target = (path.parent / name.partition("?")[0]).resolve()
      target = target if name else path
      assert target.exists(), f"{path}: {kind} {link}"
      if fragment and target in ids:
        count += 1
        assert fragment in ids[target], f"{path}: {link}"
  assert count > 1000


def test_source_files_are_linked_at_the_projects_address(site):
  text = (site / "docs" / "evaluation.html").read_text()
  folder = "diffpose_jax/evaluation/metrics"
  assert f'href="https://host.org/me/pose/blob/HEAD/{folder}"' in text
  assert not list((site / "_downloads").glob("*"))


def test_annotations_and_comments_are_shown(site):
  """Shapes in full, `Array` by its name, and what fields are."""
  text = (site / "docs" / "api" / "pose.html").read_text()
  words = html.unescape(re.sub(r"<[^>]+>", "", text))
  assert "joints: Float[Array, 'b k 2']" in words
  assert "Float[ndarray, 'm k 2']" in words
  assert "of the joint's samples" in words.replace("’", "'")
  text = (site / "docs" / "api" / "model.html").read_text()
  words = html.unescape(re.sub(r"<[^>]+>", "", text))
  assert "dtype: DTypeLike = float32" in words
  assert "Sentinel" not in words


BROKEN = """# A page
[gone](gone.md), [no such part](#nowhere) and

```{eval-rst}
.. autofunction:: diffpose_jax.pose.modes.gone
```
"""


def test_mistakes_are_warned_of_and_fail(tmp_path):
  """In a small copy: dead links, anchors and names; no address, no link."""
  docs = tmp_path / "docs"
  docs.mkdir()
  for name in ("conf.py", "api_pages.py", "repository_links.py"):
    (docs / name).write_text((REPO / "docs" / name).read_text())
  for folder in ("_static", "_templates"):
    (docs / folder).symlink_to(REPO / "docs" / folder)
  (docs / "index.md").write_text(BROKEN)
  (docs / "orphan.md").write_text("# Alone\n[this](conf.py)\n")
  done = _build(tmp_path, tmp_path / "out")
  assert done.returncode == 1
  for words in (
    "'gone.md'",
    "'nowhere'",
    "diffpose_jax.pose.modes",
    "orphan.md: WARNING: document isn't included in any toctree",
  ):
    assert words in done.stderr, done.stderr
  assert done.stderr.count("WARNING: ") == 4, done.stderr
  text = (tmp_path / "out" / "docs" / "orphan.html").read_text()
  assert "conf.py" in text and 'href="conf.py"' not in text
