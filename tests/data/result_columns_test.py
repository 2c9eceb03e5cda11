import dataclasses

import numpy as np
import pytest

from diffpose_jax.data import result_columns


def arrays(recorded, frames=None, members=5):
  """All columns and constants, as a reader finds them."""
  frames = recorded.frames if frames is None else frames
  columns = result_columns.columns(recorded.head, members)
  parts = list(result_columns.rows(recorded.head, frames, columns))
  found = {
    column.name: np.concatenate([part[column.name] for part in parts])
    for column in columns
  }
  return found | result_columns.constants(recorded.head, "f")


def test_each_column_has_its_rows(recorded):
  found = arrays(recorded)
  assert found["frame"].tolist() == list(range(7))
  assert found["person_frame"].tolist() == [1, 1, 3, 4, 4, 4, 5]
  assert found["track_id"].tolist() == [4, -1, 4, 4, -1, 11, 4]
  assert found["joints_px"].shape == (7, 17, 2)
  assert np.isnan(found["joints_px"][:, 3:5]).all()
  assert np.isnan(found["covariance_px2"][5]).all()  # of the third of frame 4
  np.testing.assert_array_equal(
    found["samples_px"][2], recorded.frames[3].people[0].samples
  )
  # The left wrist of each of the seven has two modes.
  assert found["mode_person"].tolist() == np.repeat(range(7), 2).tolist()
  assert set(found["mode_joint"]) == {9}
  np.testing.assert_allclose(found["mode_share"], [0.6, 0.4] * 7, rtol=1e-6)
  for name, column in found.items():
    if name.endswith("_px"):
      assert column.dtype == np.float32


def test_poses_come_back(recorded):
  head, frames = result_columns.read(arrays(recorded), "f")
  assert head == recorded.head
  recorded.check(frames)


def test_many_frames_are_given_in_parts(recorded):
  frames = [
    dataclasses.replace(recorded.frames[i % 7], image_id=i) for i in range(131)
  ]
  columns = result_columns.columns(recorded.head, 0)
  parts = list(result_columns.rows(recorded.head, frames, columns))
  assert [len(part["frame"]) for part in parts] == [64, 64, 3]
  _, got = result_columns.read(arrays(recorded, frames), "f")
  assert [len(f.people) for f in got] == [len(f.people) for f in frames]
  assert [f.image_id for f in got] == list(range(131))


def test_nobody_at_all(recorded):
  for frames in ((), recorded.frames[:1]):
    _, got = result_columns.read(arrays(recorded, frames, 0), "f")
    assert len(got) == len(frames)


def test_samples_are_of_everybody_and_as_many(recorded):
  assert result_columns.members(recorded.frames) == 5
  assert result_columns.members(()) == 0
  frame = recorded.frames[4]

  def of(*samples):
    people = [
      dataclasses.replace(person, samples=some)
      for person, some in zip(frame.people, samples, strict=True)
    ]
    return [dataclasses.replace(frame, people=tuple(people))]

  some = frame.people[0].samples
  assert result_columns.members(of(some, None, some)) == 0
  with pytest.raises(ValueError, match="people have 3 and 5 samples; .*withou"):
    result_columns.members(of(some, some[:3], some))


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda a: a.pop("head"), "f: no 'head' in it"),
    (lambda a: a.update(head="{"), "f: head: not JSON"),
    (lambda a: a.pop("score"), "f: score is not there, and must have rows of"),
    (
      lambda a: a.update(score=a["score"][:, :5]),
      r"score is of shape \(7, 5\)",
    ),
    (
      lambda a: a.update(score=a["score"][:5]),
      "score has 5 rows, person_frame",
    ),
    (lambda a: a["person_frame"].fill(7), "frames that are not there"),
  ],
)
def test_arrays_that_do_not_fit_are_refused(recorded, change, message):
  found = arrays(recorded)
  change(found)
  with pytest.raises(ValueError, match=message):
    result_columns.read(found, "f")
