"""Scripts of `benchmarks/`, which are not part of the package."""

import importlib.util
import pathlib
import sys

import pytest

FOLDER = pathlib.Path(__file__).resolve().parents[3] / "benchmarks"
if str(FOLDER.parent) not in sys.path:
  sys.path.append(str(FOLDER.parent))  # for those that are a package


@pytest.fixture
def script(monkeypatch):
  """The function from a script's name to its module."""
  monkeypatch.syspath_prepend(FOLDER)

  def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module

  return load
