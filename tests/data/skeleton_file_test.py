import dataclasses
import json

import pytest

from diffpose_jax.data import skeleton_file
from diffpose_jax.pose import skeleton


def hand():
  """Five joints with every key."""
  return {
    "name": "robot",
    "joints": ["tip", "left_a", "right_a", "cw", "ccw"],
    "pairs": [["left_a", "right_a"], ["cw", "ccw"]],
    "limbs": [["tip", "cw"], ["left_a", "tip"]],
    "sigmas": [0.02, 0.03, 0.05, 0.07, 0.11],
    "upper": ["tip", "ccw"],
    "groups": {"ends": ["tip", "ccw"], "arm": ["right_a"]},
    "evaluated": ["ccw", "right_a", "tip"],
  }


def read(tmp_path, record):
  path = tmp_path / "skeleton.json"
  path.write_text(json.dumps(record))
  return skeleton_file.read(path)


def test_names_become_positions(tmp_path):
  assert read(tmp_path, hand()) == skeleton.Skeleton(
    name="robot",
    joints=("tip", "left_a", "right_a", "cw", "ccw"),
    pairs=((1, 2), (3, 4)),
    limbs=((0, 3), (1, 0)),
    upper=(0, 4),
    lower=(1, 2, 3),
    evaluated=(4, 2, 0),
    groups=(("ends", (0, 4)), ("arm", (2,))),
    sigmas=(0.02, 0.03, 0.05, 0.07, 0.11),
  )


def test_what_is_not_given_has_defaults(tmp_path):
  record = {k: hand()[k] for k in ("name", "joints", "pairs", "limbs")}
  got = read(tmp_path, record)
  # 2 × the sides of .025 .035 .079 .072 .062 .107 .087 .089, and the nose.
  assert got.sigmas == pytest.approx([(2 * 0.556 + 0.026) / 17] * 5)
  assert got.upper == got.lower == ()  # no half-body augmentation
  assert got.evaluated == (0, 1, 2, 3, 4)
  assert got.groups == (("tip", (0,)), ("a", (1, 2)), ("cw/ccw", (3, 4)))


def test_default_groups_hold_what_is_evaluated(tmp_path):
  record = hand() | {"evaluated": ["left_a", "cw", "ccw"]}
  del record["groups"]
  assert read(tmp_path, record).groups == (("left_a", (1,)), ("cw/ccw", (3, 4)))


def test_default_groups_do_not_take_a_joint_s_name(tmp_path):
  record = hand() | {"joints": ["a", "left_a", "right_a", "cw", "ccw"]}
  record |= {"limbs": [], "upper": [], "groups": None, "evaluated": None}
  names = [name for name, _ in read(tmp_path, record).groups]
  assert names == ["a", "left_a/right_a", "cw/ccw"]


def test_one_sigma_is_for_all_joints(tmp_path):
  assert read(tmp_path, hand() | {"sigmas": 0.1}).sigmas == (0.1,) * 5


def test_lower_may_be_given(tmp_path):
  assert read(tmp_path, hand() | {"lower": ["cw"]}).lower == (3,)


@pytest.mark.parametrize(
  "known", [skeleton.POSETRACK, skeleton.COCO], ids=["posetrack", "coco"]
)
def test_what_is_written_is_read_back_alike(tmp_path, known):
  skeleton_file.write(tmp_path / "a" / "s.json", known)
  assert skeleton_file.read(tmp_path / "a" / "s.json") == known


def test_custom_skeleton_is_read_back_alike(tmp_path):
  for record in (hand(), hand() | {"lower": [], "sigmas": 0.1}):
    made = read(tmp_path, record)
    skeleton_file.write(tmp_path / "s.json", made)
    assert skeleton_file.read(tmp_path / "s.json") == made


def test_what_would_not_be_read_back_is_not_written(tmp_path):
  made = read(tmp_path, hand())
  path = tmp_path / "s.json"
  for fault, message in (
    ({"sigmas": (0.0,) * 5}, r"sigmas\[0\] is 0"),
    ({"groups": (("x", (0, 4)), ("x", (2,)))}, "'tip' is there 0 times"),
    (
      {"groups": (("x", (0, 4)), ("x", (0, 4)), ("arm", (2,)))},
      "would not be read back alike",
    ),
  ):
    with pytest.raises(
      ValueError, match=r"s\.json: not written: ?.*" + message
    ):
      skeleton_file.write(path, dataclasses.replace(made, **fault))
  assert not path.exists()


