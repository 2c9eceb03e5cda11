"""The verb: what it writes, what it says it costs, and what it refuses."""

import shutil

import numpy as np
import pytest

from diffpose_jax import main
from diffpose_jax.evaluation import fitting, pack
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import pack_file
from diffpose_jax.pose import geometry


@pytest.fixture(scope="module")
def before(tiny_run):
  return estimator_lib.Estimator.load(tiny_run)


@pytest.fixture
def few(monkeypatch):
  """Fewer scenes, as they take long to render."""
  monkeypatch.setattr(pack, "_SCENES", 2)


@pytest.fixture(scope="module")
def people(before):
  return pack.rendered(before.config)


def test_the_made_up_people(before, people):
  again = pack.rendered(before.config)
  assert len(people) >= 12
  for one, other in zip(people, again, strict=True):
    np.testing.assert_array_equal(one.clip, other.clip)
    assert one.clip.shape == (3, 32, 24, 3)
    assert one.clip.std() > 5  # something is to be seen
    assert (one.clip[0] != one.clip[1]).any()  # and it moves
    # The box's centre is the crop's.
    centre = geometry.apply(one.to_picture, np.array([[11.5, 15.5]]))[0]
    np.testing.assert_allclose(centre, (one.box[:2] + one.box[2:]) / 2)


def test_loss_by_hand(before, people, monkeypatch):
  """Of weights that are far off, joint by joint in the crops."""
  monkeypatch.setattr(pack, "rendered", lambda config: people)
  head = before.params["decoder"]["head"]
  other = {**head, "kernel": -head["kernel"]}
  after = before.with_params(
    before.params | {"decoder": before.params["decoder"] | {"head": other}}
  )
  found = pack.compare(before, after)
  assert found.people == len(people)
  assert pack.compare(before, before) == pack.Loss(
    len(people), 0.0, 0.0, 0.0, 0.0
  )
  known = [i for i in range(17) if i not in (3, 4)]
  distances, shares, scores = [], [], []
  for one in people:
    a, b = (
      e(one.clip[None], np.array([0], np.uint32)) for e in (before, after)
    )
    zoom = one.to_picture[0, 0]
    distances.append(zoom * np.linalg.norm(a.joints[0] - b.joints[0], axis=1))
    shares.append(distances[-1].max() / (one.box[2:] - one.box[:2]).max())
    scores.append(np.abs(a.score - b.score)[0, known].max())
  assert found.joints == pytest.approx(np.max(distances), rel=1e-3)
  assert found.mean == pytest.approx(np.mean(distances), rel=1e-3)
  assert found.share == pytest.approx(max(shares), rel=1e-3)
  assert found.scores == pytest.approx(max(scores), abs=1e-4)
  assert found.joints > 5


def test_the_command(tiny_run, before, few, tmp_path, capsys):
  file = tmp_path / "new" / "a.safetensors"
  arguments = [f"--weights={tiny_run}", f"--out={file}"]
  assert main.main(["pack", *arguments]) == 0
  text = capsys.readouterr().out
  network = pack_file.read(file)
  assert network.dtype == "float16" and network.step == 7
  assert f"written: {file}, {file.stat().st_size / 1e6:.2f} MB: " in text
  count = sum(leaf.size for leaf in network.leaves.values())
  assert f"{count:,} parameters as float16" in text
  assert "of training step 7, 17 joints (posetrack), not calibrated" in text
  assert f"of: SHA-256 {before.weights_hash}, float32" in text
  loaded = estimator_lib.Estimator.load(file)
  assert f"weights: SHA-256 {loaded.weights_hash}" in text
  assert "loss: on " in text and "rendered people joints differ by at" in text
  # Packed again, from the file: now nothing is lost.
  again = tmp_path / "b.safetensors"
  code = main.main(
    ["pack", f"--weights={file}", f"--out={again}", "--dtype=float32"]
  )
  assert code == 0
  assert "differ by at most 0 pixels (0.00% of" in capsys.readouterr().out
  assert estimator_lib.Estimator.load(again).weights_hash == loaded.weights_hash
  # And the same weights are the same bytes.
  pack_file.write(pack.pack(before, tiny_run, again, "float16"))
  assert again.read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--out={0}/a.npz"], "a.npz: packed weights are a file *.safetensors"),
    (["--out={0}/a.safetensors", "--dtype=int8"], "dtype is 'int8', must be"),
    (["--out={0}/own.safetensors"], "is what would be packed; give another"),
  ],
)
def test_refused(tiny_run, tmp_path, capsys, arguments, message):
  weights = tiny_run
  if "own" in arguments[0]:
    weights = tmp_path / "own.safetensors"
    weights.touch()
  arguments = [argument.format(tmp_path) for argument in arguments]
  assert main.main(["pack", f"--weights={weights}", *arguments]) == 2
  assert message in capsys.readouterr().err
  assert not (tmp_path / "a.safetensors").exists()


@pytest.fixture
def packed_file(tiny_run, before, tmp_path, monkeypatch):
  path = tmp_path / "a.safetensors"
  pack_file.write(pack.pack(before, tiny_run, path, "float16"))
  monkeypatch.chdir(tmp_path)
  return path


def test_a_file_is_evaluated_and_calibrated(
  packed_file, shared_data, tmp_path, capsys, monkeypatch
):
  """What is made of it lies in runs/<name>, not beside it."""
  monkeypatch.setattr(fitting, "LEAST", 5)  # there are few joints
  source = [f"--root={shared_data / 'posetrack18_mini'}"]
  arguments = [f"--weights={packed_file}", *source, "--dataset=posetrack18"]
  assert main.main(["calibrate", *arguments]) == 0
  assert f"written: {packed_file}" in capsys.readouterr().out
  assert main.main(["evaluate", *arguments]) == 0
  text = capsys.readouterr().out
  assert "written: runs/a/evaluation-val.json" in text
  folder = tmp_path / "runs" / "a"
  there = sorted(p.name for p in folder.iterdir())
  assert [name for name in there if not name.startswith(".")] == [
    "data-posetrack18_mini",
    "evaluation-val.json",
  ]
  result = (folder / "evaluation-val.json").read_text()
  assert '"weights": "a.safetensors"' in result
  assert "is not calibrated" not in result
  assert "judged on the split that it was fitted on" in result


def test_accuracy_of_both(tiny_run, shared_data, few, tmp_path, capsys):
  run = tmp_path / "run"
  shutil.copytree(tiny_run, run)
  arguments = [f"--weights={run}", f"--out={tmp_path / 'a.safetensors'}"]
  source = [f"--root={shared_data / 'posetrack18_mini'}", "--split=val"]
  assert main.main(["pack", *arguments, *source]) == 0
  lines = capsys.readouterr().out.splitlines()
  for name in ("float32 ", "packed float16 "):
    assert any(line.startswith(name) for line in lines)
    assert any(line.startswith(f"PCK {name.strip()}") for line in lines)
