from diffpose_jax.evaluation import metric, table


def test_table_has_the_papers_columns_one_decimal_and_dashes():
  groups = ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
  full = {name: 10.04 * i for i, name in enumerate(groups, 3)}
  # Another order of the keys must not matter.
  full = {"total": 100.0} | dict(reversed(full.items()))
  part = {"head": None, "hip": float("nan"), "total": 7.25}
  lines = table.table({"mean pose": part, "DiffPose": full}).split("\n")
  assert [line.split() for line in lines] == [
    ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Mean"],
    ["mean", "pose", "-", "-", "-", "-", "-", "-", "-", "7.2"],
    [
      "DiffPose",
      "30.1",
      "40.2",
      "50.2",
      "60.2",
      "70.3",
      "80.3",
      "90.4",
      "100.0",
    ],
  ]
  assert len({len(line) for line in lines}) == 1
  assert lines[0].index("Mean") + len("Mean") == len(lines[2])


def test_table_without_rows_is_its_header():
  assert table.table({}).split()[0] == "Head"


def test_where_nothing_is_known_a_line_says_why():
  """As of people without head boxes; one number is enough for a table."""
  nothing = {"nose": None, "total": float("nan")}
  line = table.table({"mean pose": nothing, "DiffPose": nothing})
  assert line.startswith("not known: AP needs head boxes")
  assert "\n" not in line
  lines = table.table({"a": nothing, "b": nothing | {"nose": 3.0}}).split("\n")
  assert [line.split() for line in lines] == [
    ["nose", "Mean"],
    ["a", "-", "-"],
    ["b", "3.0", "-"],
  ]


def test_a_metrics_table_has_its_title_columns_and_digits():
  found = metric.Table("PCK", {"a": {"@0.1": 0.12345, "much longer": None}}, 3)
  lines = table.text(found).split("\n")
  assert lines[0] == "PCK"
  assert lines[1].split("  ")[-1] == "much longer"
  assert lines[2].split() == ["a", "0.123", "-"]
  assert len(lines[1]) == len(lines[2])
