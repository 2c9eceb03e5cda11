"""Comments of fields and signatures of network parts, as the API pages show."""

import dataclasses
import importlib.util
import pathlib

import pytest

from diffpose_jax.model import strl

pytest.importorskip("sphinx", reason="the extra docs")
PATH = pathlib.Path(__file__).resolve().parents[2] / "docs" / "api_pages.py"


@pytest.fixture(scope="module")
def extension():
  spec = importlib.util.spec_from_file_location("api_pages", PATH)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


SOURCE = '''
  @dataclasses.dataclass
  class Some:
    """Doc. # no comment"""

    bare: int
    behind: str = "é#"  # after it
    # Above it,
    # over two lines.
    above: dict[
      str, int
    ]

    # Above,
    both: int = 3  # and behind.
    # Of nothing that follows.

    def method(self):
      inner: int = 3  # not a field
'''


def test_comments_belong_to_their_fields(extension):
  assert extension.field_comments(SOURCE) == {
    "behind": "after it",
    "above": "Above it, over two lines.",
    "both": "Above, and behind.",
  }


@dataclasses.dataclass
class Two:
  """Doc."""

  first: int
  second: int  # of `two`


class Plain:
  """Doc."""

  first: int  # of no dataclass


def test_docstrings_of_dataclasses_get_them(extension):
  lines = ["Doc."]
  extension.add_comments(None, "class", "Two", Two, None, lines)
  assert lines == ["Doc.", "", "Attributes:", "  second: of `two`"]
  for what, obj in (("class", Plain), ("function", Two)):
    lines = ["Doc."]
    extension.add_comments(None, what, "", obj, None, lines)
    assert lines == ["Doc."]


def test_a_threshold_is_no_mail_address(extension):
  lines = ["(PCKh@0.5), `@0.1`, a@b"]
  extension.no_mail(None, "module", "", None, None, lines)
  assert lines == ["(PCKh\\@0.5), `@0.1`, a@b"]


def test_what_flax_adds_is_left_out(extension):
  signature = (
    "(depth: int, dtype: str | type[~typing.Any] | ~numpy.dtype | "
    "~jax._src.typing.SupportsDType = <class 'jax.numpy.float32'>, "
    "execution: ~diffpose_jax.model.transformer.Execution = "
    "Execution(attention='auto', scan=False), parent: ~flax.linen.Module | "
    "None = <flax._Sentinel object>, name: str | None = None)"
  )
  shorten = extension.shorten
  assert shorten(None, "class", "", strl.STRL, None, signature, None) == (
    "(depth: int, dtype: DTypeLike = float32, "
    "execution: ~diffpose_jax.model.transformer.Execution = Execution())",
    None,
  )
  assert shorten(None, "class", "", Two, None, signature, "x") == (
    signature,
    "x",
  )
