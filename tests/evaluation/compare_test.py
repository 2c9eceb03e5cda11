import json

import pytest

from diffpose_jax.evaluation import compare


@pytest.fixture
def write(tmp_path):
  def write_(name, total, **protocol):
    path = tmp_path / f"{name}.json"
    content = {
      "ap_groups": {"head": None, "total": total},
      "protocol": {"data": "pt18", "boxes": "ground truth", **protocol},
    }
    path.write_text(json.dumps(content))
    return path

  return write_


def test_results_of_one_protocol_stand_in_one_table(write, capsys):
  one, four = write("one", 81.25, steps=1), write("four", 82.0, steps=4)
  rows = compare.compare([one, four])
  assert [row["total"] for row in rows.values()] == [81.25, 82.0]
  lines = capsys.readouterr().out.splitlines()
  assert lines[1].split()[0] == str(one) and lines[1].split()[-1] == "81.2"
  assert lines[2].split()[-1] == "82.0"


def test_other_protocols_are_refused_unless_told(write, capsys):
  given = write("gt", 90.0)
  found = write("found", 80.0, boxes="detections of a.json", box_threshold=0.2)
  with pytest.raises(ValueError, match="different protocols") as caught:
    compare.compare([given, found])
  text = str(caught.value)
  assert "boxes: 'ground truth' in" in text
  assert "box_threshold: not said in" in text
  assert "--mixed-protocols" in text
  assert capsys.readouterr().out == ""
  compare.compare([given, found], mixed=True)
  printed = capsys.readouterr().out
  assert "differs: boxes" in printed and "90.0" in printed


def test_every_result_is_compared_with_the_first(write):
  paths = [write("a", 1.0), write("b", 2.0), write("c", 3.0, split="test")]
  with pytest.raises(ValueError, match=r"split: not said in .*a\.json"):
    compare.compare(paths)


def test_what_is_no_result_is_named(write, tmp_path):
  good = write("good", 1.0)
  with pytest.raises(ValueError, match="at least two results"):
    compare.compare([good])
  with pytest.raises(ValueError, match="given twice"):
    compare.compare([good, good])
  bad = tmp_path / "bad.json"
  bad.write_text('{"ap_groups": {}}')
  with pytest.raises(ValueError, match=r"bad\.json: no key 'protocol'"):
    compare.compare([good, bad])
  bad.write_text('{"ap_groups": 3, "protocol": {}}')
  with pytest.raises(ValueError, match=r"bad\.json: ap_groups: expected an"):
    compare.compare([good, bad])
