"""The scores of the experiments by hand, and what their plan says."""

import numpy as np
import pytest

from benchmarks.experiments import (
  page,
  plan,
  readings,
  scores,
  tables,
  training,
)
from diffpose_jax import config as config_lib
from diffpose_jax import main, verbs


def _judged(error, score, video=None):
  error = np.asarray(error, float)
  video = np.arange(len(error)) if video is None else np.asarray(video)
  return scores.Judged(error, np.asarray(score, float), video)


def test_average_precision_by_hand(monkeypatch):
  monkeypatch.setattr(scores, "LEAST", 1)
  # Ranked by score: right, wrong, right, wrong. Precision 1, 1/2, 2/3, 1/2.
  judged = _judged([[0.2], [0.9], [0.5], [0.7]], [[0.9], [0.8], [0.7], [0.1]])
  every = np.ones((4, 1), bool)
  found = scores.average_precision(judged, every)
  assert found == pytest.approx(100 * (1 + 2 / 3) / 4)
  # A score that tells right from wrong cannot be better: half are right.
  sorted_ = _judged(judged.error, -judged.error)
  assert scores.average_precision(sorted_, every) == pytest.approx(50)
  # A person who counts twice is as one more of the same score.
  twice = scores.average_precision(judged, every, np.array([1, 1, 2, 1]))
  assert twice == pytest.approx(100 * (1 + 2 * 3 / 4) / 5)
  # What is not chosen has no part.
  chosen = np.array([[True], [False], [True], [False]])
  assert scores.average_precision(judged, chosen) == pytest.approx(100)


def test_a_type_with_few_joints_is_left_out():
  error = np.full((30, 2), 0.1)
  error[:, 1] = 0.9
  judged = _judged(error, np.ones((30, 2)))
  chosen = np.ones((30, 2), bool)
  assert scores.average_precision(judged, chosen) == pytest.approx(50)
  chosen[scores.LEAST - 1 :, 1] = False
  assert scores.average_precision(judged, chosen) == pytest.approx(100)


def test_intervals_hold_the_truth_as_often_as_they_say():
  """Over many draws of 60 videos: 95 % of the intervals of a gain."""
  rng = np.random.default_rng(0)
  held, draws = 0, 60
  monkey = pytest.MonkeyPatch()
  monkey.setattr(scores, "_ROUNDS", 100)
  for _ in range(draws):
    hard = rng.uniform(0.0, 1.0, 60)  # videos differ, alike for both
    video = np.repeat(np.arange(60), 4)
    right = rng.uniform(size=(240, 1)) < 0.3 + 0.4 * hard[video][:, None]
    better = right | (rng.uniform(size=(240, 1)) < 0.2)
    score = np.ones((240, 1))
    one = _judged(np.where(right, 0.1, 0.9), score, video)
    two = _judged(np.where(better, 0.1, 0.9), score, video)
    low, high = scores.interval([two], np.ones((240, 1), bool), [one])
    # AP with equal scores is precision times recall: the share of right ones.
    truth = 100 * 0.2 * (1 - 0.5)
    held += low <= truth <= high
  monkey.undo()
  assert held >= 0.85 * draws, held


def test_auroc_by_hand():
  score = np.array([0.1, 0.4, 0.4, 0.8])
  positive = np.array([False, False, True, True])
  assert scores.auroc(score, positive) == pytest.approx(3.5 / 4)
  assert np.isnan(scores.auroc(score, np.zeros(4, bool)))


def test_a_reading_comes_back_as_it_was_written(tmp_path):
  rng = np.random.default_rng(0)
  error, score = rng.uniform(size=(2, 5, 3)).astype(np.float32)
  reading = readings.Reading(
    found={(2, "mean4"): (error, score), (1, "sample0"): (score, error)},
    spread={2: error},
    first={2: error[:, 0]},
    video=np.arange(5),
    cuts={"all": error > 0.3},
  )
  readings.save(reading, tmp_path / "a" / "b.npz")
  found = readings.load(tmp_path / "a" / "b.npz")
  assert found.found.keys() == reading.found.keys()
  for key, pair in reading.found.items():
    np.testing.assert_array_equal(found.found[key], pair)
  np.testing.assert_array_equal(found.spread[2], error)
  np.testing.assert_array_equal(found.first[2], error[:, 0])
  np.testing.assert_array_equal(found.cuts["all"], error > 0.3)
  judged = found.judged(2, "mean4")
  np.testing.assert_array_equal(judged.error, error)
  assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.npz"]


def test_merged_joints_by_hand():
  where = np.array([0.0, 1.0, 5.0, 2.0], np.float32)
  joints = {
    (3, f"sample{i}"): (np.full((1, 1, 2), x), np.full((1, 1), 0.1 * i))
    for i, x in enumerate(where)
  }
  readings._merge_joints(joints, 3, 4)
  np.testing.assert_allclose(joints[3, "joints4"][0], 2.0)
  np.testing.assert_allclose(joints[3, "joints2"][0], 0.5)
  # Distances to the others: 8, 6, 12, 6; the first of equals.
  np.testing.assert_allclose(joints[3, "medoid4"][0], 1.0)
  np.testing.assert_allclose(joints[3, "medoid4"][1], 0.15)


def test_the_page_is_that_of_the_stored_results():
  assert page.results(tables.FOLDER), "benchmarks/results/experiments is empty"
  assert page.PAGE.read_text() == page.page(tables.FOLDER), (
    "python -m benchmarks.experiments.page writes it anew"
  )
  for content in page.results(tables.FOLDER):
    assert (page.PLOTS / f"{content['name']}.svg").is_file()


@pytest.mark.parametrize("name", plan.EXPERIMENTS)
def test_every_training_of_the_plan_can_work(name):
  """Its config is one that training takes, and differs as its row says."""
  experiment = plan.EXPERIMENTS[name]
  assert experiment.reference in experiment.rows
  names = set()
  for row, changes in experiment.rows.items():
    runs = experiment.runs(row)
    assert len(runs) == experiment.seeds
    for run in runs:
      config = main.parse(
        "train",
        verbs.VERBS["train"],
        [f"--config={training.REPO}/configs/{plan.CONFIG[run.data]}.py"],
      )["config"]
      config.update_from_flattened_dict(run.values)
      config_lib.check(config)
      flat = config_lib._flatten(config.to_dict())
      if run.distilled is None:
        assert {key: flat[key] for key in changes} == changes
      names.add(run.name)
  assert len(names) == experiment.seeds * len(experiment.rows)


def test_a_student_has_a_teacher_that_is_trained_first(tmp_path, monkeypatch):
  [student] = plan.EXPERIMENTS["distilled"].runs("distilled")
  [teacher] = plan.EXPERIMENTS["sampling-paper"].runs("self_aligned 0")
  assert student.distilled == (teacher, 300)
  words = training.words(student, tmp_path / student.name, [], [1])
  assert words[0] == "distill"
  given = main.parse("distill", verbs.VERBS["distill"], words[1:])
  assert given["weights"] == tmp_path / teacher.name
  assert given["iterations"] == 300
  done = []
  monkeypatch.setattr(training, "_train", lambda run, *_: done.append(run))
  training.train([student], tmp_path, [], jobs=1)
  assert done == [teacher, student]
