import copy
import json

import numpy as np
import pytest

from diffpose_jax.data import annolist
from diffpose_jax.pose import skeleton

SKELETON = skeleton.POSETRACK
FOLDER = "images/bonn_5sec/000342_mpii"

# Channel of each PoseTrack17 id in the 17 slots, written out by hand:
# ankle, knee, hip right; hip, knee, ankle left; wrist, elbow, shoulder right;
# shoulder, elbow, wrist left; head_bottom, nose, head_top.
CHANNELS = [16, 14, 12, 11, 13, 15, 10, 8, 6, 5, 7, 9, 1, 0, 2]


def content():
  """Three frames, the last one first; all 15 joints in the second."""
  points = [
    {"id": [i], "x": [100 + 7 * i], "y": [201.5 + 3 * i], "is_visible": [1]}
    for i in range(15)
  ]
  points[6]["is_visible"] = [0]
  return {
    "annolist": [
      {
        "image": [{"name": f"{FOLDER}/00000003.jpg"}],
        "annorect": [],
        "imgnum": [3],
        "is_labeled": [0],
      },
      {
        "image": [{"name": f"{FOLDER}/00000001.jpg"}],
        "annorect": [
          {
            "x1": [10],
            "y1": [20],
            "x2": [31],
            "y2": [43],
            "track_id": [4],
            "annopoints": [{"point": points}],
          },
          {
            "x1": 17,
            "y1": 29,
            "x2": 5,
            "y2": 7,
            "score": 0.75,
            "annopoints": {
              "point": {"id": 13, "x": 50, "y": 60, "score": [0.5]}
            },
          },
          {"track_id": [6], "annopoints": []},
        ],
        "ignore_regions": [
          {"point": [{"x": [1], "y": [2]}, {"x": [5], "y": [2]}]},
          {"point": []},
        ],
        "imgnum": [1],
        "is_labeled": [1],
      },
      {"image": {"name": "images\\/bonn_5sec\\/000342_mpii/00000002.jpg"}},
    ]
  }


def read(tmp_path, record):
  path = tmp_path / "000342_mpii_relpath_5sec_testsub.json"
  path.write_text(json.dumps(record))
  return annolist.read_video(path, skeleton=SKELETON)


def test_frames_are_in_order_and_labelled_where_there_are_people(tmp_path):
  video = read(tmp_path, content())
  assert video.name == "000342_mpii_relpath_5sec_testsub"
  assert [f.file_name for f in video.frames] == [
    f"{FOLDER}/0000000{i}.jpg" for i in (1, 2, 3)
  ]
  assert [f.image_id for f in video.frames] == [1, 2, 3]
  assert [f.labelled for f in video.frames] == [True, False, False]
  assert [len(f.people) for f in video.frames] == [3, 0, 0]
  (region,) = video.frames[0].ignore_regions
  np.testing.assert_array_equal(region, [[1, 2], [5, 2]])
  assert video.frames[0].height is None


def test_all_joints_land_by_name(tmp_path):
  person = read(tmp_path, content()).frames[0].people[0]
  for i, channel in enumerate(CHANNELS):
    np.testing.assert_array_equal(
      person.joints[channel], [100 + 7 * i, 201.5 + 3 * i]
    )
  assert np.flatnonzero(~person.labelled).tolist() == [3, 4]  # the ears
  assert person.occluded is not None
  assert np.flatnonzero(person.occluded).tolist() == [10]  # id 6, right wrist
  assert person.track_id == 4
  assert person.scores is None
  assert person.joints.dtype == np.float32


def test_boxes_by_hand(tmp_path):
  first, second, third = read(tmp_path, content()).frames[0].people
  assert first.box is not None
  assert second.box is not None
  # x 100 to 198 + 1, y 201.5 to 243.5 + 1: 99 x 43, a tenth more on each side.
  np.testing.assert_allclose(
    first.box, [90.1, 197.2, 208.9, 248.8], rtol=0, atol=1e-4
  )
  np.testing.assert_array_equal(first.head_box, [10, 20, 31, 43])
  np.testing.assert_allclose(
    second.box, [49.9, 59.9, 51.1, 61.1], rtol=0, atol=1e-5
  )
  np.testing.assert_array_equal(second.head_box, [5, 7, 17, 29])
  assert third.box is third.head_box is None


