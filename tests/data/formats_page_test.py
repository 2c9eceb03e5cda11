"""What docs/formats.md shows is so, and its lines run in other programs."""

import ast
import importlib.util
import json
import pathlib
import re
import subprocess
import sys

import jsonschema
import numpy as np
import pytest

from diffpose_jax.data import (
  result_columns,
  result_csv,
  result_formats,
  result_json,
)

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "formats.md"


def block(language, after):
  """The first block of code after a text of the page."""
  text = PAGE.read_text("utf-8")
  start = text.index(after)
  match = re.compile(f"```{language}\n(.*?)```", re.DOTALL).search(text, start)
  assert match is not None, after
  return match[1]


@pytest.fixture
def example(tmp_path):
  """The file of the page, and what is read of it."""
  path = tmp_path / "walk.poses.json"
  path.write_text(block("json", "## This program's JSON"))
  return path, *result_json.read(path)


def test_the_example_is_read_and_written_alike(example, tmp_path):
  path, head, frames = example
  schema = pathlib.Path(result_json.__file__).with_name("poses.schema.json")
  content = json.loads(path.read_text())
  jsonschema.validate(content, json.loads(schema.read_text()))
  result_json.write(tmp_path / "again.json", head, frames)
  again = json.loads((tmp_path / "again.json").read_text())
  for key in ("format", "version", "video", "tail", "protocol"):
    assert again[key] == content[key]
  # Modes are found in samples, which are not in the example.
  del content["frames"][1]["people"][0]["modes"]
  assert again["frames"] == content["frames"]
  assert content["skeleton"].items() <= again["skeleton"].items()


def test_the_example_of_coco_is_of_the_same_poses(example, tmp_path):
  _, head, frames = example
  result_formats.write("coco", tmp_path / "a.json", head, frames)
  (want,) = json.loads(block("json", "## COCO keypoint results"))
  (got,) = json.loads((tmp_path / "a.json").read_text())
  assert got.pop("score") == pytest.approx(want.pop("score"), abs=1e-7)
  assert got == want


def test_the_page_names_each_column_and_format(example):
  text = PAGE.read_text("utf-8")
  named = set(re.findall(r"`(\w+)`", text))
  assert set(result_csv.HEADER) <= named
  columns = result_columns.columns(example[1], 5)
  assert {column.name for column in columns} <= named
  assert set(result_columns.constants(example[1], "f")) <= named
  for name, form in result_formats.FORMATS.items():
    files = ", ".join(f"`walk{suffix}`" for suffix in form.suffixes)
    assert f"\n| `{name}` | {files} |" in text


def test_the_lines_for_python(recorded, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name in ("json", "npz"):
    path, *_ = result_formats.paths(name, tmp_path, "walk")
    result_formats.write(name, path, recorded.head, recorded.frames)
  names = {"pathlib": pathlib, "numpy": np}
  exec(block("python", "## From Python"), names)
  (tmp_path / "by_hand").mkdir()
  path = tmp_path / "by_hand" / "walk.coco.json"
  result_formats.write("coco", path, recorded.head, recorded.frames)
  assert (tmp_path / "walk.coco.json").read_bytes() == path.read_bytes()
  exec(block("python", "columns are compressed."), names)
  people = [(f, p) for f in recorded.frames for p in f.people]
  wrist = recorded.head.skeleton.index("left_wrist")
  np.testing.assert_array_equal(
    names["wrists"],
    [np.where(p.labelled[wrist], p.joints[wrist], np.nan) for _, p in people],
  )
  np.testing.assert_array_equal(names["seconds"], [f.time for f, _ in people])


def run(package, imports, check, folder, recorded, more=()):
  """What the page's lines for a package give: the JSON that `check` prints."""
  if importlib.util.find_spec(package) is None:
    pytest.skip(f"{package} is not installed; it is named in docs only")
  for name in ("csv", "npz"):
    path, *_ = result_formats.paths(name, folder, "walk")
    result_formats.write(name, path, recorded.head, recorded.frames)
  lines = block("python", f"<!-- {package} -->")
  assert len(ast.parse(lines).body) == 3
  code = "\n".join([imports, lines, *more, "import json", check])
  ran = subprocess.run(
    [sys.executable, "-c", code],
    cwd=folder,
    capture_output=True,
    text=True,
    check=False,
  )
  assert ran.returncode == 0, ran.stderr
  return json.loads(ran.stdout.splitlines()[-1])


def test_movement_loads_it(tmp_path, recorded):
  check = """one = dataset.sel(individuals="4", keypoints="left_wrist")
print(json.dumps({"individuals": dataset.individuals.values.tolist(),
  "joints": dataset.keypoints.values.tolist(), "dims": dataset.position.dims,
  "time": one.time.values.tolist(), "at": one.position.values.tolist(),
  "confidence": one.confidence.values.tolist()}))"""
  imports = "import numpy, pandas\nfrom movement.io import load_poses"
  got = run("movement", imports, check, tmp_path, recorded)
  assert got["individuals"] == ["4", "11"]
  assert got["dims"] == ["time", "space", "keypoints", "individuals"]
  assert sorted(got["joints"]) == sorted(recorded.head.skeleton.joints)
  np.testing.assert_allclose(got["time"], np.arange(7) / 25)
  for frame, at, score in zip(
    recorded.frames, got["at"], got["confidence"], strict=True
  ):
    person = next((p for p in frame.people if p.track_id == 4), None)
    if person is None:
      assert np.isnan(at).all() and np.isnan(score)
    else:
      np.testing.assert_array_equal(np.array(at, np.float32), person.joints[9])
      assert np.float32(score) == person.scores[9]


def test_supervision_loads_it(tmp_path, recorded):
  check = """picture = numpy.zeros((211, 307, 3), numpy.uint8)
edges = supervision.EdgeAnnotator(edges=(data["limbs"] + 1).tolist())
drawn = edges.annotate(picture.copy(), key_points).any()
boxed = supervision.BoxAnnotator().annotate(picture.copy(), detections).any()
print(json.dumps({"xy": key_points.xy.tolist(), "drawn": bool(drawn),
  "boxed": bool(boxed), "score": key_points.keypoint_confidence.tolist(),
  "boxes": detections.xyxy.tolist(), "ids": detections.tracker_id.tolist(),
  "visible": key_points.visible.tolist()}))"""
  imports = "import numpy, supervision"
  boxes = block("python", "<!-- supervision boxes -->")
  got = run("supervision", imports, check, tmp_path, recorded, [boxes])
  people = recorded.frames[4].people
  assert got["ids"] == [4, -1, 11]
  assert got["drawn"] and got["boxed"]
  for i, person in enumerate(people):
    known = person.labelled
    xy = np.array(got["xy"][i], np.float32)
    np.testing.assert_array_equal(xy[known], person.joints[known])
    np.testing.assert_array_equal(np.float32(got["score"][i]), person.scores)
    np.testing.assert_array_equal(np.float32(got["boxes"][i]), person.box)
    assert got["visible"][i] == known.tolist()
