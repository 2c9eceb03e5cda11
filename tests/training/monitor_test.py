"""What a run leaves to look at: broken off in a step, then gone on with."""

import collections
import json
import struct

import cv2
import numpy as np
import pytest
import tiny
from tensorboardX.proto import event_pb2

from diffpose_jax import config as config_lib
from diffpose_jax.benchmark import compiling
from diffpose_jax.evaluation import evaluate
from diffpose_jax.training import goodput, train

TINY = tiny.RUN | {
  "train.steps": 7,
  "train.evaluate_every": 3,
  "train.pictures": 2,
}
Run = collections.namedtuple("Run", ["folder", "first", "compiled", "out"])


class _Crash(Exception):  # noqa: N818
  pass


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
  """A run of 7 steps that broke off before step 6, after a save at step 3."""
  folder = tmp_path_factory.mktemp("run")
  config = config_lib.default()
  config.update_from_flattened_dict({"data.root": str(root)} | TINY)
  real = train.pipeline.train_batches

  def batches(*args, **kwargs):
    made = real(*args, **kwargs)
    for _ in range(5):
      yield next(made)
    made.close()
    raise _Crash

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(evaluate, "finish", lambda *_: {})
    printed = []
    patch.setattr("builtins.print", lambda *a, **_: printed.append(str(a[0])))
    with pytest.MonkeyPatch.context() as crashing:
      crashing.setattr(train.pipeline, "train_batches", batches)
      with pytest.raises(_Crash):
        train.train(config=config, workdir=str(folder))
    first = json.loads((folder / goodput.NAME).read_text())
    with compiling.counted() as compiled:
      train.train(config=config, workdir=str(folder), profile_steps="5:6")
  return Run(folder, first, compiled, printed)


def test_steps_done_twice_are_wasted(run):
  """Steps 4 and 5, as the checkpoint that was gone on from is of step 3."""
  assert run.first["wasted_steps"] == 0
  (before,) = run.first["sessions"]
  assert (before["from"], before["to"]) == (0, 5)
  stored = json.loads((run.folder / goodput.NAME).read_text())
  assert stored["wasted_steps"] == 2
  first, second = stored["sessions"]
  assert (first["from"], first["to"], first["wasted_steps"]) == (0, 3, 2)
  assert (second["from"], second["to"]) == (3, 7)
  (mark,) = before["marks"]
  assert mark[0] == 3
  lost = sum(before["seconds"][name] for name in ("data", "step")) - sum(
    mark[1:]
  )
  assert first["seconds"]["wasted"] == pytest.approx(lost, abs=0.003)
  assert lost > 0 and second["seconds"]["wasted"] == 0
  # Nothing else of the first start changed, and nothing was lost.
  for name in ("start", "compile", "evaluation", "checkpoint", "other"):
    assert first["seconds"][name] == before["seconds"][name]
  total = sum(before["seconds"].values())
  assert sum(first["seconds"].values()) == pytest.approx(total, abs=0.01)
  for name in goodput.BUCKETS:
    both = first["seconds"][name] + second["seconds"][name]
    assert stored["seconds"][name] == pytest.approx(both, abs=0.003)
  for name in ("start", "compile", "step", "evaluation", "checkpoint"):
    assert second["seconds"][name] > 0, name
  lines = [line for line in run.out if line.startswith("goodput ")]
  assert len(lines) == 2 and lines[1].endswith("; 2 steps done twice")
  assert " in 2 starts: " in lines[1]


def test_metrics_are_strict_and_there_once(run):
  def refuse(name):
    raise AssertionError(name)

  text = (run.folder / "metrics.jsonl").read_text()
  records = [json.loads(s, parse_constant=refuse) for s in text.splitlines()]
  assert [r["step"] for r in records if "loss" in r] == list(range(1, 8))
  assert [r["step"] for r in records if "val/ap" in r] == [3, 6, 7]
  norms = [r for r in records if "loss" in r]
  for record in norms:
    parts = [record[f"gradient_norm/{p}"] for p in ("vit", "strl", "decoder")]
    np.testing.assert_allclose(
      record["gradient_norm"], np.linalg.norm(parts), rtol=1e-5
    )
    assert 0 < record["update_ratio/strl"] < 1
  # Of a start's first step, which compiles, there is no speed.
  assert [r["step"] for r in norms if "clips_per_second" not in r] == [1, 4]


def _images(folder):
  """The pictures of TensorBoard by step and name, as arrays."""
  found = {}
  for path in sorted((folder / "tensorboard").iterdir()):
    data, at = path.read_bytes(), 0
    while at < len(data):  # length, checksum, message, checksum
      (length,) = struct.unpack_from("<Q", data, at)
      event = event_pb2.Event.FromString(data[at + 12 : at + 12 + length])
      at += 16 + length
      for value in event.summary.value:
        if value.HasField("image"):
          png = np.frombuffer(value.image.encoded_image_string, np.uint8)
          found[event.step, value.tag] = cv2.imdecode(png, cv2.IMREAD_COLOR)
  return found


def test_tensorboard_has_pictures_of_each_start_and_validation(run):
  found = _images(run.folder)
  assert set(found) == {
    *((1, "train/clips"), (4, "train/clips")),
    *((step, "val/poses") for step in (3, 6, 7)),
  }
  for (_, name), picture in found.items():
    # Two clips of three frames, a pose and heatmaps; crops enlarged six times.
    wide = (388, 736, 3) if name == "train/clips" else (192, 880, 3)
    assert picture.shape == wide
    assert picture.std() > 10
  clips = [found[step, "train/clips"] for step in (1, 4)]
  assert (clips[0] != clips[1]).any()


def test_nothing_is_compiled_in_a_loop_that_runs(run):
  """Steps, validation and pictures are each compiled at their first use."""
  names = ("step", "_estimate", "_look", "_as_given")
  counts = {name: run.compiled.count(f"jit({name})") for name in names}
  assert counts == dict.fromkeys(names, 1), run.compiled


def test_the_network_and_a_profile_are_in_the_workdir(run):
  text = (run.folder / "model.txt").read_text()
  assert text.startswith("part ") and "state: " in text
  assert text.rstrip("\n") in run.out
  profiles = list((run.folder / "profile").rglob("*.xplane.pb"))
  assert len(profiles) == 1
  assert sum(line.startswith("profile: ") for line in run.out) == 1
