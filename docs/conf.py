"""How Sphinx builds the documentation: `make docs`.

The source folder is the checkout, not docs/, so that a link from one Markdown
file to another is the same on the repository's web page and in the built site,
also where the other is in datasets/ or benchmarks/.

`DIFFPOSE_URL` is the project's address. Where it is not set, links to source
files are shown as the paths of these.
"""

import pathlib
import sys
import typing

# Before jaxtyping is imported: its annotations are then written in full, and
# `Array` is called just so.
typing.GENERATING_DOCUMENTATION = "diffpose_jax"  # pyright: ignore

DOCS = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

project = "diffpose_jax"
author = "the authors of diffpose_jax"
copyright = "the authors of diffpose_jax, Apache-2.0"
language = "en"

root_doc = "docs/index"
include_patterns = [
  "docs/*.md",
  "docs/api/*.md",
  "datasets/*/README.md",
  "benchmarks/README.md",
  "README.md",
  "CHANGELOG.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
]
# Not even looked into.
exclude_patterns = [".*", "build", "data", "dist", "runs", "docs/_build"]
extensions = [
  "myst_parser",
  "sphinx.ext.autodoc",
  "sphinx.ext.napoleon",
  "api_pages",
  "repository_links",
]

myst_heading_anchors = 4  # slugs are those of the repository's web page
highlight_language = "none"
default_role = "code"  # in docstrings
nitpicky = True
# Names of other packages are no links: to find where they lead, the build would
# have to ask the network. What is ours must be there.
nitpick_ignore_regex = [("py:.*", r"(?!diffpose_jax\.).*")]
nitpick_ignore = [
  ("py:class", f"diffpose_jax.{name}")
  for name in (
    "data.ahead.T",  # a type variable
    # Handed on as they are, and no part of what others build on.
    "data.annotation_fields.Layout",
    "inference.calibration.Calibration",
    "inference.estimator.Estimator",
  )
]
add_module_names = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "diffpose_jax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
# The site begins at docs/index.html; who opens its folder is sent there.
templates_path = ["_templates"]
html_additional_pages = {"index": "first.html"}
