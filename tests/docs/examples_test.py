"""Python that the pages show is sound, and what is cheap of it runs."""

import ast
import importlib
import inspect
import json
import pathlib
import types
import zipfile

import cv2
import numpy as np
import pytest

from diffpose_jax.data import (
  custom,
  prepare,
  prepared,
  skeleton_file,
  video,
)
from diffpose_jax.evaluation import pack
from diffpose_jax.inference import estimator, pack_file, shipped

PACKAGE = "diffpose_jax"


def _blocks(pages, language="python"):
  return [
    block
    for page in pages.values()
    for block in page.blocks
    if block.language == language
  ]


def _find(pages, name, words):
  """The only Python block of a page that has these words in it or above it."""
  (found,) = (
    block
    for block in pages[name].blocks
    if block.language == "python" and words in (block.text + block.comment)
  )
  return found


def problems(code: str) -> list[str]:
  """What of ours a piece of Python uses that is not there, or calls wrongly."""
  tree = ast.parse(code)
  names: dict[str, object] = {}
  found = []
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      for alias in node.names:
        if alias.name.partition(".")[0] == PACKAGE:
          names[PACKAGE] = importlib.import_module(alias.name)
    elif isinstance(node, ast.ImportFrom):
      module = node.module or ""
      if module.partition(".")[0] != PACKAGE:
        continue
      for alias in node.names:
        try:
          names[alias.name] = importlib.import_module(f"{module}.{alias.name}")
        except ImportError:
          value = getattr(importlib.import_module(module), alias.name, None)
          if value is None:
            found.append(f"{module} has no {alias.name}")
          names[alias.name] = value
  for node in ast.walk(tree):
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
      value = names.get(node.value.id)
      if isinstance(value, types.ModuleType) and not hasattr(value, node.attr):
        found.append(f"{node.value.id} has no {node.attr}")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
      found += _wrong_call(node, names)
  return found


def _wrong_call(node: ast.Call, names: dict[str, object]) -> list[str]:
  """Why a function of one of our modules would refuse these arguments."""
  assert isinstance(node.func, ast.Attribute)
  owner = node.func.value
  module = names.get(owner.id) if isinstance(owner, ast.Name) else None
  function = getattr(module, node.func.attr, None)
  if not isinstance(module, types.ModuleType) or not callable(function):
    return []
  keywords = {word.arg: None for word in node.keywords if word.arg}
  try:
    inspect.signature(function).bind(*node.args, **keywords)
  except TypeError as error:
    return [f"{ast.unparse(node.func)}: {error}"]
  return []


def test_every_block_of_python_is_sound(pages):
  blocks = _blocks(pages)
  assert len(blocks) > 15
  wrong = [f"{b.place}: {p}" for b in blocks for p in problems(b.text)]
  assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
  ("code", "problem"),
  [
    ("from diffpose_jax.data import nothing", "has no nothing"),
    ("from diffpose_jax.pose import modes\nmodes.gone", "modes has no gone"),
    (
      "from diffpose_jax.pose import modes\nmodes.find(1)",
      "modes.find: missing",
    ),
    ("import diffpose_jax\ndiffpose_jax.DiffPos", "has no DiffPos"),
  ],
)
def test_python_that_is_not_sound_is_found(code, problem):
  assert any(problem in found for found in problems(code))


@pytest.fixture(scope="module")
def weights(tiny_run, tmp_path_factory):
  """A folder with the weights that come with the package, as it were."""
  path = tmp_path_factory.mktemp("shipped") / f"{shipped.DEFAULT}.safetensors"
  before = estimator.Estimator.load(tiny_run)
  pack_file.write(pack.pack(before, tiny_run, path, "float16"))
  return path


@pytest.mark.slow
def test_poses_from_python(pages, weights, monkeypatch):
  """The lines of prediction, start and uncertainty, one after the other."""
  monkeypatch.setattr(shipped, "FOLDER", weights.parent)
  monkeypatch.chdir(weights.parent)
  (weights.parent / "own.safetensors").write_bytes(weights.read_bytes())
  picture = np.random.default_rng(0).integers(0, 256, (97, 83, 3), np.uint8)
  box = np.array([[3.0, 5.0, 41.0, 59.0]])
  names = {
    "np": np,
    "picture": picture,
    "boxes": box,
    "video": np.stack([picture] * 3),
    "boxes_of_frame_0": box,
    "boxes_of_frame_1": box[:0],
  }
  three_lines = _find(pages, "docs/prediction.md", "from_pretrained()")
  exec(three_lines.text, names)
  assert names["result"].joints.shape == (1, 17, 2)
  code = _find(pages, "docs/prediction.md", "boxes_of_frame_0").text
  exec(code.replace("...", "np.zeros((0, 4))"), names)
  assert [len(result) for result in names["results"]] == [1, 0, 0]
  exec(_find(pages, "docs/start.md", "own.safetensors").text, names)
  for comment in ("calibrated", "radius"):
    exec(_find(pages, "docs/uncertainty.md", comment).text, names)
  assert names["near"].shape == (1, 17)
  assert names["axes"].shape == (1, 17, 2)


