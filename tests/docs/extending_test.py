"""The changes that docs/extending.md shows can be made, and work."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
PAGE = "docs/extending.md"


def _files(pages):
  """The files that the page adds to the package."""
  found = {}
  for block in pages[PAGE].blocks:
    name = block.comment.removeprefix("file: ")
    if name.startswith("diffpose_jax/"):
      found[name] = block.text
  return found


def _edits(pages):
  """(file, old text, new text) of each hunk of the page's diffs."""
  found = []
  for block in pages[PAGE].blocks:
    if block.language != "diff":
      continue
    first, _, text = block.text.partition("\n")
    file = first.removeprefix("--- ")
    for hunk in text.split("@@\n"):
      lines = hunk.splitlines(keepends=True)
      old = "".join(line[1:] for line in lines if line[0] in " -")
      new = "".join(line[1:] for line in lines if line[0] in " +")
      found.append((file, old, new))
  return found


def test_the_edits_fit_the_code(pages):
  edits = _edits(pages)
  assert len(edits) == 5
  for file, old, new in edits:
    assert old != new
    assert (REPO / file).read_text().count(old) == 1, f"{file}:\n{old}"
  assert sorted(_files(pages)) == [
    "diffpose_jax/evaluation/metrics/median.py",
    "diffpose_jax/model/plain.py",
  ]


# Shapes, and a metric by hand: of distances 5, 13 and none the middle is 13.
CHECK = """
import dataclasses, json
import jax, numpy as np
from diffpose_jax import config
from diffpose_jax.data.annotations import Frame, Person, Video
from diffpose_jax.evaluation import matching, registry
from diffpose_jax.inference import network
from diffpose_jax.pose import skeleton

c = config.default()
c.data.size, c.data.span = (32, 24), 1
c.model.update(size="cpu", body="plain", patch=8, strl_depth=1)
c.model.update(decoder_width=16, heatmap_width=8)
config.check(c)
model = network.build_model(c, skeleton.POSETRACK)
inputs = network.inputs(c, skeleton.POSETRACK, 2)
params = jax.eval_shape(model.init, jax.random.key(0), *inputs)
maps = jax.eval_shape(model.apply, params, *inputs)

one = dataclasses.replace(
  skeleton.COCO, joints=("tip",), evaluated=(0,), groups=(("tip", (0,)),))
yes, no = np.array([True]), np.array([False])
def video(x, y, there):
  people = [Person(np.array([0, 0, 99, 99], np.float32),
                   np.array([[a, b]], np.float32), t)
            for a, b, t in zip(x, y, there)]
  return Video("v", tuple(Frame(f"{i}.jpg", i, True, (p,))
                          for i, p in enumerate(people)))
truth = video((0, 20, 50), (0, 0, 0), (yes, yes, yes))
found = video((3, 25, 50), (4, 12, 0), (yes, yes, no))
case = matching.Case.of([truth], [found], skeleton=one)
metric = registry.load("median")
result = metric.measure(case)
print(json.dumps({
  "parts": sorted(params["params"]["vit"]), "maps": maps.shape,
  "median": result["median"], "title": metric.tables(result)[0].title}))
"""


@pytest.mark.slow
def test_the_edited_package_works(pages, tmp_path):
  copy = tmp_path / "diffpose_jax"
  shutil.copytree(REPO / "diffpose_jax", copy)
  for name, text in _files(pages).items():
    (tmp_path / name).write_text(text)
  for file, old, new in _edits(pages):
    path = tmp_path / file
    path.write_text(path.read_text().replace(old, new))
  done = subprocess.run(
    [sys.executable, "-c", CHECK],
    cwd=tmp_path,
    env=os.environ | {"PYTHONPATH": str(tmp_path)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  found = json.loads(done.stdout)
  assert found["parts"] == [
    *("conv_0", "conv_1", "conv_2"),
    *("down_0", "down_1", "down_2"),
    *("norm_0", "norm_1", "norm_2"),
  ]
  assert found["maps"] == [2, 16, 12, 17]
  assert found["median"] == {"tip": 13.0, "total": 13.0}
  assert found["title"] == "Median distance, pixels"
