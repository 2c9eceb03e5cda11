"""What is said of outputs is true, and holds only for those."""

import dataclasses
import json
import os

import numpy as np
import pytest

from diffpose_jax.data import annotations, sources, video
from diffpose_jax.inference import flow, outputs
from diffpose_jax.inference import stages as stages_lib
from diffpose_jax.pose.skeleton import POSETRACK


def _person(track):
  return annotations.Person(
    box=np.array([20, 30, 90, 160], np.float32),
    joints=np.full((17, 2), 60 + track, np.float32),
    labelled=np.isin(np.arange(17), POSETRACK.evaluated),
    track_id=track,
    scores=np.full(17, 0.5, np.float32),
    box_score=0.75,
    scale=np.tile(np.eye(2), (17, 1, 1)),
  )


@pytest.fixture
def written(dots, tmp_path):
  """What `write` gives of five frames with 0, 1, 2, 0, 1 people."""
  job = dots.job([], name="walk")
  stages = stages_lib.Stages()

  def frames():
    for index, tracks in enumerate([[], [3], [-1, 3], [], [7]]):
      people = [_person(track) for track in tracks]
      picture = dots.frame(index)
      yield flow.Shown(
        *(job, index, index / 10, dots.SIZE, picture), people=people
      )

  output = outputs.write(
    job,
    frames(),
    tmp_path / "out",
    skeleton=POSETRACK,
    protocol={"steps": 4},
    stages=stages,
  )
  return output, stages


def test_what_is_written_is_counted(written):
  output, stages = written
  # Nobody is counted among the identities.
  assert (output.frames, output.people, output.tracks) == (5, 4, 2)
  content = json.loads(output.poses.read_text())
  assert content["protocol"] == {"steps": 4}
  people = [a["image_id"] for a in content["annotations"]]
  assert people == [1, 2, 2, 4]
  assert video.count(output.video) == 5
  assert {"drawing", "encoding", "writing"} <= set(stages.wall)
  names = sorted(path.name for path in output.poses.parent.iterdir())
  assert names == ["walk.json", "walk.webm"]
  assert str(output).startswith("4 people in 5 frames, 2 identities\nposes: ")
  assert output.jitter is None  # nobody is there three times in a row
  known = dataclasses.replace(output, jitter=0.0123)
  said = "2 identities, jitter 12.3 ‰ of their size a frame²\nposes:"
  assert said in str(known)


def test_outputs_are_recalled_while_they_are_what_was_written(written):
  output, _ = written
  out = output.poses.parent
  record = json.loads(json.dumps(output.record() | {"more": 1}))
  assert outputs.recalled(record, out) == output
  os.utime(output.video, ns=(1, 1))
  assert outputs.recalled(record, out) is None
  record = output.record()
  output.poses.write_text(output.poses.read_text() + " ")
  assert outputs.recalled(record, out) is None
  record = output.record()
  assert outputs.recalled(record, out) == output
  output.poses.unlink()
  assert outputs.recalled(record, out) is None


def test_nothing_is_written_of_frames_that_end_in_an_error(dots, tmp_path):
  def frames():
    yield flow.Shown(dots.job([]), 0, 0.0, dots.SIZE, dots.frame(0))
    raise ValueError("damaged")

  with pytest.raises(ValueError, match="damaged"):
    outputs.write(
      dots.job([]),
      frames(),
      tmp_path / "out",
      skeleton=POSETRACK,
      protocol={},
      stages=stages_lib.Stages(),
    )
  assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["walk.webm", "walk.json"])
def test_what_is_given_is_not_overwritten(tmp_path, name):
  source = sources.Source("walk", tmp_path / "walk.webm")
  elsewhere = sources.Source("run", tmp_path / "run.webm")
  given = tmp_path / "sub" / ".." / name
  with pytest.raises(ValueError, match=f"{name}: would be overwritten"):
    outputs.check_not_overwritten(given, [elsewhere, source], tmp_path)
  outputs.check_not_overwritten(given, [elsewhere], tmp_path)
  outputs.check_not_overwritten(given, [source], tmp_path / "other")
