"""Rows as JSON and as text."""

import json

import pytest

from diffpose_jax.benchmark import measure, result

ROW = result.Row(
  id="P3",
  name="clip, 4 × 4",
  ratio_of="whole / parts",
  ratio=measure.Spread(1.234, 1.0, 1.5),
  bar=result.Bar("at most", 1.1),
  error=3.14e-6,
  clock="cpu",
  figures={"whole ms": 1234.5, "encoder ms": 0.04567},
  note="a note",
)
RESULT = result.Result(
  "python x.py --pairs=7",
  {"cpu": "Some CPU", "cores": 2, "versions": {"jax": "1.2.3"}},
  {"model": "B", "picture": [256, 192]},
  (ROW, result.Row("P4", "b", refused="outputs differ")),
)


@pytest.mark.parametrize(
  ("value", "text"),
  [
    (0.0, "0"),
    (1234.56, "1235"),
    (12.345, "12.3"),
    (1.2345, "1.23"),
    (0.12345, "0.123"),
    (0.012345, "0.0123"),
    (0.00123, "1.2e-03"),
    (-2.5, "-2.50"),
    (float("inf"), "inf"),
  ],
)
def test_figures_have_three_digits(value, text):
  assert result.figure(value) == text


@pytest.mark.parametrize(
  ("side", "ratio", "verdict"),
  [
    ("at most", 1.1, ""),
    ("at most", 1.101, "OVER THE BAR"),
    ("at least", 1.1, ""),
    ("at least", 1.099, "BELOW THE BAR"),
  ],
)
def test_verdicts(side, ratio, verdict):
  spread = measure.Spread(ratio, 0.0, 9.0)
  row = result.Row("P3", "a", ratio=spread, bar=result.Bar(side, 1.1))
  assert row.verdict == verdict
  assert result.Row("P3", "a", ratio=spread).verdict == ""
  assert result.Row("P3", "a", bar=row.bar).verdict == ""
  assert result.Row("P3", "a", refused="why").verdict == "refused"


def test_cells_and_lines():
  assert result.cells(ROW) == {
    "row": "P3",
    "what": "clip, 4 × 4",
    "ratio of": "whole / parts",
    "ratio": "1.23 (1.00–1.50)",
    "bar": "≤ 1.1",
    "": "OVER THE BAR",
    "error": "3.1e-06",
    "figures": "whole ms 1234; encoder ms 0.0457; CPU time; a note",
  }
  first, *rest = result.lines(ROW).splitlines()
  assert first.split("  ")[0] == ["P3", "clip, 4 × 4"][0]
  assert first.endswith("1.23 (1.00–1.50)   ≤ 1.1 OVER THE BAR")
  assert [line.strip() for line in rest] == [
    "whole / parts",
    "outputs differ by 3.1e-06",
    "whole ms 1234; encoder ms 0.0457; CPU time; a note",
  ]
  once = result.Row("P5", "a", ratio=measure.Spread.of([2.0]))
  assert result.cells(once)["ratio"] == "2.00"


def test_a_file_holds_all_of_it(tmp_path):
  path = tmp_path / "new" / "a.json"
  result.write(path, RESULT)
  assert result.read(path) == RESULT
  assert [p.name for p in path.parent.iterdir()] == ["a.json"]
  tree = json.loads(path.read_text())
  assert tree["schema"] == result.SCHEMA == 1
  assert tree["rows"][0]["ratio"] == {"median": 1.234, "low": 1.0, "high": 1.5}


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda tree: tree | {"schema": 2}, "schema 2, this version reads 1"),
    (lambda tree: tree | {"more": 1}, "more"),
    (lambda tree: {"schema": 1}, "rows"),
    (lambda tree: [], "not a result"),
    (lambda tree: tree | {"rows": [{"id": "P3"}]}, "ratio"),
  ],
)
def test_other_files_are_refused(tmp_path, change, message):
  path = tmp_path / "a.json"
  result.write(path, RESULT)
  path.write_text(json.dumps(change(json.loads(path.read_text()))))
  with pytest.raises(ValueError, match=f"a.json: .*{message}"):
    result.read(path)


def test_refused_rows():
  assert result.refused(RESULT.rows) == ["P4 b: outputs differ"]
