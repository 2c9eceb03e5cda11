import json

import numpy as np

from diffpose_jax.data import annotations, result_posetrack, results
from diffpose_jax.pose import skeleton


def test_it_is_what_evaluators_are_given_otherwise(tmp_path, recorded):
  """The same bytes as of a whole video at once."""
  path = tmp_path / "one" / "walk é.json"
  result_posetrack.write(path, recorded.head, recorded.frames)
  [other] = results.write_posetrack(
    tmp_path / "two",
    [annotations.Video("walk é", recorded.frames)],
    skeleton=skeleton.POSETRACK,
    protocol=recorded.head.protocol,
  )
  assert path.read_bytes() == other.read_bytes()
  assert json.loads(path.read_text())["protocol"] == recorded.head.protocol


def test_joints_scores_and_identities_come_back(tmp_path, recorded):
  path = tmp_path / "walk.json"
  result_posetrack.write(path, recorded.head, recorded.frames)
  read = annotations.read_video(
    path, skeleton=skeleton.POSETRACK, style="results"
  )
  for got, want in zip(read.frames, recorded.frames, strict=True):
    assert (got.image_id, got.time) == (want.image_id, want.time)
    assert len(got.people) == len(want.people)
    for a, b in zip(got.people, want.people, strict=True):
      assert (a.track_id, a.box_score) == (b.track_id, b.box_score)
      np.testing.assert_array_equal(a.joints[b.labelled], b.joints[b.labelled])
      np.testing.assert_array_equal(a.scores, b.scores)
      np.testing.assert_array_equal(a.box, b.box)
