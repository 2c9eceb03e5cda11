"""What lies in a folder of checkpoints: steps, leftovers, quarantine."""

import pytest
from absl import logging

from diffpose_jax.weights import seal, steps


def _step(folder, number, quality=None, *, sealed=True):
  """A step's folder as it looks; nothing could be restored from it."""
  place = folder / str(number)
  (place / "state").mkdir(parents=True)
  (place / "_CHECKPOINT_METADATA").write_text("{}")
  (place / "state" / "data").write_text(str(number))
  if sealed:
    seal.write(place, step=number, quality=quality, about={}, leaves={})


def _names(folder):
  return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def said(monkeypatch):
  """The warnings."""
  lines = []
  monkeypatch.setattr(
    logging, "warning", lambda text, *values: lines.append(text % values)
  )
  return lines


def test_steps_are_sealed_numbers(tmp_path):
  assert steps.usable(tmp_path / "none") == []
  for number in (10, 9, 2):
    _step(tmp_path, number)
  _step(tmp_path, 11, sealed=False)
  (tmp_path / "012").mkdir()
  (tmp_path / "13").write_text("")
  (tmp_path / "x").mkdir()
  assert steps.usable(tmp_path) == [2, 9, 10]


def test_leftovers_go_and_the_rest_is_told(tmp_path, said):
  _step(tmp_path, 3)
  for name in (
    "4.diffpose-writing",
    "2.diffpose-removed",
    "5.orbax-checkpoint-tmp-1",
  ):
    (tmp_path / name / "state").mkdir(parents=True)
    (tmp_path / name / "state" / "data").write_text("x")
  (tmp_path / "5").mkdir()
  _step(tmp_path, 7, sealed=False)
  (tmp_path / "8").write_text("a file")
  (tmp_path / "notes.txt").write_text("mine")
  (tmp_path / "3.old").mkdir()
  steps.tidy(tmp_path)
  assert _names(tmp_path) == ["3", "3.old", "notes.txt", "quarantine"]
  assert steps.quarantined(tmp_path) == ["7-0", "8-0"]
  assert (tmp_path / "quarantine" / "8-0").read_text() == "a file"
  for name in ("4.diffpose-writing", "/5: an empty", "7: no whole", "8: no"):
    assert sum(name in line for line in said) == 1, name
  assert said[-1] == f"{tmp_path}: ignored: 3.old, notes.txt"
  said.clear()
  steps.tidy(tmp_path)
  assert said == [f"{tmp_path}: ignored: 3.old, notes.txt"]


def test_empty_folders_may_be_all_that_is_left_of_a_run(tmp_path, said):
  (tmp_path / "5").mkdir()
  (tmp_path / "6").mkdir()
  steps.tidy(tmp_path)
  assert steps.quarantined(tmp_path) == ["5-0", "6-0"]
  assert ["no whole checkpoint; moved" in line for line in said] == [True] * 2


def test_a_damaged_manifest_is_no_missing_one(tmp_path, said):
  _step(tmp_path, 3)
  (tmp_path / "3" / seal.NAME).write_text("{}")
  steps.tidy(tmp_path)
  assert steps.usable(tmp_path) == [3] and said == []


def test_quarantine_keeps_all(tmp_path):
  for number in range(3):
    _step(tmp_path, 6)
    moved = steps.quarantine(tmp_path, 6)
    assert moved == tmp_path / "quarantine" / f"6-{number}"
    assert (moved / "state" / "data").read_text() == "6"
  assert steps.usable(tmp_path) == []


@pytest.mark.parametrize(
  ("qualities", "kept"),
  [
    ([0.1, 0.2, 0.3], ["3"]),
    ([0.3, 0.2, 0.1], ["1", "3"]),
    ([None, 0.0, None], ["2", "3"]),
    ([None, None, None], ["3"]),
    ([0.5, 0.5, 0.1], ["2", "3"]),
  ],
)
def test_the_newest_and_the_best_stay(tmp_path, qualities, kept):
  for number, quality in enumerate(qualities, start=1):
    _step(tmp_path, number, quality)
  steps.drop_unneeded(tmp_path)
  assert _names(tmp_path) == kept


def test_nothing_goes_that_is_not_known_to_be_superseded(tmp_path, said):
  for number in (1, 2, 3):
    _step(tmp_path, number, 0.5)
  for number in (1, 3):
    (tmp_path / str(number) / seal.NAME).write_text("{}")
  steps.drop_unneeded(tmp_path)
  assert _names(tmp_path) == ["1", "2", "3"] and len(said) == 2


def test_only_the_failed_step_is_discarded(tmp_path):
  _step(tmp_path, 3)
  for name in ("4.diffpose-writing", "41.diffpose-writing"):
    (tmp_path / name).mkdir()
  steps.discard(tmp_path, 4)
  assert _names(tmp_path) == ["3", "41.diffpose-writing"]
