"""The notebooks run from top to bottom, and are kept without outputs."""

import pathlib
import re

import nbclient
import nbformat
import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
NAMES = ("evaluate", "predict")
# What the libraries of notebooks, not ours, warn of.
pytestmark = pytest.mark.filterwarnings("ignore")


def _read(name):
  return nbformat.read(REPO / "colab" / f"{name}.ipynb", as_version=4)


@pytest.fixture
def run(tmp_path, tiny_run, monkeypatch):
  """Runs a notebook in an empty folder, with settings; its cells' texts."""
  monkeypatch.setenv("PYTHONPATH", str(REPO))

  def call(name, **settings):
    book = _read(name)
    [cell] = [
      c for c in book.cells if "parameters" in c.metadata.get("tags", [])
    ]
    settings["WEIGHTS"] = str(tiny_run)
    for key, value in settings.items():
      cell.source, count = re.subn(
        rf"^{key} = .*", f"{key} = {value!r}", cell.source, flags=re.M
      )
      assert count == 1
    client = nbclient.NotebookClient(
      book, timeout=280, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    return [_texts(cell) for cell in book.cells if cell.cell_type == "code"]

  return call


def _texts(cell):
  found = []
  for output in cell.outputs:
    if output.output_type == "stream":
      found.append(output.text)
    elif output.output_type in ("display_data", "execute_result"):
      found.append(output.data.get("text/html", ""))
  return "".join(found)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_stripped_and_cells_are_explained(name):
  book = _read(name)
  nbformat.validate(book)
  assert book.cells[0].cell_type == "markdown"
  told = 0
  for cell in book.cells:
    assert cell.source.strip()
    if cell.cell_type == "markdown":
      told += 1
      continue
    assert not cell.outputs and cell.execution_count is None
    assert len(cell.source.splitlines()) <= 25
    # Each has a title, or follows what explains it.
    assert told or cell.source.startswith("# @title"), cell.source
  assert told >= 5


def test_all_notebooks_are_tested():
  found = {path.stem for path in (REPO / "colab").glob("*.ipynb")}
  assert found == set(NAMES)


@pytest.mark.slow
def test_evaluate(run, tmp_path):
  """Weights and files of one protocol come out the same."""
  cells = run("evaluate", STEPS=2, SAMPLES=2)
  text = "\n".join(cells)
  assert "DiffPose 2 steps x 2 samples" in text
  assert "<iframe srcdoc=" in text
  found = {path.name for path in (tmp_path / "evaluated").iterdir()}
  assert {"result.json", "files.json", "report.html", "poses"} <= found


@pytest.mark.slow
def test_predict(run, tmp_path):
  cells = run("predict", SAMPLES=2)
  text = "\n".join(cells)
  assert "10 people in 10 frames" in text
  assert "<iframe srcdoc=" in text
  assert re.search(r"right_ankle +-?\d+\.\d +-?\d+\.\d  [01]\.\d\d", text), text
  names = {path.suffix for path in (tmp_path / "poses").iterdir()}
  assert names == {".json", ".csv", ".webm", ".html"}
