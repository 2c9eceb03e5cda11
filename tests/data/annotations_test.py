import dataclasses
import json

import numpy as np
import pytest

from diffpose_jax.data import annotations
from diffpose_jax.data.annotations import Frame, Person, Video
from diffpose_jax.pose import skeleton

SKELETON = skeleton.POSETRACK


def content():
  """Two frames, the second first; joints in an order of their own."""
  return {
    "images": [
      {"id": 11, "file_name": "images/val/v/000010.jpg", "is_labeled": False},
      {
        "id": 7,
        "file_name": "images/val/v/000009.jpg",
        "height": 480,
        "width": 640,
        "ignore_regions_x": [[0, 5, 5]],
        "ignore_regions_y": [[0, 0, 3]],
      },
    ],
    "annotations": [
      {
        "id": 70,
        "image_id": 7,
        "category_id": 1,
        "track_id": 3,
        "keypoints": [101, 102, 1, 0, 0, 0, 301, 302, 2],
        "scores": [0.1, 0.2, 0.3],
        "occluded": [1, 0, 0],
        "bbox": [10, 20, 30, 50],
        "bbox_head": [11, 21, 5, 7],
        "blur": 1.5,
        "speed": 2.5,
      },
      {"image_id": 7, "keypoints": [1, 2, 1, 3, 4, 1, 5, 6, 1]},
    ],
    "categories": [
      {"id": 1, "keypoints": ["right_wrist", "left_ankle", "nose"]}
    ],
  }


def read(tmp_path, record, name="v.json", **options):
  path = tmp_path / name
  path.write_text(json.dumps(record))
  return annotations.read_video(path, skeleton=SKELETON, **options)


def equal(a, b):
  """Whether two values are the same, arrays and NaN included."""
  if dataclasses.is_dataclass(a):
    return type(a) is type(b) and all(
      equal(getattr(a, f.name), getattr(b, f.name))
      for f in dataclasses.fields(a)
    )
  if isinstance(a, tuple):
    return len(a) == len(b) and all(map(equal, a, b))
  if isinstance(a, np.ndarray):
    return a.dtype == b.dtype and np.array_equal(a, b)
  return a == b or (a != a and b != b)


def test_read_video_orders_frames_and_joints(tmp_path):
  video = read(tmp_path, content())
  assert video.name == "v"
  assert [f.image_id for f in video.frames] == [7, 11]
  first, second = video.frames
  assert first.labelled  # is_labeled is absent, and there are people
  assert not second.labelled
  assert second.people == ()
  assert (first.height, first.width) == (480, 640)
  assert second.height is None
  np.testing.assert_array_equal(
    first.ignore_regions[0], [[0, 0], [5, 0], [5, 3]]
  )
  person, other = first.people
  wrist, ankle, nose = 10, 15, 0
  assert np.flatnonzero(person.labelled).tolist() == [nose, wrist]
  np.testing.assert_array_equal(person.joints[wrist], [101, 102])
  np.testing.assert_array_equal(person.joints[nose], [301, 302])
  assert np.count_nonzero(person.joints) == 4
  assert person.scores is not None
  assert person.occluded is not None
  assert person.joints.dtype == person.scores.dtype == np.float32
  np.testing.assert_allclose(
    person.scores[[wrist, ankle, nose]], [0.1, 0.2, 0.3], rtol=1e-7
  )
  assert np.flatnonzero(person.occluded).tolist() == [wrist]
  np.testing.assert_array_equal(person.box, [10, 20, 40, 70])
  np.testing.assert_array_equal(person.head_box, [11, 21, 16, 28])
  assert (person.track_id, person.blur, person.speed) == (3, 1.5, 2.5)
  assert other.box is other.head_box is other.scores is other.occluded is None
  assert np.isnan(other.blur)
  np.testing.assert_array_equal(other.joints[ankle], [3, 4])


def test_read_video_in_double_precision(tmp_path):
  record = content()
  record["annotations"][0]["keypoints"][0] = 100.123456789
  person = read(tmp_path, record, dtype=np.float64).frames[0].people[0]
  assert person.joints[10, 0] == 100.123456789
  assert person.box is not None
  assert person.scores is not None
  assert person.box.dtype == person.scores.dtype == np.float64


