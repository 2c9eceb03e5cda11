import dataclasses
import json
import math

import numpy as np
import pytest

from diffpose_jax.data import poses


def test_a_head_comes_back_from_json(recorded):
  head = recorded.head
  record = json.loads(json.dumps(poses.record_of(head, "f")))
  assert poses.of_record(record, "f") == head
  assert record["skeleton"]["pairs"][1] == ["left_shoulder", "right_shoulder"]
  gaussian = dataclasses.replace(head, tail=math.inf)
  record = json.loads(json.dumps(poses.record_of(gaussian, "f")))
  assert record["tail"] is None
  assert poses.of_record(record | {"later": 1}, "f") == gaussian


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"format": "COCO"}, "f: format is 'COCO'"),
    ({"version": 2}, "version is 2, and this program reads 1 to 1; .*newer"),
    ({"version": "1"}, "f: version: expected a whole number"),
    ({"video": {"name": "a"}}, "f: video: no key 'source', 'fps'"),
    ({"protocol": []}, "f: protocol: expected an object"),
    ({"tail": "long"}, "f: tail: expected finite numbers"),
  ],
)
def test_a_head_that_is_not_sound_is_refused(recorded, change, message):
  record = poses.record_of(recorded.head, "f") | change
  with pytest.raises(ValueError, match=message):
    poses.of_record(record, "f")


@pytest.mark.parametrize("fps", [0.0, math.nan, math.inf])
def test_a_rate_is_above_zero(recorded, fps):
  head = dataclasses.replace(recorded.head, fps=fps)
  with pytest.raises(ValueError, match="f: not written: fps is"):
    poses.record_of(head, "f")


def changed(recorded, frame=None, **person):
  """The frames, with a change in frame 4 or in its last person."""
  frames = list(recorded.frames)
  people = list(frames[4].people)
  people[2] = dataclasses.replace(people[2], **person)
  frames[4] = dataclasses.replace(
    frames[4], people=tuple(people), **(frame or {})
  )
  return frames


def test_sound_frames_pass_as_they_are(recorded):
  assert list(poses.checked(recorded.head, recorded.frames)) == list(
    recorded.frames
  )
  unknown = changed(recorded, {"height": None, "width": None}, box=None)
  assert list(poses.checked(recorded.head, unknown)) == unknown


def broken(values):
  values = values.copy()
  values[-1] = np.nan
  return values


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda p: {"frame": {"width": 308}}, "is 308x211 pixels, the video 307x2"),
    (lambda p: {"scores": None}, "person 2 has no scores"),
    (lambda p: {"scores": p.scores[:16]}, "17 joints and 16 scores"),
    (lambda p: {"joints": broken(p.joints)}, "person 2: joints is not finite"),
    (lambda p: {"scores": broken(p.scores)}, "person 2: scores is not finite"),
    (lambda p: {"box": broken(p.box)}, "person 2: box is not finite"),
    (lambda p: {"box_score": math.nan}, "person 2: box_score is not finite"),
  ],
)
def test_what_cannot_be_written_is_named(recorded, change, message):
  frames = changed(recorded, **change(recorded.frames[4].people[2]))
  with pytest.raises(ValueError, match=rf"^frame 4 \(000004.jpg\).*{message}"):
    list(poses.checked(recorded.head, frames))


def test_modes_are_those_of_joints_that_are_predicted(recorded):
  person = recorded.frames[4].people[0]
  found = poses.found_modes(person)
  assert found is not None
  # Two of five samples of the left wrist are 70 pixels off, 0.39 of the box's
  # longer side; one of the right one is not finite.
  assert [len(joint) for joint in found] == [
    *([1] * 3), 0, 0, *([1] * 4), 2, *([1] * 7)
  ]  # fmt: skip
  assert [mode.share for mode in found[9]] == [0.6, 0.4]
  wanted = person.samples[2:, 9].mean(axis=0)
  np.testing.assert_allclose(found[9][0].point, wanted, rtol=1e-6)
  assert found[10][0].share == 1
  for missing in ("samples", "box"):
    unknown = dataclasses.replace(person, **{missing: None})
    assert poses.found_modes(unknown) is None
