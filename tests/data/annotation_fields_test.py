import numpy as np
import pytest

from diffpose_jax.data import annotation_fields as fields
from diffpose_jax.pose import skeleton


def test_box_is_edges_unshifted():
  np.testing.assert_array_equal(
    fields.box([-3, 5.5, 7, 11], "f"), [-3, 5.5, 4, 16.5]
  )


@pytest.mark.parametrize(
  "box",
  [
    [0, 0, 0, 5],
    [0, 0, 5, 0],
    [0, 0, -5, 5],
    [1e7, 0, 1e-3, 5],  # gone in float32
  ],
)
def test_box_without_area_is_refused(box):
  with pytest.raises(ValueError, match=r"f: box .* has no area"):
    fields.box(box, "f")


def test_empty_box_is_refused():
  with pytest.raises(ValueError, match="f: expected 4 numbers, found 0"):
    fields.box([], "f")


def test_number_flag_and_size_have_defaults():
  for record in ({}, {"a": None}):
    assert fields.number(record, "a", 3.0, "f") == 3.0
    assert fields.flag(record, "a", True, "f") is True
    assert fields.size(record, "a", "f") is None
  assert fields.number({"a": 2}, "a", 3.0, "f") == 2.0
  assert fields.flag({"a": 0}, "a", True, "f") is False
  assert fields.size({"a": 480}, "a", "f") == 480


def test_number_flag_and_size_refuse_other_kinds():
  with pytest.raises(ValueError, match="f: a: expected finite numbers"):
    fields.number({"a": "2"}, "a", 3.0, "f")
  for value in ("yes", 2, [1]):
    with pytest.raises(ValueError, match=r"f: a is .*; it must be true or"):
      fields.flag({"a": value}, "a", True, "f")
  with pytest.raises(ValueError, match="f: a is 0; it must be above 0"):
    fields.size({"a": 0}, "a", "f")


@pytest.mark.parametrize(
  "name",
  [
    "/etc/passwd",
    "../secret.jpg",
    "images/../../secret.jpg",
    "images\\..\\..\\secret.jpg",
    "C:\\secret.jpg",
    "C:secret.jpg",
    "\\\\host\\share\\secret.jpg",
  ],
)
def test_file_name_stays_inside_the_root(name):
  with pytest.raises(ValueError, match=r"f: file_name .* leaves the data root"):
    fields.file_name(name, "f")


def test_file_name_is_a_name():
  assert fields.file_name("images/a..b/0.jpg", "f") == "images/a..b/0.jpg"
  for name in ("", None, 7, "a\0b"):
    with pytest.raises(ValueError, match=r"f: file_name .* is no file's name"):
      fields.file_name(name, "f")


def test_ignore_regions_are_polygons():
  got = fields.ignore_regions(
    {
      "ignore_regions_x": [[1, 2, 3], [4, 5]],
      "ignore_regions_y": [[6, 7, 8], [9, 0]],
    },
    "f",
  )
  assert len(got) == 2
  np.testing.assert_array_equal(got[0], [[1, 6], [2, 7], [3, 8]])
  np.testing.assert_array_equal(got[1], [[4, 9], [5, 0]])
  assert fields.ignore_regions({}, "f") == ()
  assert fields.ignore_regions({"ignore_regions_x": None}, "f") == ()


def test_ignore_regions_must_agree():
  with pytest.raises(ValueError, match="differ in length"):
    fields.ignore_regions(
      {"ignore_regions_x": [[1, 2]], "ignore_regions_y": [[1]]}, "f"
    )
  with pytest.raises(ValueError, match="differ in length"):
    fields.ignore_regions({"ignore_regions_x": [[1, 2]]}, "f")
  with pytest.raises(
    ValueError, match=r"ignore_regions_x\[0\]: expected a list"
  ):
    fields.ignore_regions(
      {"ignore_regions_x": [1], "ignore_regions_y": [1]}, "f"
    )


@pytest.mark.parametrize(
  ("categories", "message"),
  [
    ([], "f is empty"),
    ([{}], r"f\[0\]: no key 'keypoints'"),
    ([{"keypoints": "nose"}], "expected a list"),
    ([{"keypoints": ["nose", 7]}], "list of joint names"),
    ([{"keypoints": ["nose", "nose"]}], "names a joint twice"),
    ([{"keypoints": ["paw", "tail"]}], r"none of its joints \(paw, tail\)"),
  ],
)
def test_joint_names_are_checked(categories, message):
  with pytest.raises(ValueError, match=message):
    fields.joint_names(categories, skeleton.POSETRACK, "f")


def test_labelled_by_visibility_or_by_presence():
  names = ["a", "b", "c", "d"]
  points = np.array([[0, 0, 0], [5, 7, 0], [0, 0, 1], [5, 7, 2.0]])
  assert fields.labelled(points, names, "labels", "f").tolist() == [
    False, False, True, True
  ]  # fmt: skip
  assert fields.labelled(points, names, "results", "f").tolist() == [
    False, True, True, True
  ]  # fmt: skip
  points[2, 2] = 0.37  # a score, as some tools write it
  assert fields.labelled(points, names, "results", "f").tolist()[2]
  with pytest.raises(ValueError, match=r"visibility of c is 0\.37"):
    fields.labelled(points, names, "labels", "f")


def test_per_joint_is_none_where_absent():
  for record in ({}, {"scores": None}, {"scores": []}):
    assert fields.per_joint(record, "scores", 3, "f") is None
  got = fields.per_joint({"a": [True, False, 0.5]}, "a", 3, "f")
  np.testing.assert_array_equal(got, [1, 0, 0.5])
  with pytest.raises(ValueError, match="f: a: expected 3 numbers, found 2"):
    fields.per_joint({"a": [1, 2]}, "a", 3, "f")


def test_reorder_goes_by_name():
  got = fields.reorder(
    np.array([[1.0, 2], [3, 4], [5, 6]]),
    ["right_ankle", "tail", "head_top"],
    skeleton.POSETRACK,
  )
  assert got.shape == (17, 2)
  np.testing.assert_array_equal(got[16], [1, 2])
  np.testing.assert_array_equal(got[2], [5, 6])
  assert np.count_nonzero(got) == 4
