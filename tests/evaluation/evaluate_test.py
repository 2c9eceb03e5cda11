"""The verb: weights or files, boxes of both kinds, and what is missing."""

import json
import shutil

import cv2
import jax
import numpy as np
import pytest
import tiny

from diffpose_jax import main
from diffpose_jax.data import annotations, manifest, prepare, prepared
from diffpose_jax.data import instances as instances_lib
from diffpose_jax.evaluation import evaluate, registry, verb
from diffpose_jax.evaluation import protocol as protocol_lib
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import network
from diffpose_jax.inference import poses as poses_lib
from diffpose_jax.inference import sampling as sampling_lib
from diffpose_jax.inference import workdir as run_folder
from diffpose_jax.pose import geometry
from diffpose_jax.pose.skeleton import POSETRACK
from diffpose_jax.weights import checkpoint

K = len(POSETRACK.joints)
PICTURE = (60, 83)  # (height, width)

LABELS = "subset of 2 videos (74 in PoseTrack18 v0.2, 170 in PoseTrack18 v0.45)"


def _write(root, split, videos, *, frames=3):
  """A split with two people a frame; the last frame of each is unlabelled."""
  rng = np.random.default_rng(len(videos))
  known = np.ones(K, np.bool_)
  known[[POSETRACK.index("left_ear"), POSETRACK.index("right_ear")]] = False
  for name in videos:
    (root / "images" / split / name).mkdir(parents=True)
    listed = []
    for i in range(frames):
      file_name = f"images/{split}/{name}/{i:06d}.jpg"
      picture = rng.integers(0, 256, (*PICTURE, 3), np.uint8)
      cv2.imwrite(str(root / file_name), picture)
      people = []
      for track, left in enumerate((5, 41)):
        joints = rng.uniform([left, 9], [left + 31, 52], (K, 2))
        box = np.array([left, 9, left + 31, 52], np.float32)
        head_box = np.array([left, 9, left + 9, 21], np.float32)
        people.append(
          annotations.Person(
            box=box,
            joints=np.where(known[:, None], joints, 0).astype(np.float32),
            labelled=known,
            track_id=track,
            head_box=head_box,
          )
        )
      labelled = i < frames - 1
      listed.append(
        annotations.Frame(
          file_name=file_name,
          image_id=1000 * len(videos) + 10 * videos.index(name) + i,
          labelled=labelled,
          people=tuple(people) if labelled else (),
          height=PICTURE[0],
          width=PICTURE[1],
        )
      )
    annotations.write_video(
      root / "annotations" / split / f"{name}.json",
      annotations.Video(name, tuple(listed)),
      skeleton=POSETRACK,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  """PoseTrack18's layout: train 1 video, val 2 videos of 2 + 1 frames."""
  folder = tmp_path_factory.mktemp("small")
  _write(folder, "train", ["000001_train"])
  _write(folder, "val", ["000002_val", "000003_val"])
  return folder


def _config(root):
  config = tiny.config(data__root=str(root), data__threads=1)
  config.evaluate.batch = 8
  config.evaluate.steps = 2
  config.evaluate.samples = 2
  return config


@pytest.fixture(scope="module")
def workdir(root, tmp_path_factory):
  """A run of random weights."""
  folder = tmp_path_factory.mktemp("run")
  config = _config(root)
  init = jax.jit(lambda key: network.init_params(config, POSETRACK, key))
  params = jax.tree.map(
    lambda v: v + 0.02 * jax.random.normal(jax.random.key(v.size), v.shape),
    init(jax.random.key(0)),
  )
  checkpoints = checkpoint.Checkpoints(folder)
  checkpoints.save({"ema": params}, 3, 0.0)
  checkpoints.close()
  run_folder.save(folder, config, POSETRACK)
  return folder


def _detections(path, root):
  """Three boxes of labelled frames, one too weak, one of no known picture."""
  names = [
    (f"images/val/{video}/{frame:06d}.jpg", score)
    for video, frame, score in (
      ("000002_val", 0, 0.9),
      ("000002_val", 2, 0.8),  # of the unlabelled frame
      ("000003_val", 0, 0.7),
      ("000003_val", 1, 0.5),
      ("000003_val", 1, 0.4),
      ("000009_val", 1, 0.9),
    )
  ]
  boxes = [
    {"image_name": name, "bbox": [5, 9, 31, 43], "score": score}
    for name, score in names
  ]
  path.write_text(json.dumps(boxes))
  return path


class Oracle(estimator_lib.Estimator):
  """Knows where everybody is; `shift` crop pixels off, if wanted."""

  def __init__(self, config, people, shift=0.0):
    self.config = config
    self.options = sampling_lib.Options(4, 1, False, 0, 0.0)
    self._people = people
    self._joints = geometry.apply(
      instances_lib.crop_affines(people, config),
      people.joints.astype(np.float64),
    )
    self._joints += shift
    self._done = 0

  @property
  def rows(self):
    return list(range(self.config.evaluate.batch))

  def protocol(self):
    return {"steps": self.options.steps}

  def __call__(self, frames, noise_id):
    rows = np.arange(self._done, self._done + len(frames)) % len(self._joints)
    self._done += len(frames)
    joints = self._joints[rows].astype(np.float32)
    score = np.full((len(frames), K), 0.5, np.float32)
    shape = np.zeros((*joints.shape, 2), np.float32)
    return poses_lib.Poses(joints, score, joints[None], shape)


@pytest.fixture(scope="module")
def val(root, tmp_path_factory):
  """The validation split, prepared."""
  out = tmp_path_factory.mktemp("prepared") / "data"
  prepare.prepare(dataset="posetrack18", source=root, out=out)
  return prepared.open_split(out, "val", skeleton=POSETRACK)


def test_who_knows_the_truth_scores_100(root, val):
  config = _config(root)
  people = instances_lib.gt_instances(val, need_joints=False)
  assert len(people) == 8
  run = evaluate.evaluate_split(Oracle(config, people), val, config)
  assert set(run.result["ap"].values()) == {100}
  assert run.result["pck_box"]["all"] == {"0.05": 1, "0.1": 1, "0.2": 1}
  assert run.result["protocol"] == {
    "data": "posetrack18",
    "split": "val",
    "labels": LABELS,
    "videos": 2,
    "frames": 4,
    "people": 8,
    "measure": {n: registry.load(n).ABOUT for n in evaluate.METRICS},
    "poseval_compatible": True,
    "posetrack21_compatible": False,
    "boxes": "ground truth",
    "steps": 4,
    "code_version": protocol_lib.code_version(),
  }
  # The crop is 1.25 * 43 pixels high: 5 of its 32 are 8.4, across 11.9.
  off = evaluate.evaluate_split(Oracle(config, people, 5), val, config)
  assert off.result["pck_box"]["all"] == {"0.05": 0, "0.1": 0, "0.2": 0}
  near = evaluate.evaluate_split(Oracle(config, people, 1), val, config)
  # 1.68 across 2.38 pixels of 43.
  assert near.result["pck_box"]["all"] == {"0.05": 0, "0.1": 1, "0.2": 1}


def test_detections_of_labelled_frames_are_evaluated(root, val, tmp_path):
  config = _config(root)
  config.evaluate.boxes = str(_detections(tmp_path / "found.json", root))
  config.evaluate.box_threshold = 0.45
  people, protocol = evaluate.choose_people(
    val, prepared.to_videos(val), config
  )
  np.testing.assert_allclose(people.score, [0.9, 0.7, 0.5])
  names = [val.frames.file_name[row][-21:] for row in people.row]
  assert names == [
    "000002_val/000000.jpg",
    "000003_val/000000.jpg",
    "000003_val/000001.jpg",
  ]
  np.testing.assert_array_equal(people.box, [[5, 9, 36, 52]] * 3)
  assert protocol == {
    "boxes": "detections of found.json",
    "boxes_sha256": manifest.digest(tmp_path / "found.json"),
    "box_threshold": 0.45,
    "boxes_below_threshold": 1,
    "boxes_of_other_images": 1,
  }
  run = evaluate.evaluate_split(Oracle(config, people), val, config)
  assert run.result["protocol"]["people"] == 3
  assert "pck_box" not in run.result
  # Heatmap peak times box score, in the file that goes on to the metrics.
  np.testing.assert_allclose(run.estimates.score[:, 0], [0.45, 0.35, 0.25])


def _evaluate(*flags):
  return main.main(["evaluate", *flags])


def _in_range(result):
  for table in ("ap", "ap_groups", "precision", "recall"):
    for value in result[table].values():
      assert 0 <= value <= 100


def test_weights_with_ground_truth_boxes(workdir, tmp_path, capsys):
  out = tmp_path / "new" / "out.json"
  assert _evaluate(f"--weights={workdir}", f"--out={out}") == 0
  result = json.loads(out.read_text())
  _in_range(result)
  protocol = result["protocol"]
  assert len(protocol.pop("weights_sha256")) == 64
  assert protocol == {
    "data": "posetrack18",
    "split": "val",
    "labels": LABELS,
    "videos": 2,
    "frames": 4,
    "people": 8,
    "measure": {n: registry.load(n).ABOUT for n in evaluate.METRICS},
    "poseval_compatible": True,
    "posetrack21_compatible": False,
    "boxes": "ground truth",
    "steps": 2,
    "samples": 2,
    "flip": False,
    "seed": 0,
    "eta": 0.0,
    "solver": "ddim",
    "adaptive": 0.0,
    "decode": "refine",
    "dtype": "float32",
    "training_step": 3,
    "code_version": protocol_lib.code_version(),
  }
  printed = capsys.readouterr().out
  assert "DiffPose 2 steps x 2 samples" in printed
  assert f"written: {out}" in printed
  assert "PCK" in printed


def test_weights_with_detections(workdir, root, tmp_path, capsys):
  boxes = _detections(tmp_path / "found.json", root)
  flags = (f"--weights={workdir}", f"--boxes={boxes}", "--box-threshold=0.6")
  assert _evaluate(*flags, "--steps=1", "--seed=9") == 0
  result = json.loads((workdir / "evaluation-val.json").read_text())
  _in_range(result)
  assert not {"pck_box", "pck_head"} & result.keys()
  expected = {
    "boxes": "detections of found.json",
    "box_threshold": 0.6,
    "boxes_below_threshold": 2,
    "boxes_of_other_images": 1,
    "people": 2,
    "steps": 1,
    "samples": 2,
    "seed": 9,
  }
  assert expected.items() <= result["protocol"].items()
  assert "PCK DiffPose" not in capsys.readouterr().out


def test_weights_with_stored_detections(workdir, root, tmp_path, capsys):
  """The result is that of the file, but for its name's sake nothing is lost."""
  boxes = _detections(tmp_path / "found.json", root)
  data = f"--out={workdir / 'data'}"
  given = (f"--weights={workdir}", "--steps=1", "--box-threshold=0.45")
  results = []
  for source in (str(boxes), "prepared"):
    if source == "prepared":
      line = _refused(capsys, *given, "--boxes=prepared")
      assert "no boxes are stored here; store them with: prepare" in line
      flags = ("--dataset=posetrack18", f"--source={root}", data)
      assert main.main(["prepare", *flags, f"--boxes={boxes}"]) == 0
      boxes.unlink()
    out = tmp_path / f"{len(results)}.json"
    assert _evaluate(*given, f"--boxes={source}", f"--out={out}") == 0
    results.append(json.loads(out.read_text()))
  assert results[0] == results[1]
  assert results[1]["protocol"]["boxes"] == "detections of found.json"
  assert results[1]["protocol"]["people"] == 3
  line = _refused(capsys, *given, "--boxes=prepared", "--split=train")
  assert "found.json are of val, none of split 'train'" in line


def test_another_root_and_split(workdir, root, tmp_path, monkeypatch):
  """Also where the run was trained on synthetic people."""
  other = tmp_path / "other"
  _write(other, "test", ["000007_test"], frames=4)
  trained = tmp_path / "run"
  trained.mkdir()
  config = _config("")
  config.data.name = "synthetic"
  run_folder.save(trained, config, POSETRACK)
  (trained / "checkpoints").symlink_to(workdir / "checkpoints")
  flags = (f"--weights={trained}", f"--root={other}")
  assert _evaluate(*flags, "--split=test") == 0
  result = json.loads((trained / "evaluation-test.json").read_text())
  assert {"data": "other", "split": "test", "people": 6}.items() <= (
    result["protocol"].items()
  )
  assert not (trained / "data").exists()
  assert sorted(p.name for p in other.iterdir()) == ["annotations", "images"]
  with pytest.raises(ValueError, match="no split 'val'; there is test"):
    verb.main(weights=trained, root=other)


def test_a_still_video_has_one_pose_and_the_same_again(workdir, tmp_path):
  """Noise is of the track, not of the frame: stillness does not jitter."""
  still = tmp_path / "still"
  _write(still, "val", ["000004_val"], frames=6)
  first, *others = sorted((still / "images").rglob("*.jpg"))
  for path in others:
    path.write_bytes(first.read_bytes())
  flags = (f"--weights={workdir}", f"--root={still}")
  dumps = [tmp_path / "a", tmp_path / "b"]
  for dump in dumps:
    out = f"--out={dump}.json"
    assert _evaluate(*flags, f"--dump={dump}", out) == 0
  texts = [(dump / "000004_val.json").read_text() for dump in dumps]
  assert texts[0] == texts[1]
  found = json.loads(texts[0])
  assert found["protocol"]["boxes"] == "ground truth"
  poses = {}
  for person in found["annotations"]:
    poses.setdefault(person["track_id"], []).append(
      (person["keypoints"], person["scores"])
    )
  assert {len(track) for track in poses.values()} == {5}
  for track in poses.values():
    assert all(pose == track[0] for pose in track)
  assert poses[0][0] != poses[1][0]
  results = [json.loads((tmp_path / f"{n}.json").read_text()) for n in "ab"]
  assert results[0] == results[1]


def test_pck_of_which_nothing_is_known_is_not_printed(capsys):
  """By head, where nobody has a head box."""
  known = {"all": {"0.05": None, "0.1": 0.25}}
  evaluate.print_pck(
    {"a": {"pck_box": known, "pck_head": {"all": {"0.5": None}}}}
  )
  assert capsys.readouterr().out == "PCK a, all, by box: @0.05 -  @0.1 0.250\n"


def test_uncertainty_is_calibrated_beside_the_weights(
  workdir, tmp_path, capsys
):
  """And used for this way of sampling alone; the checkpoint stays."""
  root = tmp_path / "many"
  _write(root, "val", [f"{i:06d}_val" for i in range(11, 19)], frames=5)
  run = tmp_path / "run"
  shutil.copytree(workdir, run, ignore=shutil.ignore_patterns("data*"))
  kept = (run / "checkpoints").rglob("*")
  before = {path: path.read_bytes() for path in kept if path.is_file()}
  flags = (f"--weights={run}", f"--root={root}")
  assert _evaluate(*flags) == 0
  result = json.loads((run / "evaluation-val.json").read_text())
  assert result["uncertainty"]["calibration"] is None
  # 8 videos of 4 labelled frames with 2 people of 15 joints.
  assert result["uncertainty"]["joints"] == 8 * 4 * 2 * 15
  assert main.main(["calibrate", *flags]) == 0
  printed = capsys.readouterr().out
  assert "samples, calibrated" in printed and "chosen: " in printed
  content = json.loads((run / "calibration.json").read_text())
  assert set(content["factors"]) == {"samples", "heatmap", "both"}
  assert content["fitted_on"]["joints"] == 960
  assert content["weights_sha256"] == result["protocol"]["weights_sha256"]
  assert all(path.read_bytes() == data for path, data in before.items())
  page, dump = tmp_path / "new" / "report.html", tmp_path / "poses"
  more = (f"--report={page}", f"--dump={dump}")
  assert _evaluate(*flags, "--metrics=ap", *more) == 0
  written = json.loads((dump / "000011_val.json").read_text())
  assert written["protocol"]["uncertainty"].startswith("calibrated, from ")
  for person in written["annotations"]:
    assert [len(row) for row in person["uncertainty"]["scale"]] == [3] * K
    assert all(0 <= p <= 1 for p in person["uncertainty"]["within"])
  text = page.read_text()
  for words in (
    "both, calibrated",
    "spread quarter 4 (240 joints)",
    "Reliability",
    "Most uncertain",
    "No published rows are shown",
  ):
    assert words in text
  result = json.loads((run / "evaluation-val.json").read_text())
  found = result["uncertainty"]
  assert found["calibration"] == content["best"]
  assert result["warnings"] == [
    "uncertainty is judged on the split that it was fitted on"
  ]
  for method, scores in found["calibrated"].items():
    assert scores["nll"] < found["raw"][method]["nll"]
    assert sum(scores["reliability"]["count"]) == 960
  quarters = [f"spread quarter {i}" for i in range(1, 5)]
  assert [found["breakdown"][q]["count"] for q in quarters] == [240] * 4
  assert _evaluate(*flags, "--metrics=ap", "--steps=1") == 0
  result = json.loads((run / "evaluation-val.json").read_text())
  (warning,) = result["warnings"]
  assert "fitted with steps 2, not 1" in warning
  assert result["uncertainty"]["calibration"] is None


def test_calibration_needs_labels_enough_and_true_boxes(
  workdir, root, tmp_path, capsys
):
  assert main.main(["calibrate", f"--weights={workdir}"]) == 2
  assert (
    "labelled joints in one half of its 2 videos" in capsys.readouterr().err
  )
  boxes = _detections(tmp_path / "found.json", root)
  flags = (f"--weights={workdir}", f"--boxes={boxes}")
  assert main.main(["calibrate", *flags]) == 2
  assert "detections have no truth of their own" in capsys.readouterr().err


def _refused(capsys, *flags):
  capsys.readouterr()
  assert _evaluate(*flags) == 2
  lines = capsys.readouterr().err.splitlines()
  # The first test of a process prepares the data, which shows its progress.
  (line,) = [line for line in lines if line and "frames/s" not in line]
  assert line.startswith("diffpose_jax: error: ")
  return line


def test_what_is_missing_is_named(workdir, tmp_path, capsys):
  line = _refused(capsys, f"--weights={tmp_path / 'nowhere'}")
  assert "nowhere: no weights here" in line
  line = _refused(capsys, f"--weights={workdir}", "--split=trial")
  assert "no split 'trial'; there is train, val" in line
  boxes = tmp_path / "absent.json"
  line = _refused(capsys, f"--weights={workdir}", f"--boxes={boxes}")
  assert "absent.json: no such file" in line
  root = tmp_path / "no_data"
  line = _refused(capsys, f"--weights={workdir}", f"--root={root}")
  assert "no_data does not exist" in line


def test_nobody_above_the_threshold_is_said(workdir, root, tmp_path, capsys):
  boxes = _detections(tmp_path / "found.json", root)
  flags = (f"--weights={workdir}", f"--boxes={boxes}", "--box-threshold=0.95")
  assert "no people to evaluate" in _refused(capsys, *flags)


def test_files_agree_with_poseval(shared_data, tmp_path):
  folder = shared_data / "poseval_reference"
  out = tmp_path / "out.json"
  flags = (f"--gt={folder / 'gt'}", f"--pred={folder / 'pred'}")
  assert _evaluate(*flags, f"--out={out}") == 0
  found = json.loads(out.read_text())
  expected = json.loads((folder / "expected.json").read_text())
  for table in ("ap", "ap_groups", "precision", "recall"):
    assert found[table] == pytest.approx(expected[table], abs=1e-6)


def test_the_end_of_a_run(workdir, root, capsys):
  """Numbers beside the mean pose's, a report and a video; the model last."""
  config = _config(root)
  data = prepare.ensure(config, workdir)
  (workdir / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
  result = evaluate.finish(config, workdir, data)
  assert json.loads((workdir / "evaluation.json").read_text()) == result
  for part in (result, result["mean_pose"]):
    _in_range(part)
  assert result["protocol"]["boxes"] == "ground truth"
  printed = capsys.readouterr().out.splitlines()
  assert printed[-1].startswith("DiffPose 2 steps x 2 samples")
  assert printed[-2].startswith("mean pose")
  # Two best, two median and two worst of eight people, and all eight by their
  # spread; of the first frames the one after, of the second both beside.
  shown = (workdir / "report.html").read_text().count("<img")
  assert 4 * 2 + 4 * 3 + 6 * 2 <= shown <= 4 * 2 + 4 * 3 + 6 * 3
  capture = cv2.VideoCapture(str(workdir / "validation.webm"))
  frames = 0
  while capture.grab():
    frames += 1
  assert frames == 6


def test_a_video_that_is_drawn_shows_every_person(root, val, tmp_path):
  config = _config(root)
  people = instances_lib.gt_instances(val, need_joints=False)
  run = evaluate.evaluate_split(Oracle(config, people), val, config)
  evaluate.annotate(run, tmp_path / "v.webm")
  capture = cv2.VideoCapture(str(tmp_path / "v.webm"))
  _, drawn = capture.read()
  plain = cv2.imdecode(np.frombuffer(val.jpeg(0), np.uint8), cv2.IMREAD_COLOR)
  assert drawn.shape == (60, 84, 3)  # odd sizes get one more column
  change = np.abs(drawn[:, :83].astype(int) - plain).mean(axis=2)
  for joint in people.joints[0][5:]:
    x, y = joint.round().astype(int)
    assert change[y - 1 : y + 2, x - 1 : x + 2].mean() > 30