@pytest.mark.parametrize(
  ("key", "value", "message"),
  [
    ("joint", [], "key 'joint' is not known; did you mean 'joints'"),
    ("sigma", 0.1, "did you mean 'sigmas'"),
    ("zzz", 1, "key 'zzz' is not known; take name, joints"),
    ("joints", None, "no key 'joints'"),
    ("pairs", None, "no key 'pairs'"),
    ("limbs", None, "no key 'limbs'"),
    ("name", None, "no key 'name'"),
    ("name", "", "name: '' is no name"),
    ("name", "a\nb", "is no name"),
    ("name", 5, "name: 5 is no name"),
    ("joints", [], "joints is empty"),
    ("joints", "tip", "joints: expected a list, found 'tip'"),
    ("joints", ["tip", " a"], r"joints\[1\]: ' a' is no name"),
    ("joints", ["tip", "a", "tip"], "joints: 'tip' is there twice"),
    ("joints", ["tip", "total"], "'total' is the mean in tables"),
    ("pairs", [["left_a", "right_b"]], "did you mean 'right_a'"),
    ("pairs", [["cw", "cw"]], r"pairs\[0\]: 'cw' is there twice"),
    ("pairs", [["cw"]], r"pairs\[0\]: 1 joints; give the names of two"),
    ("pairs", [[3, 4]], r"pairs\[0\]: 3 is no joint"),
    ("pairs", ["cw"], r"pairs\[0\]: expected a list"),
    (
      "pairs",
      [["left_a", "right_a"], ["cw", "right_a"]],
      "pairs: 'right_a' is in two pairs",
    ),
    ("pairs", [], r"pairs: \['left_a', 'right_a'\] is not there"),
    ("pairs", [["right_a", "left_a"]], r"\['left_a', 'right_a'\] is not there"),
    ("limbs", [["tip", "tip"]], r"limbs\[0\]: 'tip' is there twice"),
    ("limbs", [["tip", "top"]], r"limbs\[0\]: 'top' is no joint; .*'tip'"),
    (
      "limbs",
      [["tip", "cw"], ["cw", "tip"]],
      r"limbs\[1\]: the limb from 'cw' to 'tip' is there twice",
    ),
    ("sigmas", [0.1], "sigmas: expected 5 numbers, found 1"),
    ("sigmas", [0.1, 0.1, 0, 0.1, 0.1], r"sigmas\[2\] is 0; .* above 0"),
    ("sigmas", -1, r"sigmas\[0\] is -1"),
    ("sigmas", True, "sigmas: expected finite numbers, found True"),
    ("sigmas", "0.1", "sigmas: expected finite numbers"),
    ("upper", ["tail"], "upper: 'tail' is no joint"),
    ("upper", ["tip", "tip"], "upper: 'tip' is there twice"),
    ("evaluated", [], "evaluated is empty"),
    ("evaluated", ["tip", "tip"], "evaluated: 'tip' is there twice"),
    ("groups", [], "groups: expected an object"),
    ("groups", {"a": ["tip"]}, "groups: 'right_a' is there 0 times"),
    (
      "groups",
      {"a": ["tip", "ccw", "right_a"], "b": ["tip"]},
      "groups: 'tip' is there 2 times; it must be once",
    ),
    (
      "groups",
      {"a": ["tip", "ccw", "right_a", "cw"]},
      "groups: 'cw' is there 1 times; it must be in none, as it is not",
    ),
    ("groups", {"total": ["tip"]}, "groups: 'total': give it"),
    ("groups", {"a": []}, "groups: 'a': give it joints"),
  ],
)
def test_unsound_skeletons_are_refused(tmp_path, key, value, message):
  record = hand()
  if value is None:
    del record[key]
  else:
    record[key] = value
  with pytest.raises(ValueError, match=message) as caught:
    read(tmp_path, record)
  assert str(caught.value).startswith(str(tmp_path / "skeleton.json"))
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "5", "null"])
def test_another_top_level_is_refused(tmp_path, text):
  (tmp_path / "s.json").write_text(text)
  with pytest.raises(
    ValueError, match=r"s\.json: expected an object with name"
  ):
    skeleton_file.read(tmp_path / "s.json")