def test_modes_are_those_that_the_page_shows(pages, capsys):
  exec(_find(pages, "docs/uncertainty.md", "modes.find").text, {"np": np})
  blocks = pages["docs/uncertainty.md"].blocks
  (shown,) = (b.text for b in blocks if not b.language and "0.7" in b.text)
  assert capsys.readouterr().out == shown


def test_frames_of_a_video_from_python(pages, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "day1").mkdir()
  with video.Writer(
    pathlib.Path("day1/walk.webm"), fps=25.0, size=(48, 64)
  ) as writer:
    for shade in (50, 100, 150):
      writer.write(np.full((48, 64, 3), shade, np.uint8))
  names = {}
  exec(_find(pages, "docs/prediction.md", "sources.find").text, names)
  assert names["index"] == 2 and names["picture"].shape == (48, 64, 3)


JOINTS = ["nose", "left_wrist", "right_wrist"]


def _export(path, *, frames, track):
  """An archive as CVAT makes it: (0, 0) is a corner, a joint is not labelled."""
  picture = cv2.imencode(".png", np.full((48, 64, 3), 90, np.uint8))[
    1
  ].tobytes()
  content = {
    "categories": [
      {"id": 1, "name": "person", "keypoints": JOINTS, "skeleton": [[1, 2]]}
    ],
    "images": [
      {"id": 1 + i, "file_name": f"frame_{i:06}.PNG", "width": 64, "height": 48}
      for i in range(frames)
    ],
    "annotations": [
      {
        "id": 1 + i,
        "image_id": 1 + i,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [10.5, 20.5, 7, 3],
        "attributes": {"occluded": False, "track_id": track},
        "keypoints": [10.5 + i, 20.5, 2, 17.5, 23.5, 1, 0, 0, 0],
      }
      for i in range(frames)
    ],
  }
  with zipfile.ZipFile(path, "w") as archive:
    labels = "annotations/person_keypoints_default.json"
    archive.writestr(labels, json.dumps(content))
    archive.mkdir("images")
    for image in content["images"]:
      archive.writestr(f"images/default/{image['file_name']}", picture)


def test_the_script_for_cvat(pages, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  _export(tmp_path / "kitchen.zip", frames=3, track=7)
  _export(tmp_path / "garden.zip", frames=2, track=0)
  exec(_find(pages, "docs/data.md", "from_cvat.py").text, {})
  root = tmp_path / "own"
  joints = skeleton_file.read(root / custom.SKELETON)
  assert joints.joints == tuple(JOINTS)
  assert joints.pairs == ((1, 2),) and joints.limbs == ((0, 1),)
  (kitchen,) = custom.read_split(root, "train", skeleton=joints)
  assert kitchen.name == "kitchen"
  for i, frame in enumerate(kitchen.frames):
    (person,) = frame.people
    assert person.track_id == 7 and person.box is None
    np.testing.assert_array_equal(person.joints[:2], [[10 + i, 20], [17, 23]])
    assert person.labelled.tolist() == [True, True, False]
  out = prepare.prepare(dataset="custom", source=root, out=tmp_path / "out")
  assert len(prepared.open_split(out, "train").frames) == 3
  assert len(prepared.open_split(out, "val").frames) == 2


def test_the_pendulum(pages, tmp_path, monkeypatch):
  """Its joints are where it is drawn: dark lines, a red bob."""
  monkeypatch.chdir(tmp_path)
  exec(_find(pages, "docs/extending.md", "file: draw.py").text, {})
  root = tmp_path / "pendulum"
  joints = skeleton_file.read(root / custom.SKELETON)
  (d,) = custom.read_split(root, "val", skeleton=joints)
  assert len(d.frames) == 40
  for frame in d.frames[::13]:
    picture = cv2.imread(str(root / frame.file_name))
    assert picture is not None
    picture = picture.astype(int)
    x, y = np.round(frame.people[0].joints).astype(int).T
    assert (picture[y[:2], x[:2]].sum(axis=1) < 250).all()
    assert picture[y[2], x[2], 2] > picture[y[2], x[2], 0] + 100
  out = prepare.prepare(dataset="custom", source=root, out=tmp_path / "out")
  assert len(prepared.open_split(out, "train").videos) == 3
