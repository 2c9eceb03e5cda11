"""The whole way on real pictures: prepare, evaluate, predict, train.

The network is tiny and its weights are random: what is looked at is that real
files pass through every part, not how good the poses are.
"""

import json

import cv2
import jax
import numpy as np
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax import main
from diffpose_jax.data import annotations, prepare, prepared
from diffpose_jax.evaluation import evaluate, from_files, measure
from diffpose_jax.evaluation.metrics import ap
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import predict
from diffpose_jax.inference import workdir as run_folder
from diffpose_jax.pose import geometry
from diffpose_jax.pose.skeleton import POSETRACK
from diffpose_jax.training import optim
from diffpose_jax.training import step as step_lib
from diffpose_jax.weights import checkpoint

PEOPLE = 14  # of the three labelled pictures
DETECTIONS = 278
TINY = {
  "data.size": (32, 24),
  "data.span": 1,
  "data.threads": 1,
  "model.size": "cpu",
  "model.stem": "conv",
  "model.patch": 8,
  "model.strl_depth": 1,
  "model.decoder_width": 16,
  "model.heatmap_width": 8,
  "evaluate.batch": 8,
  "evaluate.steps": 2,
  "evaluate.samples": 2,
}


@pytest.fixture(scope="module")
def pictures(shared_data):
  """PoseTrack18's own pictures and files: one split, of three frames."""
  return shared_data / "posetrack18_mini"


@pytest.fixture(scope="module")
def data(pictures, tmp_path_factory):
  out = tmp_path_factory.mktemp("real") / "data"
  return prepare.prepare(dataset="posetrack18", source=pictures, out=out)


@pytest.fixture(scope="module")
def split(data):
  return prepared.open_split(data, "val", skeleton=POSETRACK)


@pytest.fixture(scope="module")
def workdir(data, tmp_path_factory):
  """A run of no steps, whose prepared data lie elsewhere."""
  folder = tmp_path_factory.mktemp("run")
  config = config_lib.default()
  config.update_from_flattened_dict(TINY | {"data.prepared": str(data)})
  optimiser = optim.optimiser(config.train, 1)
  state = jax.jit(lambda: step_lib.init_state(config, POSETRACK, optimiser))()
  checkpoints = checkpoint.Checkpoints(folder)
  checkpoints.save({"params": state.params, "ema": state.ema}, 0, 0.0)
  checkpoints.close()
  run_folder.save(folder, config, POSETRACK)
  return folder


def test_the_real_set_is_prepared_whole(split):
  assert split.videos == (
    "003418_mpii_test",
    "009473_mpii_test",
    "012834_mpii_test",
  )
  assert len(split.frames) == 3 and split.frames.labelled.all()
  assert len(split.people) == PEOPLE
  assert set(zip(split.frames.height, split.frames.width, strict=True)) == {
    (1080, 1920)
  }
  assert len(split.regions.size) > 0


def test_truth_as_prediction_scores_exactly_100(split):
  truth = prepared.to_videos(split)
  measured = ap.average_precision(truth, truth, skeleton=POSETRACK)
  for table in (measured.ap, measured.ap_groups):
    assert set(table.values()) == {100.0}
  assert set(measured.precision.values()) == {100.0}
  assert set(measured.recall.values()) == {100.0}


@pytest.fixture(scope="module")
def estimator(workdir):
  return estimator_lib.Estimator.load(workdir)


def _in_range(result):
  for table in ("ap", "ap_groups", "precision", "recall"):
    assert all(0 <= value <= 100 for value in result[table].values())


def test_ground_truth_boxes(estimator, split):
  run = evaluate.evaluate_split(estimator, split, estimator.config)
  _in_range(run.result)
  assert run.result["protocol"]["boxes"] == "ground truth"
  assert run.result["protocol"]["people"] == PEOPLE
  for unit in ("pck_box", "pck_head"):
    shares = run.result[unit]["all"]
    assert 0 <= shares["0.05"] <= shares["0.1"] <= shares["0.2"] <= 1
  _inside(run, estimator)