def test_unlabelled_joint_is_at_zero_whatever_the_file_says(tmp_path):
  record = content()
  record["annotations"][0]["keypoints"][3:6] = [55, 66, 0]
  labels = read(tmp_path, record).frames[0].people[0]
  assert not labels.labelled[15]
  np.testing.assert_array_equal(labels.joints[15], [0, 0])
  result = read(tmp_path, record, style="results").frames[0].people[0]
  assert result.labelled[15]
  np.testing.assert_array_equal(result.joints[15], [55, 66])


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
    (["annotations"], None, "no key 'annotations'"),
    (["categories"], None, "no key 'categories'"),
    (["images"], {}, "images: expected a list"),
    (["images"], [], "images is empty"),
    (["categories"], [], "categories is empty"),
    (["images", 1, "id"], None, r"images\[1\]: no key 'id'"),
    (["images", 1, "id"], 11, r"images\[1\]: image id 11 is used twice"),
    (["images", 1, "id"], "7", r"images\[1\]: id: expected a whole number"),
    (["images", 0, "file_name"], None, r"images\[0\]: no key 'file_name'"),
    (
      ["images", 1, "file_name"],
      "images/val/v/000010.jpg",
      "'images/val/v/000010.jpg' is used twice",
    ),
    (["images", 1, "file_name"], "/etc/passwd", r"images\[1\]: .*leaves"),
    (["images", 1, "file_name"], "a/../../b", r"images\[1\]: .*leaves"),
    (
      ["images", 1, "file_name"],
      "images//val/./v/000010.jpg",
      r"images\[1\]: .* is used twice",
    ),
    (["images", 1, "id"], 2**63, r"images\[1\]: id: expected a whole number"),
    (["images", 1, "is_labeled"], "no", r"images\[1\]: is_labeled is 'no'"),
    (["images", 1, "height"], -1, r"images\[1\]: height is -1"),
    (["images", 1, "ignore_regions_x"], [[1]], "differ in length"),
    (["annotations", 1], 5, r"annotations\[1\]: expected an object"),
    (["annotations", 1, "image_id"], None, "no key 'image_id'"),
    (
      ["annotations", 0, "image_id"],
      8,
      r"annotations\[0\] \(id 70\): image_id 8 is no image",
    ),
    (["annotations", 0, "keypoints"], None, r"annotations\[0\]: no key"),
    (
      ["annotations", 0, "keypoints"],
      [1.0] * 8,
      r"\(id 70\): keypoints: expected 9 numbers, found 8",
    ),
    (["annotations", 0, "keypoints", 0], "1", "expected finite numbers"),
    (["annotations", 0, "keypoints", 2], 3, "visibility of right_wrist is 3"),
    (["annotations", 0, "keypoints", 2], -1, "visibility of .* is -1"),
    (
      ["annotations", 0, "keypoints", 0],
      1e30,
      r"\(id 70\): keypoints: right_wrist is at \[1e\+30, 102\.0\], beyond",
    ),
    (
      ["annotations", 1, "track_id"],
      3,
      r"annotations\[1\]: track_id 3 is twice in frame "
      r"'images/val/v/000009\.jpg', before at .*annotations\[0\] \(id 70\);",
    ),
    (["annotations", 0, "track_id"], 2**63, "track_id: expected a whole"),
    (["annotations", 0, "scores"], [1.0], "scores: expected 3 numbers"),
    (["annotations", 0, "occluded"], [1.0], "occluded: expected 3 numbers"),
    (["annotations", 0, "bbox"], [1, 2, 0, 4], r"\(id 70\): bbox: box .* area"),
    (["annotations", 0, "bbox"], [], r"\(id 70\): bbox: expected 4 numbers"),
    (["annotations", 0, "bbox"], [1, 2, -3, -4], r"bbox: box .* area"),
    (["annotations", 0, "bbox"], [1, 2, 1e9, 4], r"\(id 70\): bbox: .* beyond"),
    (["annotations", 0, "bbox"], ["1", 2, 3, 4], "bbox: expected finite num"),
    (["annotations", 0, "bbox_head"], [1, 2, 3, 0], "bbox_head: box .* area"),
    (["annotations", 0, "track_id"], "a", "track_id: expected a whole number"),
    (["annotations", 0, "category_id"], 2, "category_id is 2"),
    (["annotations", 0, "blur"], "much", "blur: expected finite numbers"),
  ],
)
def test_read_video_refuses_and_names_the_record(
  tmp_path, path, value, message
):
  with pytest.raises(ValueError, match=message) as caught:
    read(tmp_path, change(path, value))
  assert str(caught.value).startswith(str(tmp_path / "v.json"))
  assert "\n" not in str(caught.value)


def test_people_without_a_track_or_of_other_frames_are_no_doubles(tmp_path):
  record = content()
  first = record["annotations"][0]
  for track in (-1, None):
    record["annotations"] = [first | {"track_id": track}] * 2
    people = read(tmp_path, record).frames[0].people
    assert [person.track_id for person in people] == [-1, -1]
  record["annotations"] = [first, first | {"image_id": 11}]
  frames = read(tmp_path, record).frames
  assert [f.people[0].track_id for f in frames] == [3, 3]


def test_results_may_give_everybody_one_track(tmp_path):
  record = content()
  record["annotations"][1]["track_id"] = 3
  people = read(tmp_path, record, style="results").frames[0].people
  assert [person.track_id for person in people] == [3, 3]


