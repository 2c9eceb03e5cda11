"""No code of the project runs what a file says, held by reading all of it."""

import ast
import pathlib

import pytest

REPO = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("diffpose_jax", "configs", "datasets", "benchmarks")
# Modules whose reading of a file may run code that the file names.
MODULES = ("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve")
MODULES += ("marshal", "joblib", "jsonpickle")
BUILTINS = ("eval", "exec", "__import__")
# What runs a command by a shell, or code of a file, by its full name.
CALLS = (
  *("os.system", "os.popen", "commands.getoutput", "subprocess.getoutput"),
  *("subprocess.getstatusoutput", "torch.load", "yaml.load", "yaml.load_all"),
  *("yaml.unsafe_load", "yaml.full_load", "pandas.read_pickle"),
)
# Of whatever object: an archive's members go where they say.
METHODS = ("extractall",)
FLAGS = ("shell", "allow_pickle")  # that may not be True, or not be known


def findings(tree: ast.Module, place: str) -> list[str]:
  """What a module does of the above, a line each."""
  found = []
  for node in ast.walk(tree):
    names = _imported(node)
    found += [
      f"{place}: imports {n}" for n in names if n.split(".")[0] in MODULES
    ]
    if not isinstance(node, ast.Call):
      continue
    name = ast.unparse(node.func)
    if name in BUILTINS + CALLS or name.split(".")[-1] in METHODS:
      found.append(f"{place}: calls {name}")
    for given in node.keywords:
      value = given.value
      off = isinstance(value, ast.Constant) and not value.value
      if given.arg in FLAGS and not off:
        found.append(f"{place}: {name} with {given.arg}={ast.unparse(value)}")
  return found


def _imported(node: ast.AST) -> list[str]:
  if isinstance(node, ast.Import):
    return [alias.name for alias in node.names]
  if isinstance(node, ast.ImportFrom):
    base = node.module or ""
    return [base, *(f"{base}.{alias.name}" for alias in node.names)]
  return []


def test_no_file_of_the_project_runs_what_a_file_says():
  paths = [p for folder in FOLDERS for p in (REPO / folder).rglob("*.py")]
  assert len(paths) > 200
  found = []
  for path in paths:
    place = str(path.relative_to(REPO))
    found += findings(ast.parse(path.read_text(), place), place)
  assert found == []


@pytest.mark.parametrize(
  "line",
  [
    "import pickle",
    "from pickle import load",
    "import dill as d",
    "eval(text)",
    "exec(code, {})",
    "os.system('ls')",
    "subprocess.run('ls', shell=True)",
    "subprocess.Popen(command, shell=shell)",
    "np.load(path, allow_pickle=True)",
    "torch.load(path, weights_only=True)",
    "yaml.load(text, Loader=yaml.SafeLoader)",
    "archive.extractall(folder)",
    "tarfile.open(path).extractall()",
    "importlib.__import__(name) or __import__(name)",
  ],
)
def test_each_of_these_is_found(line):
  assert findings(ast.parse(line), "a.py"), line


@pytest.mark.parametrize(
  "line",
  [
    "np.load(path, allow_pickle=False)",
    "subprocess.run(['ls'], shell=False)",
    "json.load(file)",
    "yaml.safe_load(text)",
    "lowered.compile()",
    "import pickletools",
    "model.eval_shape(init)",
  ],
)
def test_these_are_harmless(line):
  assert findings(ast.parse(line), "a.py") == []
