import json

import numpy as np
import pytest

from diffpose_jax.data import annotation_fields as fields
from diffpose_jax.pose import geometry, skeleton


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
    [3, 4, 0.2, 5],
    [5, 7, -2, -3],  # corners swapped
  ],
)
def test_box_without_area_is_refused(box):
  with pytest.raises(ValueError, match=r"f: box .* has no area;.*remove it"):
    fields.box(box, "f")


@pytest.mark.parametrize(
  "box", [[0, 0, 1e9, 1e9], [0, -1e9, 5, 7], [1e6, 3, 1, 5]]
)
def test_box_beyond_any_picture_is_refused(box):
  with pytest.raises(ValueError, match=r"f: box .* beyond 1e\+06 pix.*remove"):
    fields.box(box, "f")


@pytest.mark.parametrize(
  "box",
  [
    [3, 5, 1, 1],  # one pixel
    [0, 0, 640, 480],
    [-500, -400, 100, 50],  # outside of the picture
    [999_999, -1e6, 0.25, 0.25],
    [-1e6, -1e6, 2e6, 2e6],
  ],
)
def test_a_box_that_is_taken_can_be_cropped_and_undone(box):
  edges = fields.box(box, "f").astype(np.float32)
  for enlarged in (edges, geometry.enlarge(edges, 1.25)):
    affine = geometry.crop_affine(enlarged, (256, 192), rotation=33, scale=1.3)
    assert np.isfinite(affine).all()
    corners = edges.reshape(2, 2).astype(np.float64)
    back = geometry.apply(
      geometry.invert(affine), geometry.apply(affine, corners)
    )
    np.testing.assert_allclose(back, corners, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize(
  ("box", "message"),
  [
    ([], "expected 4 numbers, found 0"),
    ([1, 2, 3], "expected 4 numbers, found 3"),
    ("1 2 3 4", "expected a list, found '1 2 3 4'"),
    (["1", 2, 3, 4], "expected finite numbers, found '1'"),
    ([1, 2, None, 4], "expected finite numbers, found None"),
    ([1, 2, float("nan"), 4], "expected finite numbers, found nan"),
    ([1, 2, 3, float("inf")], "expected finite numbers, found inf"),
    ([1, 2, 3, 10**4000], "expected finite numbers, found 1000"),
  ],
)
def test_box_that_is_none_is_refused(box, message):
  with pytest.raises(ValueError, match=f"^f: {message}") as caught:
    fields.box(box, "f")
  assert len(str(caught.value)) < 120


def test_image_ids_are_whole_and_own():
  images = [{"id": i, "file_name": "a"} for i in (7.0, -(2**63), 2**63 - 1)]
  assert fields.image_ids(images, "f") == [7, -(2**63), 2**63 - 1]
  for value, message in (
    (2**63, r"f\[1\]: id: expected a whole number"),
    (7.5, r"f\[1\]: id: expected a whole number"),
    (7, r"f\[1\]: image id 7 is used twice, before by images\[0\]; give"),
  ):
    images[1]["id"] = value
    with pytest.raises(ValueError, match=message):
      fields.image_ids(images, "f")
  for image in ({"id": 1}, {"file_name": "a"}, 5, None):
    with pytest.raises(ValueError, match=r"f\[0\]: "):
      fields.image_ids([image], "f")


def test_an_annotation_is_of_a_known_image():
  assert fields.image_id({"image_id": 2**40}, {2**40: 1}, "f") == 2**40
  with pytest.raises(ValueError, match="f: image_id 3 is no image of this"):
    fields.image_id({"image_id": 3}, {4}, "f")
  with pytest.raises(ValueError, match="f: image_id: expected a whole number"):
    fields.image_id({"image_id": "3"}, {3}, "f")


def test_a_track_is_once_in_a_frame():
  seen = {}
  for place, track in (("a", 4), ("b", -1), ("c", -1), ("d", 0)):
    fields.check_track(track, seen, "1.jpg", place)
  with pytest.raises(
    ValueError, match=r"^e: track_id 4 is twice in frame 1\.jpg, before at a;"
  ):
    fields.check_track(4, seen, "1.jpg", "e")


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
  assert fields.file_name("images/ü 写/0.jpg", "f") == "images/ü 写/0.jpg"
  surrogate = json.loads('"a\\ud800.jpg"')
  for name in ("", None, 7, "a\0b", "a\nb", surrogate, "7" * 5000):
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
    ([{"keypoints": ["nose", 7]}], "list of joint names, found 7"),
    ([{"keypoints": ["nose", "a\nb"]}], r"list of joint names, found 'a\\nb'"),
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