def test_ids_beyond_32_bits_are_kept(tmp_path):
  record = content()
  record["images"][1]["id"] = 2**62 + 1
  for annotation in record["annotations"]:
    annotation["image_id"] = 2**62 + 1
  record["annotations"][0]["track_id"] = 2**40 + 1
  frame = read(tmp_path, record).frames[0]
  assert frame.image_id == 2**62 + 1
  assert frame.people[0].track_id == 2**40 + 1
  assert frame.people[1].track_id == -1  # not in the file


def test_a_person_without_any_visible_joint_stays(tmp_path):
  record = content()
  record["annotations"][0]["keypoints"] = [5, 6, 0] * 3
  del record["annotations"][0]["bbox_head"]
  person = read(tmp_path, record).frames[0].people[0]
  assert not person.labelled.any() and not person.joints.any()
  assert person.head_box is None
  np.testing.assert_array_equal(person.box, [10, 20, 40, 70])


def test_a_video_of_one_frame(tmp_path):
  record = content()
  del record["images"][0]
  (frame,) = read(tmp_path, record).frames
  assert frame.image_id == 7 and len(frame.people) == 2


def test_frames_with_gaps_go_by_name_whatever_their_ids(tmp_path):
  record = content()
  record["annotations"] = []
  record["images"] = [
    {"id": i, "file_name": f"v/{n}.jpg"}
    for i, n in ((5, 1000), (2**40, 7), (1, 31))
  ]
  frames = read(tmp_path, record).frames
  assert [f.image_id for f in frames] == [2**40, 1, 5]


@pytest.mark.parametrize("text", ["[1, 2]", "7", "null"])
def test_read_video_refuses_another_top_level(tmp_path, text):
  (tmp_path / "v.json").write_text(text)
  with pytest.raises(ValueError, match=r"v\.json: expected an object"):
    annotations.read_video(tmp_path / "v.json", skeleton=SKELETON)


def test_read_video_refuses_nan(tmp_path):
  (tmp_path / "v.json").write_text(json.dumps(content()).replace("301", "NaN"))
  with pytest.raises(ValueError, match="NaN is not finite"):
    annotations.read_video(tmp_path / "v.json", skeleton=SKELETON)


def random_video(rng, name="000001_x", frames=5):
  made = []
  for i in range(frames):
    people = []
    for track in range(i % 3):
      labelled = rng.random(17) < 0.7
      low = rng.uniform(-20, 300, 2)
      box = np.concatenate([low, low + rng.uniform(1, 90, 2)])
      people.append(
        Person(
          box=box.astype(np.float32) if track else None,
          joints=np.where(
            labelled[:, None], rng.uniform(-9, 640, (17, 2)), 0
          ).astype(np.float32),
          labelled=labelled,
          track_id=track * 13,
          head_box=None if track else box.astype(np.float32),
          scores=rng.random(17).astype(np.float32) if i % 2 else None,
          box_score=float(rng.random()),
          occluded=rng.random(17) < 0.5 if track else None,
          blur=float(rng.random()) if i % 2 else float("nan"),
        )
      )
    made.append(
      Frame(
        file_name=f"images/val/{name}/{i:06}.jpg",
        image_id=10**10 + i,
        labelled=i != 3,
        people=tuple(people),
        ignore_regions=tuple(
          rng.uniform(0, 99, (n, 2)).astype(np.float32) for n in range(3, 3 + i)
        ),
        height=None if i == 2 else 479,
        width=None if i == 2 else 641,
      )
    )
  return Video(name, tuple(made))


def test_what_is_written_is_read_back_bit_for_bit(tmp_path):
  video = random_video(np.random.default_rng(0))
  path = tmp_path / "000001_x.json"
  annotations.write_video(path, video, skeleton=SKELETON)
  assert equal(annotations.read_video(path, skeleton=SKELETON), video)


def test_written_floats_are_short(tmp_path):
  video = read(tmp_path, content())
  path = tmp_path / "w.json"
  annotations.write_video(path, video, skeleton=SKELETON)
  assert json.loads(path.read_text())["annotations"][0]["scores"][10] == 0.1


def test_merged_file_gives_a_video_for_each_folder(tmp_path):
  record = content()
  record["images"][0]["file_name"] = "images/val/u/000010.jpg"
  path = tmp_path / "merged.json"
  path.write_text(json.dumps(record))
  videos = annotations.read_videos(path, skeleton=SKELETON)
  assert [video.name for video in videos] == ["u", "v"]
  assert len(videos[1].frames[0].people) == 2
  with pytest.raises(ValueError, match="pictures of 2 folders"):
    annotations.read_video(path, skeleton=SKELETON)


