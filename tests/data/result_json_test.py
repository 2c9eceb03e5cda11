import dataclasses
import json
import pathlib

import jsonschema
import numpy as np
import pytest

from diffpose_jax.data import poses, result_json, strict_json
from diffpose_jax.pose import skeleton

SCHEMA = json.loads(
  pathlib.Path(result_json.__file__).with_name("poses.schema.json").read_text()
)


def f32(values):
  return np.array(values, np.float32)


@pytest.fixture
def write(tmp_path, recorded):
  def write_(frames=None, **how):
    path = tmp_path / "walk.poses.json"
    frames = recorded.frames if frames is None else frames
    result_json.write(path, recorded.head, frames, **how)
    return path

  return write_


def edited(path, change):
  content = json.loads(path.read_text())
  change(content)
  strict_json.dump(path, content)


@pytest.mark.parametrize("samples", [False, True])
def test_poses_come_back(write, recorded, samples):
  head, frames = result_json.read(write(samples=samples))
  assert head == recorded.head
  recorded.check(frames, samples=samples)


def test_the_schema_is_one_and_holds(write):
  jsonschema.Draft202012Validator.check_schema(SCHEMA)
  for how in ({}, {"samples": True}, {"frames": ()}):
    jsonschema.validate(json.loads(write(**how).read_text()), SCHEMA)


@pytest.mark.parametrize(
  "change",
  [
    lambda c: c.pop("tail"),
    lambda c: c.update(version=2),
    lambda c: c["video"].update(fps=0),
    lambda c: c["frames"][1].pop("time"),
    lambda c: c["frames"][1]["people"][0].update(track_id=-1),
    lambda c: c["frames"][1]["people"][0]["joints"].__setitem__(3, [1]),
    lambda c: c["frames"][1]["people"][0]["joints"][2].append(1),
    lambda c: c["frames"][1]["people"][0]["modes"][9].pop(),
    lambda c: c["frames"][1]["people"][0]["within"].append(1.5),
  ],
)
def test_the_schema_refuses_what_is_otherwise(write, change):
  content = json.loads(write().read_text())
  change(content)
  with pytest.raises(jsonschema.ValidationError):
    jsonschema.validate(content, SCHEMA)


def test_a_person_by_hand(tmp_path, recorded):
  two = dataclasses.replace(
    skeleton.POSETRACK,
    name="two",
    joints=("head", "left_wrist", "ear"),
    pairs=(),
    limbs=((0, 1),),
    upper=(),
    lower=(),
    evaluated=(0, 1),
    groups=(("all", (0, 1)),),
    sigmas=(0.1, 0.1, 0.1),
  )
  head = dataclasses.replace(recorded.head, skeleton=two)
  samples = np.zeros((5, 3, 2), np.float32)
  samples[3:, 1] = [[90, 0], [94, 0]]
  person = dataclasses.replace(
    recorded.frames[1].people[0],
    box=f32([0.5, 1, 60.1, 201]),
    joints=f32([[0.1, -7], [35.5, 1 / 3], [9, 9]]),
    labelled=np.array([True, True, False]),
    scores=f32([0.7, 0.2, 0]),
    scale=np.array([[[4, 1], [1, 9]], [[np.nan] * 2] * 2, [[1, 0], [0, 1]]]),
    within=np.array([0.25, np.nan, 0.5]),
    samples=samples,
  )
  frame = dataclasses.replace(recorded.frames[1], people=(person,))
  path = tmp_path / "a.poses.json"
  result_json.write(path, head, [frame], samples=True)
  (got,) = json.loads(path.read_text())["frames"]
  spread = np.float32(np.sqrt(8))
  assert got["people"] == [
    {
      "track_id": 4,
      "box": [0.5, 1, 60.1, 201],
      "box_score": 0.1,
      "joints": [[0.1, -7], [35.5, 0.33333334], None],
      "scores": [0.7, 0.2, 0],
      "covariance": [[4, 1, 9], None, None],
      "within": [0.25, None, None],
      "modes": [
        None,
        [
          {"point": [0, 0], "share": 0.6, "spread": 0},
          {"point": [92, 0], "share": 0.4, "spread": float(str(spread))},
        ],
        None,
      ],
      "samples": [[[0, 0], [0, 0], [0, 0]]] * 3
      + [[[0, 0], [90, 0], [0, 0]], [[0, 0], [94, 0], [0, 0]]],
    }
  ]


def test_a_frame_is_a_line(write, recorded):
  lines = write().read_text().splitlines()
  assert len(lines) == len(recorded.frames) + 2
  for frame, line in zip(recorded.frames, lines[1:-1], strict=True):
    record = json.loads(line.removesuffix(","))
    assert record["index"] == frame.image_id
    assert len(record["people"]) == len(frame.people)


def test_joints_go_by_name_into_another_skeleton(write, recorded):
  path = write(samples=True)
  content = strict_json.load(path)
  head = poses.of_record(content, "f")
  frames = result_json.frames_of(
    content, head, "f", skeleton=skeleton.COCO, dtype=np.float64
  )
  names, coco = recorded.head.skeleton.joints, skeleton.COCO.joints
  got, want = frames[4].people[0], recorded.frames[4].people[0]
  assert got.scale is not None and got.within is not None
  assert got.samples is not None and want.samples is not None
  assert got.scores is not None and want.scores is not None
  for i, name in enumerate(coco):
    if name not in names or "ear" in name:
      assert not got.labelled[i]
      assert np.isnan(got.scale[i]).all() and np.isnan(got.within[i])
      continue
    j = names.index(name)
    assert got.labelled[i]
    # In double precision what is written counts, which is 0.1 and not its bits.
    assert got.joints[i].tolist() == [float(str(v)) for v in want.joints[j]]
    samples = got.samples[:, i].astype(np.float32)
    np.testing.assert_array_equal(samples, want.samples[:, j])
    assert got.scores[i] == float(str(want.scores[j]))
  hand = dataclasses.replace(skeleton.COCO, joints=("thumb",) * 17)
  with pytest.raises(ValueError, match="f: skeleton: none of its joints"):
    result_json.frames_of(content, head, "f", skeleton=hand)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda c: c.pop("frames"), "no key 'frames'"),
    (lambda c: c["frames"][2].update(index=1), r"\[2\]: index 1 is used twice"),
    (lambda c: c["frames"][2].pop("people"), r"frames\[2\]: no key 'people'"),
    (lambda c: c["frames"][2].update(file_name="../a"), "leaves the data root"),
    (
      lambda c: c["frames"][4]["people"][2].pop("box"),
      r"frames\[4\]: people\[2\]: no key 'box'",
    ),
    (
      lambda c: c["frames"][4]["people"][2]["joints"].pop(),
      r"people\[2\]: joints: expected 17 joints, found 16",
    ),
    (
      lambda c: c["frames"][4]["people"][2]["joints"][5].append(1),
      r"joints\[5\]: expected 2 numbers, found 3",
    ),
    (
      lambda c: c["frames"][4]["people"][2].update(box=[1, 2, 1, 3]),
      "has no area",
    ),
    (
      lambda c: c["frames"][4]["people"][2].update(track_id=1.5),
      "track_id: expected a whole number",
    ),
    (
      lambda c: c["frames"][4]["people"][0]["samples"][3].pop(),
      r"samples\[3\]: expected 17 joints, found 16",
    ),
  ],
)
def test_a_file_that_is_not_sound_is_refused(write, change, message):
  path = write(samples=True)
  edited(path, change)
  with pytest.raises(ValueError, match=message):
    result_json.read(path)