def test_scalars_and_single_objects_are_read_too(tmp_path):
  person = read(tmp_path, content()).frames[0].people[1]
  assert np.flatnonzero(person.labelled).tolist() == [0]  # nose
  assert person.track_id == -1
  assert person.box_score == 0.75
  assert person.occluded is None
  assert person.scores is not None
  assert person.scores[0] == 0.5 and person.scores.sum() == 0.5


def test_person_without_a_joint_stays(tmp_path):
  person = read(tmp_path, content()).frames[0].people[2]
  assert not person.labelled.any() and not person.joints.any()
  assert person.track_id == 6


@pytest.mark.parametrize("empty", [[], [{}], {}, None, [{"point": []}]])
def test_all_ways_to_write_no_joints(tmp_path, empty):
  record = content()
  record["annolist"][1]["annorect"] = [{"annopoints": empty, "x1": []}]
  (person,) = read(tmp_path, record).frames[0].people
  assert not person.labelled.any() and person.head_box is None


def test_people_without_a_track_are_no_doubles(tmp_path):
  record = content()
  for i, track in enumerate(([], [-1], None)):
    record["annolist"][1]["annorect"][i]["track_id"] = track
  people = read(tmp_path, record).frames[0].people
  assert [person.track_id for person in people] == [-1, -1, -1]
  record["annolist"][1]["annorect"][1]["track_id"] = [2**40]
  assert read(tmp_path, record).frames[0].people[1].track_id == 2**40


def test_a_video_of_one_frame(tmp_path):
  record = content()
  record["annolist"] = record["annolist"][1:2]
  (frame,) = read(tmp_path, record).frames
  assert frame.labelled


def test_head_without_extent_is_none(tmp_path):
  record = content()
  for key in ("x1", "y1", "x2", "y2"):
    record["annolist"][1]["annorect"][0][key] = [0]
  assert read(tmp_path, record).frames[0].people[0].head_box is None


def test_is_labeled_may_deny(tmp_path):
  record = content()
  record["annolist"][1]["is_labeled"] = [0]
  frame = read(tmp_path, record).frames[0]
  assert not frame.labelled and len(frame.people) == 3


def test_names_with_a_tail_are_ordered_by_number(tmp_path):
  record = content()
  for entry, name in zip(
    record["annolist"], ("100_crop", "0009_crop", "20_crop"), strict=True
  ):
    entry["image"] = [{"name": f"{FOLDER}/{name}.jpg"}]
  video = read(tmp_path, record)
  assert [f.image_id for f in video.frames] == [9, 20, 100]
  assert video.frames[0].labelled


RECT = ("annolist", 1, "annorect", 0)
POINT = (*RECT, "annopoints", 0, "point", 2)