def test_read_split_finds_both_layouts(tmp_path):
  rng = np.random.default_rng(1)
  for i, folder in enumerate(("annotations/val", "posetrack_data/train")):
    for name in ("b", "a"):
      annotations.write_video(
        tmp_path / folder / f"{name}.json",
        random_video(rng, name, 2 + i),
        skeleton=SKELETON,
      )
  val = annotations.read_split(tmp_path, "val", skeleton=SKELETON)
  assert [(v.name, len(v.frames)) for v in val] == [("a", 2), ("b", 2)]
  train = annotations.read_split(tmp_path, "train", skeleton=SKELETON)
  assert [(v.name, len(v.frames)) for v in train] == [("a", 3), ("b", 3)]
  with pytest.raises(
    ValueError, match=r"no split 'test' .*there is train, val"
  ):
    annotations.read_split(tmp_path, "test", skeleton=SKELETON)


def test_read_split_says_where_it_looked(tmp_path):
  with pytest.raises(ValueError) as caught:
    annotations.read_split(tmp_path / "no", "val", skeleton=SKELETON)
  for part in ("no data root", "no/annotations/val/*.json", "posetrack.net"):
    assert part in str(caught.value)


def test_read_folder_refuses_nothing_and_doubles(tmp_path):
  with pytest.raises(ValueError, match="no such folder"):
    annotations.read_folder(tmp_path / "no", skeleton=SKELETON)
  with pytest.raises(ValueError, match=r"no \*\.json"):
    annotations.read_folder(tmp_path, skeleton=SKELETON)
  record = content()
  record["images"][0]["file_name"] = "images/val/u/000010.jpg"
  (tmp_path / "merged.json").write_text(json.dumps(record))
  (tmp_path / "v.json").write_text(json.dumps(content()))
  with pytest.raises(ValueError, match="video 'v' is there 2 times"):
    annotations.read_folder(tmp_path, skeleton=SKELETON)


def test_natural_key_counts():
  names = ["a10", "a9", "a", "b1", "9", "10", "a09"]
  got = sorted(names, key=annotations.natural_key)
  assert got == ["9", "10", "a", "a09", "a9", "a10", "b1"]


@pytest.mark.parametrize(
  ("folder", "counts"),
  [
    ("posetrack18_mini/annotations/val", (3, 3, 14, 182)),
    ("jhmdb/annotations/val", (40, 1300, 1300, None)),
    pytest.param(
      "jhmdb/annotations/train",
      (174, 6163, 6163, None),
      marks=pytest.mark.slow,
    ),
    ("jhmdb_mini/annotations/train", (2, 70, 70, None)),
    ("bonn_tracks_mini/annotations/train", (3, 158, 521, 6955)),
    ("poseval_reference/gt", (6, 161, 530, None)),
    ("poseval_reference/pred", (6, 161, 543, None)),
  ],
)
def test_real_files_are_read_whole(shared_data, folder, counts):
  videos = annotations.read_folder(shared_data / folder, skeleton=SKELETON)
  people = [p for v in videos for f in v.frames for p in f.people]
  frames = sum(len(v.frames) for v in videos)
  joints = sum(int(np.sum(p.labelled)) for p in people)
  assert (len(videos), frames, len(people)) == counts[:3]
  assert counts[3] is None or joints == counts[3]


def test_real_merged_file_is_its_parts(shared_data):
  folder = shared_data / "posetrack18_mini" / "annotations"
  parts = annotations.read_folder(folder / "val", skeleton=SKELETON)
  merged = annotations.read_videos(
    folder / "test_posetrack18_val.json", skeleton=SKELETON
  )
  assert equal(tuple(parts), tuple(merged))
  first = parts[0].frames[0]
  assert first.image_id == 10034180000
  np.testing.assert_array_equal(first.people[0].head_box, [346, 337, 642, 574])
  np.testing.assert_array_equal(first.people[0].joints[0], [621, 471])


def test_time_of_a_frame_is_written_and_read(tmp_path):
  frames = (
    annotations.Frame("a/0.jpg", 0, labelled=True, time=0.25),
    annotations.Frame("a/1.jpg", 1, labelled=True),
  )
  video = annotations.Video("v", frames)
  annotations.write_video(
    tmp_path / "v.json", video, skeleton=skeleton.POSETRACK
  )
  read = annotations.read_video(
    tmp_path / "v.json", skeleton=skeleton.POSETRACK
  )
  assert read.frames[0].time == 0.25
  assert np.isnan(read.frames[1].time)


def test_noise_id_tells_tracks_apart_and_is_0_without():
  ids = {
    annotations.noise_id(video, track)
    for video in ("a", "b")
    for track in range(5)
  }
  assert len(ids) == 10
  assert all(0 < i < 2**32 for i in ids)
  assert annotations.noise_id("a", -1) == annotations.noise_id("b", -1) == 0