def test_detected_boxes(estimator, split, pictures):
  name = "test_posetrack18_human_detections.json"
  path = pictures / "annotations" / name
  scores = np.array([d["score"] for d in json.loads(path.read_text())])
  assert len(scores) == DETECTIONS
  config = config_lib.copy(estimator.config)
  config.evaluate.boxes = str(path)
  config.evaluate.box_threshold = 0.5
  run = evaluate.evaluate_split(estimator, split, config)
  _in_range(run.result)
  kept = int((scores >= 0.5).sum())
  assert 0 < kept < DETECTIONS
  expected = {
    "boxes": f"detections of {name}",
    "box_threshold": 0.5,
    "boxes_below_threshold": DETECTIONS - kept,
    "boxes_of_other_images": 0,
    "people": kept,
  }
  assert expected.items() <= run.result["protocol"].items()
  assert (run.estimates.score.max(axis=1) <= run.people.score + 1e-6).all()
  _inside(run, estimator)


def _shown(box, config):
  """What the crop of a box shows, in the picture."""
  height, width = config.data.size
  larger = geometry.enlarge(box.astype(float), config.data.enlarge)
  return geometry.pad_to_aspect(larger, width / height)


def _inside(run: measure.Run, estimator):
  """Each pose lies in the picture where its own crop does."""
  edges = _shown(run.people.box, estimator.config)[:, None]
  joints = run.estimates.joints
  assert ((joints >= edges[..., :2]) & (joints <= edges[..., 2:])).all()


@pytest.fixture(scope="module")
def clip(pictures):
  """A real mp4, and the number of its frames that decode."""
  name = "000001_mpiinew_test"
  path = pictures / "videos" / name / f"{name}.mp4"
  capture = cv2.VideoCapture(str(path))
  frames = 0
  while capture.read()[0]:
    frames += 1
  assert frames > 1
  return path, frames


def _predict(clip, boxes, workdir, out):
  arguments = [f"--input={clip}", f"--boxes={boxes}", f"--weights={workdir}"]
  assert main.main(["predict", *arguments, f"--out={out}"]) == 0
  path = out / f"{clip.stem}.json"
  video = annotations.read_video(path, skeleton=POSETRACK, style="results")
  capture = cv2.VideoCapture(str(out / f"{clip.stem}.webm"))
  frames = 0
  while capture.read()[0]:
    frames += 1
  assert frames == len(video.frames)
  return video, json.loads(path.read_text())["protocol"]


def test_predict_whole_pictures(clip, workdir, tmp_path, capsys):
  path, frames = clip
  video, protocol = _predict(path, "whole", workdir, tmp_path)
  assert len(video.frames) == frames
  assert [len(frame.people) for frame in video.frames] == [1] * frames
  assert protocol["boxes"] == "whole" and protocol["steps"] == 2
  assert f"{frames} people in {frames} frames" in capsys.readouterr().out


def test_predict_boxes_of_a_posetrack_file(clip, workdir, tmp_path):
  """Two tracked people in the first frame, one in each later one."""
  path, count = clip
  boxes = {  # frame: {track: (x, y, w, h)}
    0: {4: (200, 100, 300, 500), 9: (700, 150, 250, 480)},
    **{
      frame: {4: (200 + 5 * frame, 100, 300, 500)} for frame in range(1, count)
    },
  }
  names = [f"images/val/{path.stem}/{i:06d}.jpg" for i in range(count)]
  content = {
    "images": [{"id": 70 + i, "file_name": n} for i, n in enumerate(names)],
    "annotations": [
      {"id": 0, "image_id": 70 + frame, "track_id": track, "bbox": list(box)}
      for frame, people in boxes.items()
      for track, box in people.items()
    ],
    "categories": [],
  }
  file = tmp_path / "boxes.json"
  file.write_text(json.dumps(content))
  video, protocol = _predict(path, file, workdir, tmp_path / "out")
  assert protocol["boxes"] == "boxes.json"
  config = config_lib.load(workdir / "config.json")
  assert len(video.frames) == count
  for index, frame in enumerate(video.frames):
    found = {person.track_id: person for person in frame.people}
    assert set(found) == set(boxes[index])
    for track, person in found.items():
      x, y, width, height = boxes[index][track]
      assert person.box is not None
      np.testing.assert_allclose(person.box, [x, y, x + width, y + height])
      edges = _shown(person.box, config)
      joints = person.joints[list(POSETRACK.evaluated)]
      assert ((joints >= edges[:2]) & (joints <= edges[2:])).all()


