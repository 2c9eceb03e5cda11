"""Which file may import which, held over the whole package by reading it.

The floors, from top to bottom. A file imports from its own floor's folder or
from floors below; folders that share a floor do not know each other.
"""

import ast
import graphlib
import pathlib
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = "diffpose_jax"
FLOORS = (
  ("main", "benchmark", "doctor", "webdemo", "api"),
  ("training",),
  ("evaluation",),
  ("inference",),
  ("remote",),
  ("weights", "data"),
  ("model", "diffusion", "config", "pose", "verbs", "compile_cache"),
  ("supervisor", "config_checks"),
)
# They take plain arguments, so that each can be used without the rest.
WITHOUT_CONFIG = ("model", "diffusion", "pose")
# Not installed with the package: imported where used, inside `try`.
OPTIONAL = ("jax_cuda", "torch", "av", "onnxruntime", "onnx", "jax2onnx")
OPTIONAL += ("h5py", "ray", "gradio", "uvicorn", "fastapi")
# They may import by name in a function: the command imports the verb that was
# asked for, the package its API once somebody wants it, so that both start
# fast; the doctor tells of what cannot be imported.
BY_NAME = tuple(
  f"{PACKAGE}.{name}"
  for name in ("main", "__init__", "doctor.verb", "doctor.codecs")
)


def modules(root: pathlib.Path) -> dict[str, ast.Module]:
  """Syntax trees of all modules under `root/diffpose_jax`, by dotted name."""
  trees = {}
  for path in sorted((root / PACKAGE).rglob("*.py")):
    parts = path.relative_to(root).with_suffix("").parts
    if parts[1] in ("_configs", "_builders"):  # Copies in an installed package.
      continue
    trees[".".join(parts)] = ast.parse(path.read_text(), str(path))
  return trees


def floor(name: str) -> tuple[int, str] | None:
  """Number of the module's floor from the top, and its folder or file."""
  parts = name.split(".")
  place = parts[1] if len(parts) > 1 else ""
  for number, places in enumerate(FLOORS):
    if place in places:
      return number, place
  return None


def imported(node: ast.AST, known: set[str]) -> list[str]:
  """Dotted names that an import statement brings; of ours, the modules."""
  if isinstance(node, ast.Import):
    return [alias.name for alias in node.names]
  if isinstance(node, ast.ImportFrom):
    base = "." * node.level + (node.module or "")
    if f"{base}.__init__" in known:  # Inside, only modules are taken from it.
      return [f"{base}.{alias.name}" for alias in node.names]
    return [base]
  return []


