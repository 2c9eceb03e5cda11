"""Links to source files in the built site, with and without an address."""

import importlib.util
import pathlib

import pytest

nodes = pytest.importorskip("docutils.nodes", reason="the extra docs")
pytest.importorskip("sphinx", reason="the extra docs")
PATH = pathlib.Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def extension():
  path = PATH / "repository_links.py"
  spec = importlib.util.spec_from_file_location("repository_links", path)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def _html(parts):
  """What is shown, with code in backticks and links as in Markdown."""
  text = ""
  for part in parts:
    if isinstance(part, nodes.literal):
      text += f"`{part.astext()}`"
    elif isinstance(part, nodes.reference):
      text += f"[{part.astext()}]({part['refuri']})"
    else:
      text += part.astext()
  return text


@pytest.mark.parametrize(
  ("text", "without"),
  [
    ("a plain one", "a plain one (`diffpose_jax/config.py`)"),
    ("config.py", "`diffpose_jax/config.py`"),
    ("config.py/", "`diffpose_jax/config.py`"),
    ("diffpose_jax/config.py", "`diffpose_jax/config.py`"),
  ],
)
def test_what_a_link_becomes(extension, text, without):
  node = nodes.inline("", "", nodes.Text(text))
  path = pathlib.PurePath("diffpose_jax/config.py")
  assert _html(extension.shown(node, path, "")) == without
  assert _html(extension.shown(node, path, "https://host.org/a/b")) == (
    f"[{text}](https://host.org/a/b/blob/HEAD/diffpose_jax/config.py)"
  )


@pytest.mark.parametrize(
  ("given", "found"),
  [
    ("https://host.org/a/b", "https://host.org/a/b"),
    ("https://host.org/a/b.git", "https://host.org/a/b"),
    ("https://host.org/a/b/", "https://host.org/a/b"),
    ("https://me:word@host.org/a/b", "https://host.org/a/b"),
    ("git@host.org:a/b.git", ""),
    ("", ""),
    (None, ""),
  ],
)
def test_the_address(extension, monkeypatch, given, found):
  """No page that a browser opens, no link; and no password in any."""
  monkeypatch.delenv("DIFFPOSE_URL", raising=False)
  if given is not None:
    monkeypatch.setenv("DIFFPOSE_URL", given)
  assert extension.address() == found