def test_predict_finds_what_evaluate_judges(shared_data, workdir, tmp_path):
  """JHMDB's clips with their boxes: to the last bit, so AP is the same."""
  root = shared_data / "jhmdb_mini"
  dump, out = tmp_path / "dump", tmp_path / "out"
  source = evaluate.Source(root=root)
  wanted = evaluate.evaluate_weights(workdir, source, dump=dump)
  truth = root / "annotations" / "val"
  predict.predict(
    input=root / "images" / "val", boxes=truth, weights=workdir, out=out
  )
  found = from_files.evaluate_files(truth, out, tmp_path / "found.json")
  assert found["ap"] == pytest.approx(wanted["ap"], abs=1e-6)
  files = sorted(dump.glob("*.json"))
  assert [file.name for file in files] == [
    file.name for file in sorted(truth.glob("*.json"))
  ]
  for file in files:
    one = annotations.read_video(file, skeleton=POSETRACK)
    other = annotations.read_video(out / file.name, skeleton=POSETRACK)
    for a, b in zip(one.frames, other.frames, strict=True):
      assert len(a.people) > 0
      for p, q in zip(a.people, b.people, strict=True):
        np.testing.assert_array_equal(p.joints, q.joints)
        np.testing.assert_array_equal(p.box, q.box)
        assert p.scores is not None and q.scores is not None
        learned = list(POSETRACK.evaluated)
        np.testing.assert_array_equal(p.scores[learned], q.scores[learned])


@pytest.mark.slow
def test_two_steps_on_jhmdb(shared_data, tmp_path, monkeypatch, capsys):
  """The config of the real runs, made small; its root by the environment."""
  root = shared_data / "jhmdb_mini"
  monkeypatch.setenv("DIFFPOSE_DATA_ROOT", str(root))
  small = TINY | {"train.steps": 2, "train.batch": 8, "train.warmup": 0}
  small |= {"train.validation_instances": 8}
  folder = tmp_path / "run"
  arguments = [f"--config.{key}={value}" for key, value in small.items()]
  command = ["--config=configs/jhmdb.py", f"--workdir={folder}", *arguments]
  assert main.main(command) == 0
  result = json.loads((folder / "evaluation.json").read_text())
  people = [
    person
    for path in (root / "annotations" / "val").glob("*.json")
    for person in json.loads(path.read_text())["annotations"]
  ]
  assert result["protocol"]["data"] == "jhmdb"
  assert result["protocol"]["people"] == len(people) > 20
  assert result["protocol"]["training_step"] == 2
  shares = result["mean_pose"]["pck_box"]["all"]
  assert shares["0.05"] < shares["0.1"] < shares["0.2"]
  # JHMDB labels no top of the head.
  assert result["ap"]["head_top"] is None
  records = (folder / "metrics.jsonl").read_text().splitlines()
  losses = [json.loads(r)["loss"] for r in records if "loss" in json.loads(r)]
  assert losses and np.isfinite(losses).all()
  for name in ("report.html", "validation.webm"):
    assert (folder / name).stat().st_size > 10_000
  assert "DiffPose" in capsys.readouterr().out.splitlines()[-1]
  # A finished run is not trained again; the folder of data is remembered.
  monkeypatch.delenv("DIFFPOSE_DATA_ROOT")
  assert main.main(["evaluate", f"--weights={folder}", "--samples=1"]) == 0
