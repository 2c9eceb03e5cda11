"""Sphinx extension: links from pages to files of the repository that are none.

On the repository's web page such a link is relative and simply works. In the
built site it leads to the project's address; where that is not known, the text
stays and the file's path follows it.
"""

import os
import pathlib
import re
from collections.abc import Iterator

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


class RepositoryLinks(SphinxTransform):
  """Replaces what MyST makes of links to files and folders."""

  # Before files that are linked are collected, to be copied into the site.
  default_priority = 800

  def apply(self) -> None:
    """Changes the page in place."""
    for node, path in list(self._links()):
      node.replace_self(shown(node, path, self.config.repository_url))

  def _links(self) -> Iterator[tuple[nodes.Element, pathlib.PurePath]]:
    """The links, with the paths in the checkout of what they lead to."""
    kinds = (addnodes.download_reference, addnodes.pending_xref)
    for kind in kinds:
      for node in self.document.findall(kind):
        if node.get("reftype") != "myst" or node.get("refdomain") == "doc":
          continue
        relative, absolute = self.env.relfn2path(node["reftarget"])
        if os.path.exists(absolute):
          yield node, pathlib.PurePath(relative)


def shown(
  node: nodes.Element, path: pathlib.PurePath, url: str
) -> list[nodes.Node]:
  """What stands in the page: a link, or without an address the file's path.

  Args:
    node: of the link; its children are its text.
    path: of the file or folder in the repository.
    url: the project's address, '' where it is not known.
  """
  text = list(node.children)
  if url:
    return [nodes.reference("", "", *text, refuri=f"{url}/blob/HEAD/{path}")]
  if node.astext().rstrip("/") in (path.name, str(path)):
    return [nodes.literal(text=str(path))]
  where = nodes.literal(text=str(path))
  return [*text, nodes.Text(" ("), where, nodes.Text(")")]


def address() -> str:
  """The project's address as `DIFFPOSE_URL` has it, as a browser wants it.

  Without `.git`, name or password; '' where it is not that of a web page.
  """
  url = os.environ.get("DIFFPOSE_URL", "").rstrip("/").removesuffix(".git")
  match = re.fullmatch(r"(https?://)(?:[^/@]*@)?(.+)", url)
  return match[1] + match[2] if match else ""


def setup(app: Sphinx) -> dict[str, bool]:
  """Sphinx calls this."""
  app.add_config_value("repository_url", address(), "env")
  app.add_transform(RepositoryLinks)
  return {"parallel_read_safe": True, "parallel_write_safe": True}
