import json

import numpy as np
import pytest

from diffpose_jax.data import coco
from diffpose_jax.pose import skeleton

C, P = skeleton.COCO, skeleton.POSETRACK


def keypoints(**given):
  """COCO's flat list from name=(x, y, visibility)."""
  return [v for name in C.joints for v in given.get(name, (0, 0, 0))]


def content():
  """Pictures 9 (two people, a crowd), 25 (one person), 30 (none labelled)."""
  return {
    "info": {"year": 2017},
    "images": [
      {"id": 25, "file_name": "000000000025.jpg", "height": 5, "width": 7},
      {"id": 9, "file_name": "000000000009.jpg", "height": 480, "width": 640},
      {"id": 30, "file_name": "000000000030.jpg", "height": 11, "width": 13},
      {"id": 31, "file_name": "000000000031.jpg", "height": 11, "width": 13},
    ],
    "annotations": [
      {
        "id": 183126,
        "image_id": 9,
        "category_id": 1,
        "iscrowd": 0,
        "segmentation": [[1.5, 2.5, 3.5, 4.5, 5.5, 6.5]],
        "area": 17.5,
        "num_keypoints": 4,
        "keypoints": keypoints(
          left_eye=(101, 51, 2),
          right_ear=(97, 53, 1),
          left_wrist=(120, 160, 2),
          right_ankle=(90, 300, 1),
        ),
        "bbox": [80.25, 40.5, 60, 270],
      },
      {
        "id": 900100000009,
        "image_id": 9,
        "category_id": 1,
        "iscrowd": 1,
        "segmentation": {"counts": [3, 5, 7], "size": [480, 640]},
        "num_keypoints": 0,
        "keypoints": keypoints(),
        "bbox": [300, 200, 50, 30],
      },
      {
        "id": 12,
        "image_id": 9,
        "category_id": 1,
        "iscrowd": 0,
        "num_keypoints": 0,
        "keypoints": keypoints(),
        "bbox": [1, 2, 3, 4],
      },
      {
        "id": 13,
        "image_id": 25,
        "category_id": 1,
        "num_keypoints": 1,
        "keypoints": keypoints(nose=(3, 2, 2)),
        "bbox": [1, 2, 0, 3],
      },
      {
        "id": 14,
        "image_id": 30,
        "category_id": 1,
        "num_keypoints": 0,
        "keypoints": keypoints(),
        "bbox": [1, 2, 3, 4],
      },
    ],
    "categories": [
      {
        "supercategory": "person",
        "id": 1,
        "name": "person",
        "keypoints": list(C.joints),
        "skeleton": [[16, 14]],
      }
    ],
  }


def write(root, record, name="train2017", folder="train2017"):
  (root / "annotations").mkdir(exist_ok=True)
  path = root / "annotations" / f"person_keypoints_{name}.json"
  path.write_text(json.dumps(record))
  (root / folder).mkdir(parents=True, exist_ok=True)
  return path


def read(root, record, joints=C):
  write(root, record)
  return coco.read_split(root, "train", skeleton=joints)


def test_splits_are_called_without_the_year(tmp_path):
  train = write(tmp_path, content())
  write(tmp_path, content(), "val2017")
  write(tmp_path, content(), "fold1")
  write(tmp_path, content(), "fold2")
  (tmp_path / "annotations" / "instances_val2017.json").write_text("{}")
  (tmp_path / "annotations" / "captions_test2017.json").write_text("{}")
  assert coco.splits(tmp_path) == ["fold1", "fold2", "train", "val"]
  assert coco.annotation_file(tmp_path, "train") == train
  with pytest.raises(
    ValueError, match="no split 'test'; there is fold1, fold2, train"
  ):
    coco.annotation_file(tmp_path, "test")


def test_splits_say_what_was_looked_for(tmp_path):
  looked = r"looked for .*/annotations/person_keypoints_\*\.json; .*cocodataset"
  with pytest.raises(ValueError, match=f"no data root here; {looked}"):
    coco.splits(tmp_path / "absent")
  with pytest.raises(ValueError, match=f"no annotations; {looked}"):
    coco.splits(tmp_path)