def edges(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
  """For each module, the modules of the package that it imports."""
  known = set(trees)
  return {
    name: {
      target
      for node in ast.walk(tree)
      for target in imported(node, known)
      if target.split(".")[0] == PACKAGE and target != PACKAGE
    }
    for name, tree in trees.items()
  }


def late_imports(name: str, tree: ast.Module) -> list[str]:
  """Imports inside functions, other than of optional packages in a `try`."""
  found = []
  functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
  for function in ast.walk(tree):
    if not isinstance(function, functions):
      continue
    guarded = {
      id(inner)
      for node in ast.walk(function)
      if isinstance(node, ast.Try)
      for statement in node.body
      for inner in ast.walk(statement)
    }
    for node in ast.walk(function):
      if not isinstance(node, ast.Import | ast.ImportFrom | ast.Call):
        continue
      for target in imported(node, set()):
        package = target.split(".")[0]
        if package not in OPTIONAL or id(node) not in guarded:
          found.append(f"{name}:{node.lineno} imports {target} in a function")
      if is_dynamic_import(node) and name not in BY_NAME:
        found.append(f"{name}:{node.lineno} imports in a function")
  return sorted(set(found))


def is_dynamic_import(node: ast.AST) -> bool:
  """True for a call of `importlib.import_module` or `__import__`."""
  if not isinstance(node, ast.Call):
    return False
  called = node.func
  name = called.attr if isinstance(called, ast.Attribute) else ""
  name = called.id if isinstance(called, ast.Name) else name
  return name in ("import_module", "__import__")


def wrong_edges(graph: dict[str, set[str]]) -> list[str]:
  """Imports that go up, across a floor, or to a place without a floor."""
  found = []
  for name, targets in graph.items():
    here = floor(name)
    if here is None:
      if name != f"{PACKAGE}.__init__":
        found.append(f"{name} stands on no floor")
      continue
    for target in targets:
      there = floor(target)
      if target not in graph and f"{target}.__init__" not in graph:
        found.append(f"{name} imports {target}, which does not exist")
      elif there is None:
        found.append(f"{name} imports {target}, which stands on no floor")
      elif there[1] != here[1] and there[0] <= here[0]:
        found.append(f"{name} imports {target}, which is not below it")
  return sorted(found)


def cycle(graph: dict[str, set[str]]) -> list[str]:
  """The modules of one cycle of imports; empty where there is none."""
  try:
    tuple(graphlib.TopologicalSorter(graph).static_order())
  except graphlib.CycleError as error:
    return error.args[1]
  return []


def wrong_habits(trees: dict[str, ast.Module]) -> list[str]:
  """Modules without docstring, filled `__init__`, `utils`, unwanted imports."""
  found = []
  for name, tree in trees.items():
    last = name.split(".")[-1]
    if name == f"{PACKAGE}.__init__":
      found += heavy(tree)
      continue
    if last == "__init__":
      if tree.body:
        found.append(f"{name} is not empty")
      continue
    if not ast.get_docstring(tree):
      found.append(f"{name} has no docstring")
    if last in ("utils", "util", "helpers", "misc", "common"):
      found.append(f"{name} says nothing of what it holds")
    for node in ast.walk(tree):
      for target in imported(node, set(trees)):
        found += unwanted(name, target)
  return sorted(set(found))


def heavy(tree: ast.Module) -> list[str]:
  """What importing the package would bring beside the standard library.

  Its API is named there for type checkers, and loaded when it is asked for.
  """
  return [
    f"the package itself imports {target}: it must stay light"
    for node in tree.body
    for target in imported(node, set())
    if target.split(".")[0] not in sys.stdlib_module_names
  ]


def unwanted(name: str, target: str) -> list[str]:
  """Why a module may not import the target, whatever the floors say."""
  place = name.split(".")[1]
  if target.startswith("."):
    return [f"{name} imports {target} by a relative name"]
  if place in WITHOUT_CONFIG and target.split(".")[0] == "ml_collections":
    return [f"{name} imports {target}: it takes plain arguments"]
  if target.split(".")[0] in ("configs", "datasets", "tests", "launch"):
    return [f"{name} imports {target}, which is not part of the package"]
  return []


def problems(root: pathlib.Path) -> list[str]:
  """Everything that is wrong with the imports of the package in `root`."""
  trees = modules(root)
  graph = edges(trees)
  late = [line for n, tree in trees.items() for line in late_imports(n, tree)]
  circle = cycle(graph)
  circles = [f"cycle: {' -> '.join(circle)}"] if circle else []
  return wrong_edges(graph) + circles + late + wrong_habits(trees)


def test_the_package_keeps_to_its_floors():
  trees = modules(REPO)
  assert len(trees) > len(FLOORS)
  assert problems(REPO) == []


def test_every_folder_stands_on_a_floor():
  folders = {p.parent.name for p in (REPO / PACKAGE).glob("*/__init__.py")}
  assert folders <= {place for places in FLOORS for place in places}


GOOD = {
  "__init__": "import importlib\nif TYPE_CHECKING:\n"
  "  from diffpose_jax import main\n"
  "def __getattr__(name):\n  return importlib.import_module(name)",
  "main": "def run(name):\n  importlib.import_module(name)",
  "config": "import ml_collections",
  "training/__init__": "",
  "training/train": "from diffpose_jax import config\n"
  "from diffpose_jax.data import pipeline\n"
  "from diffpose_jax.model import vit",
  "data/__init__": "",
  "data/pipeline": "from diffpose_jax.data import boxes\n"
  "import diffpose_jax.pose.geometry",
  "data/boxes": "def run():\n  try:\n    import torch\n"
  "  except ImportError:\n    pass",
  "weights/__init__": "",
  "weights/checkpoint": "import jax",
  "model/__init__": "",
  "model/vit": "import jax",
  "pose/__init__": "",
  "pose/geometry": "import numpy",
}


def tree(root: pathlib.Path, **changes: str) -> pathlib.Path:
  """A small package in `root`: `GOOD` with some files of another content."""
  for name, text in (GOOD | changes).items():
    path = (root / PACKAGE / name).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    is_init = path.name == "__init__.py"
    path.write_text(text if is_init else f'"""Doc."""\n{text}\n')
  return root


def test_a_good_tree_has_no_problems(tmp_path):
  assert problems(tree(tmp_path)) == []


IMPORT = "from diffpose_jax.{} import {}"


@pytest.mark.parametrize(
  ("file", "text", "problem"),
  [
    ("pose/geometry", IMPORT.format("data", "boxes"), "is not below it"),
    ("pose/geometry", IMPORT.format("model", "vit"), "is not below it"),
    ("pose/geometry", "from diffpose_jax import config", "is not below it"),
    ("pose/geometry", "import ml_collections", "takes plain arguments"),
    (
      "model/vit",
      "from ml_collections import config_dict",
      "takes plain arguments",
    ),
    ("model/vit", IMPORT.format("pose.geometry", "iou"), "is not below it"),
    ("data/boxes", IMPORT.format("weights", "checkpoint"), "is not below it"),
    ("data/boxes", "import diffpose_jax.main", "is not below it"),
    (
      "data/boxes",
      "def run():\n  from diffpose_jax.training import train",
      "is not below it",
    ),
    ("data/boxes", IMPORT.format("data", "pipeline"), "cycle: "),
    ("data/boxes", IMPORT.format("data", "nothing"), "does not exist"),
    ("data/boxes", IMPORT.format("dato.boxes", "f"), "does not exist"),
    ("data/boxes", "from . import pipeline", "relative name"),
    ("data/boxes", "import datasets", "not part of the package"),
    ("data/boxes", "def run():\n  import jax", "in a function"),
    ("data/boxes", "def run():\n  import torch", "in a function"),
    (
      "data/boxes",
      "class A:\n  def run(self):\n    try:\n      import jax\n"
      "    except ImportError:\n      pass",
      "in a function",
    ),
    (
      "data/boxes",
      "def run():\n  return importlib.import_module('jax')",
      "in a function",
    ),
    ("data/boxes", "run = lambda: __import__('jax')", "in a function"),
    ("main", "def run():\n  import jax", "in a function"),
    ("data/utils", "", "says nothing"),
    ("data/__init__", "import jax", "is not empty"),
    ("__init__", "import jax", "must stay light"),
    ("__init__", IMPORT.format("model", "vit"), "must stay light"),
    ("__init__", "def f():\n  import jax", "in a function"),
    ("data/boxes", "from diffpose_jax import DiffPose", "does not exist"),
    ("tools", "", "stands on no floor"),
    ("training/train", "from diffpose_jax import tools", "does not exist"),
  ],
)
def test_a_bad_tree_has_that_problem(tmp_path, file, text, problem):
  found = problems(tree(tmp_path, **{file: text}))
  assert any(problem in line for line in found), found


def test_a_module_without_docstring(tmp_path):
  tree(tmp_path)
  (tmp_path / PACKAGE / "data" / "boxes.py").write_text("import jax\n")
  assert problems(tmp_path) == ["diffpose_jax.data.boxes has no docstring"]


def test_a_cycle_of_three(tmp_path):
  tree(
    tmp_path,
    **{
      "data/boxes": IMPORT.format("data", "images"),
      "data/images": IMPORT.format("data", "pipeline"),
    },
  )
  (line,) = problems(tmp_path)
  assert line.startswith("cycle: ")
  assert all(n in line for n in ("data.boxes", "data.images", "data.pipeline"))