@pytest.mark.parametrize(
  ("where", "value", "message"),
  [
    (("annolist",), [], "annolist has no images"),
    (("annolist",), {}, "annolist: expected a list"),
    (("annolist", 0), 5, r"annolist\[0\]: expected an object"),
    (("annolist", 0, "image"), [], r"annolist\[0\]: image: expected one value"),
    (("annolist", 0, "image"), [{}], r"annolist\[0\]: image: no key 'name'"),
    (("annolist", 0, "image"), [{"name": 7}], "file_name 7 is no file's name"),
    (
      ("annolist", 0, "image"),
      [{"name": "images/../../a/1.jpg"}],
      "leaves the data root",
    ),
    (
      ("annolist", 0, "image"),
      [{"name": "/images/v/1.jpg"}],
      "leaves the data",
    ),
    (
      ("annolist", 0, "image"),
      [{"name": f"{FOLDER}/first.jpg"}],
      "does not begin with its number",
    ),
    (
      ("annolist", 0, "image"),
      [{"name": f"{FOLDER}/00000001.jpg"}],
      "frame 1 is there twice",
    ),
    (
      ("annolist", 0, "image"),
      [{"name": f"{FOLDER}/1_crop.jpg"}],
      "frame 1 is there twice",
    ),
    (
      ("annolist", 0, "image"),
      [{"name": "images/mpii/000342_mpii/00000003.jpg"}],
      "pictures of 2 folders .*split the file",
    ),
    (("annolist", 1, "is_labeled"), [2], "is_labeled is 2"),
    (("annolist", 1, "annorect"), 3, "annorect: expected a list, found 3"),
    (RECT, 3, r"annorect\[0\]: expected an object, found 3"),
    ((*RECT, "track_id"), ["a"], "track_id: expected a whole number"),
    ((*RECT, "track_id"), [1, 2], "track_id: expected one value, found 2"),
    (
      (*RECT, "track_id"),
      [6],
      r"annorect\[2\]: track_id 6 is twice in frame images/bonn_5sec/000342_mpi"
      r"i/00000001\.jpg, before at .*annorect\[0\];",
    ),
    ((*RECT, "x2"), [1e9], r"annorect\[0\]: bbox_head: box .* beyond"),
    ((*RECT, "x1"), [], "head box has y1, x2, y2 only"),
    ((*RECT, "x1"), ["_NaN_"], "x1: expected finite numbers, found '_NaN_'"),
    ((*RECT, "x1"), [31], "bbox_head: box .* no area"),
    ((*RECT, "annopoints"), [{}, {}], "2 poses for one person"),
    ((*RECT, "annopoints"), [7], r"annopoints\[0\]: expected an object"),
    (POINT, 4, r"point\[2\]: expected an object"),
    ((*POINT, "id"), [15], r"point\[2\]: joint id 15 is unknown"),
    ((*POINT, "id"), [-1], "joint id -1 is unknown"),
    ((*POINT, "id"), [1.5], "id: expected a whole number"),
    ((*POINT, "id"), [1], r"joint id 1 \(right_knee\) is there twice"),
    ((*POINT, "x"), ["nan"], r"point\[2\]: x: expected finite numbers"),
    ((*POINT, "x"), [1e39], r"point\[2\]: x: expected finite numbers"),
    ((*POINT, "x"), [1e30], r"annorect\[0\]: keypoints: right_hip is at .*bey"),
    ((*POINT, "y"), [], r"point\[2\]: y: expected one value, found 0"),
    ((*POINT, "is_visible"), [3], "is_visible is 3"),
    (
      ("annolist", 1, "ignore_regions", 0, "point", 1, "y"),
      [True],
      r"ignore_regions\[0\]: point\[1\]: y: expected finite",
    ),
  ],
)
def test_unsound_files_are_refused_in_one_line(tmp_path, where, value, message):
  record = copy.deepcopy(content())
  place = record
  for key in where[:-1]:
    place = place[key]
  place[where[-1]] = value
  with pytest.raises(ValueError, match=message) as caught:
    read(tmp_path, record)
  assert str(caught.value).startswith(str(tmp_path / "000342_mpii"))
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(tmp_path, number):
  path = tmp_path / "v.json"
  path.write_text(json.dumps(content()).replace("201.5", number))
  with pytest.raises(ValueError, match="is not finite"):
    annolist.read_video(path, skeleton=SKELETON)


@pytest.mark.parametrize(
  ("record", "message"),
  [
    ({"images": [], "annotations": []}, "prepare it as posetrack18"),
    ({"a": 1}, "no key 'annolist'"),
    ([], "expected an object with annolist"),
  ],
)
def test_other_json_is_refused(tmp_path, record, message):
  with pytest.raises(ValueError, match=message):
    read(tmp_path, record)