@pytest.mark.parametrize(
  ("names", "message"),
  [
    (
      ["val2014", "val2017"],
      "person_keypoints_val2014.json is split 'val' too",
    ),
    (["train2017", "val2014"], "person_keypoints_train2017.json is of another"),
    (
      ["train", "train2017"],
      "person_keypoints_train.json is split 'train' too",
    ),
  ],
)
def test_files_of_two_years_are_refused(tmp_path, names, message):
  for name in names:
    write(tmp_path, content(), name)
  with pytest.raises(ValueError) as caught:
    coco.splits(tmp_path)
  file = tmp_path / "annotations" / f"person_keypoints_{names[1]}.json"
  assert str(caught.value).startswith(f"{file}: {message}")


def test_pictures_with_a_labelled_joint_are_videos_of_one_frame(tmp_path):
  videos = read(tmp_path, content())
  assert [v.name for v in videos] == ["000000000009", "000000000025"]
  assert [len(v.frames) for v in videos] == [1, 1]
  frame = videos[0].frames[0]
  assert frame.file_name == "train2017/000000000009.jpg"
  assert (frame.image_id, frame.height, frame.width) == (9, 480, 640)
  assert frame.labelled


def test_joints_keep_their_place_and_visibility(tmp_path):
  person = read(tmp_path, content())[0].frames[0].people[0]
  where = {1: (101, 51), 4: (97, 53), 9: (120, 160), 16: (90, 300)}
  expected = np.zeros((17, 2), np.float32)
  for joint, point in where.items():
    expected[joint] = point
  np.testing.assert_array_equal(person.joints, expected)
  assert person.joints.dtype == np.float32
  assert np.flatnonzero(person.labelled).tolist() == [1, 4, 9, 16]
  assert person.occluded is not None
  assert np.flatnonzero(person.occluded).tolist() == [4, 16]
  assert person.occluded.dtype == bool
  np.testing.assert_array_equal(person.box, [80.25, 40.5, 140.25, 310.5])
  assert person.track_id == 183126
  assert person.head_box is None


def test_unlabelled_people_stay_and_crowds_are_ignored(tmp_path):
  frame = read(tmp_path, content())[0].frames[0]
  assert [p.track_id for p in frame.people] == [183126, 12]
  assert not frame.people[1].labelled.any()
  np.testing.assert_array_equal(frame.people[1].box, [1, 2, 4, 6])
  (region,) = frame.ignore_regions
  np.testing.assert_array_equal(
    region, [[300, 200], [350, 200], [350, 230], [300, 230]]
  )
  assert region.dtype == np.float32


def test_joints_go_to_posetrack_by_name(tmp_path):
  person = read(tmp_path, content(), P)[0].frames[0].people[0]
  assert person.occluded is not None
  named = {P.joints[i] for i in np.flatnonzero(person.labelled)}
  assert named == {"right_ear", "left_wrist", "right_ankle"}
  np.testing.assert_array_equal(
    person.joints[P.index("left_wrist")], [120, 160]
  )
  hidden = {P.joints[i] for i in np.flatnonzero(person.occluded)}
  assert hidden == {"right_ear", "right_ankle"}


def test_the_number_of_videos_does_not_depend_on_the_skeleton(tmp_path):
  record = content()
  record["annotations"][3]["keypoints"] = keypoints(left_eye=(3, 2, 2))
  videos = read(tmp_path, record, P)
  assert len(videos) == 2
  assert not videos[1].frames[0].people[0].labelled.any()


@pytest.mark.parametrize("box", [[1, 2, 0, 3], [1, 2, 3, -1], None, "absent"])
def test_box_without_area_is_none(tmp_path, box):
  record = content()
  if box == "absent":
    del record["annotations"][3]["bbox"]
  else:
    record["annotations"][3]["bbox"] = box
  person = read(tmp_path, record)[1].frames[0].people[0]
  assert person.box is None
  assert person.labelled[0]


