"""Sphinx extension: what autodoc leaves out of dataclasses, and puts in too much.

Fields are explained by comments in the code, of which autodoc reads only those
that begin with `#:`. The arguments that Flax adds to each module say nothing.
"""

import ast
import dataclasses
import inspect
import re
import textwrap
from typing import Any

from flax import linen as nn
from sphinx.application import Sphinx

# What Flax adds to each module, and types whose own names are shorter.
_SHORTER = (
  (r",\s*parent: .*\)$", ")"),
  (r"str \| type\[[~\w.]*Any\] \| [~\w.]*dtype \| [~\w.]*DType\b", "DTypeLike"),
  (r"<class 'jax\.numpy\.(\w+)'>", r"\1"),
  (r"= (\w+)\(.*?\)(?=[,)])", r"= \1()"),
)


def field_comments(source: str) -> dict[str, str]:
  """The comment of each field of a class that has one, by the field's name.

  It is on the lines directly above the field, or behind it, or both.
  """
  source = textwrap.dedent(source)
  lines = source.splitlines()
  found = {}
  (definition,) = ast.parse(source).body
  assert isinstance(definition, ast.ClassDef)
  for node in definition.body:
    if not isinstance(node, ast.AnnAssign):
      continue
    assert isinstance(node.target, ast.Name) and node.end_lineno is not None
    first = node.lineno - 1
    while lines[first - 1].lstrip().startswith("#"):
      first -= 1
    above = [
      line.lstrip().lstrip("#") for line in lines[first : node.lineno - 1]
    ]
    # Offsets are of bytes.
    behind = lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode()
    words = " ".join([*above, behind.strip().lstrip("#")]).split()
    if words:
      found[node.target.id] = " ".join(words)
  return found


def add_comments(
  app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
  """Adds the comments of a dataclass's fields to its docstring."""
  del app, name, options
  if what != "class" or not dataclasses.is_dataclass(obj):
    return
  assert isinstance(obj, type)
  comments = field_comments(inspect.getsource(obj))
  if comments:
    lines += ["", "Attributes:"]
    lines += [f"  {field}: {text}" for field, text in comments.items()]


def no_mail(
  app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
  """Keeps PCKh@0.5 from being taken for a mail address."""
  del app, what, name, obj, options
  lines[:] = [re.sub(r"(?<=\w)@(?=\d)", r"\\@", line) for line in lines]


def shorten(
  app: Sphinx,
  what: str,
  name: str,
  obj: Any,
  options: Any,
  signature: str | None,
  result: str | None,
) -> tuple[str | None, str | None]:
  """The signature of a network's part without what Flax adds to it."""
  del app, name, options
  if what == "class" and issubclass(obj, nn.Module) and signature:
    for pattern, shorter in _SHORTER:
      signature = re.sub(pattern, shorter, signature, flags=re.DOTALL)
  return signature, result


def setup(app: Sphinx) -> dict[str, bool]:
  """Sphinx calls this."""
  # Before napoleon, which makes a table of them.
  app.connect("autodoc-process-docstring", add_comments, priority=100)
  app.connect("autodoc-process-docstring", no_mail, priority=100)
  app.connect("autodoc-process-signature", shorten)
  return {"parallel_read_safe": True, "parallel_write_safe": True}