def test_pictures_may_be_under_images(tmp_path):
  write(tmp_path, content(), folder="images/train2017")
  videos = coco.read_split(tmp_path, "train", skeleton=C)
  name = videos[0].frames[0].file_name
  assert name == "images/train2017/000000000009.jpg"
  (tmp_path / "images" / "train2017").rmdir()
  with pytest.raises(
    ValueError, match="folders train2017 and images/train2017"
  ):
    coco.read_split(tmp_path, "train", skeleton=C)


def test_other_listed_categories_are_passed_over(tmp_path):
  record = content()
  record["categories"].insert(0, {"id": 18, "name": "dog"})
  record["annotations"].append({"id": 15, "image_id": 31, "category_id": 18})
  assert len(read(tmp_path, record)) == 2


def change(path, value):
  """A file with one value set, or deleted for None."""
  record = content()
  place = record
  for key in path[:-1]:
    place = place[key]
  if value is None:
    del place[path[-1]]
  else:
    place[path[-1]] = value
  return record


@pytest.mark.parametrize(
  ("path", "value", "message"),
  [
    (["images"], None, "no key 'images'"),
    (["annotations"], {}, "annotations: expected a list"),
    (["images", 1, "id"], 25, r"images\[1\]: image id 25 is used twice"),
    (["images", 1, "id"], 2**63, r"images\[1\]: id: expected a whole number"),
    (["images", 1, "file_name"], "../x.jpg", r"images\[1\]: .* leaves"),
    (["images", 1, "file_name"], "a/000000000025.jpg", "is there 2 times"),
    (["images", 1, "height"], 0, r"images\[1\]: height is 0"),
    (["annotations", 2], 7, r"annotations\[2\]: expected an object"),
    (["annotations", 2, "id"], None, r"annotations\[2\]: no key 'id'"),
    (["annotations", 2, "id"], 183126, r"annotations\[2\] .*used twice"),
    (["annotations", 0, "image_id"], 8, r"\(id 183126\): image_id 8 is no"),
    (["annotations", 0, "category_id"], 3, "category_id is 3"),
    (["annotations", 0, "category_id"], "1", "category_id: expected a whole"),
    (["annotations", 0, "iscrowd"], "no", "iscrowd is 'no'"),
    (["annotations", 0, "keypoints"], None, r"\(id 183126\): no key 'keypoi"),
    (
      ["annotations", 0, "keypoints"],
      [1] * 48,
      "expected 51 numbers, found 48",
    ),
    (["annotations", 0, "keypoints", 2], 3, "visibility of nose is 3"),
    (["annotations", 0, "keypoints", 3], 1e30, "keypoints: left_eye is at .*"),
    (["annotations", 0, "bbox"], [1, 2, 3], "bbox: expected 4 numbers"),
    (["annotations", 0, "bbox"], [1, 2, 1e9, 3], "bbox: box .* beyond"),
    (["annotations", 0, "bbox", 2], "9", "bbox: expected finite numbers"),
    (["annotations", 1, "bbox"], None, r"\(id 900100000009\): no key 'bbox'"),
    (["categories", 0, "name"], "human", "0 of 1 are called 'person'"),
    (["categories", 0, "id"], "1", r"categories\[0\]: id: expected a whole"),
    (["categories", 0, "keypoints"], None, "category person.*no key"),
    (["categories", 0, "keypoints"], ["paw"], "none of its joints"),
  ],
)
def test_unsound_files_are_refused_with_the_record(
  tmp_path, path, value, message
):
  with pytest.raises(ValueError, match=message) as caught:
    read(tmp_path, change(path, value))
  file = tmp_path / "annotations" / "person_keypoints_train2017.json"
  assert str(caught.value).startswith(str(file))
  assert "\n" not in str(caught.value)


def test_a_file_without_labelled_joints_is_refused(tmp_path):
  record = content()
  for annotation in record["annotations"]:
    annotation["keypoints"] = keypoints()
  with pytest.raises(ValueError, match="no person has a labelled joint"):
    read(tmp_path, record)
