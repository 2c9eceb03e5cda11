import json

import numpy as np
import pytest

from diffpose_jax.data import annolist, posetrack17
from diffpose_jax.pose import skeleton

SKELETON = skeleton.POSETRACK
VIDEOS = ("bonn_5sec/000044_mpii", "mpii_5sec/000044_mpii")
POINTS = {0: (310.5, 420), 8: (301, 205), 12: (330, 180.25), 14: (340, 99)}
HEAD = (320, 95, 362, 171)

# The merged form as the supplementary packs have it: 17 slots, visibility 2,
# a box from the joints (x 301 to 340 + 1, y 99 to 420 + 1, times 1.2), an
# edge-wise `head_box`, names without a first folder.
MERGED_NAMES = [
  "nose", "head_bottom", "head_top", "left_ear", "right_ear",
  "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
  "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
  "right_knee", "left_ankle", "right_ankle",
]  # fmt: skip
MERGED_SLOTS = {0: 16, 8: 6, 12: 1, 14: 2}
MERGED_BOX = [297, 66.8, 48, 386.4]


def annolist_of(folder, frames=4, first=1, labelled=(1, 3), tail=""):
  """Frames from number `first`; `labelled` are positions from 1."""
  listed = []
  for position in range(1, frames + 1):
    name = f"images/{folder}/{first + position - 1:08d}{tail}.jpg"
    people = []
    if position in labelled:
      points = [
        {"id": [i], "x": [x + position], "y": [y]}
        for i, (x, y) in POINTS.items()
      ]
      people.append(
        dict(
          zip(("x1", "y1", "x2", "y2"), ([v] for v in HEAD), strict=True),
          track_id=[2],
          annopoints=[{"point": points}],
        )
      )
      people.append({"track_id": [5], "annopoints": []})
    listed.append(
      {
        "image": [{"name": name}],
        "annorect": people,
        "is_labeled": [int(bool(people))],
      }
    )
  return {"annolist": listed}


def merged_of(folders, frames=4, labelled=(1, 3)):
  images, people = [], []
  for folder in folders:
    for position in range(1, frames + 1):
      images.append(
        {
          "id": len(images) + 1,
          "file_name": f"{folder}/{position:08d}.jpg",
          "original_file_name": f"images/{folder}/{position:08d}.jpg",
          "frame_id": position,
          "nframes": frames,
          "width": 641,
          "height": 479,
          "is_labeled": position in labelled,
        }
      )
      if position not in labelled:
        continue
      points = np.zeros((17, 3))
      for i, (x, y) in POINTS.items():
        points[MERGED_SLOTS[i]] = x + position, y, 2
      box = [MERGED_BOX[0] + position, *MERGED_BOX[1:]]
      for track, keypoints, bbox, head in (
        (2, points, box, HEAD),
        (5, np.zeros((17, 3)), [0, 0, 0, 0], (0, 0, 0, 0)),
      ):
        people.append(
          {
            "id": len(people) + 1,
            "image_id": len(images),
            "category_id": 1,
            "iscrowd": 0,
            "segmentation": [],
            "num_keypoints": 17,
            "track_id": track,
            "head_box": list(map(float, head)),
            "keypoints": keypoints.reshape(-1).tolist(),
            "bbox": bbox,
            "area": bbox[2] * bbox[3],
          }
        )
  category = {"id": 1, "name": "person", "keypoints": MERGED_NAMES}
  return {"images": images, "annotations": people, "categories": [category]}


def write(path, record):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(record))


def write_annolists(root, parent="annotations", **options):
  for folder in VIDEOS:
    name = folder.replace("/", "_") + "_testsub.json"
    write(root / parent / "val" / name, annolist_of(folder, **options))


def write_merged(root, record, split="val"):
  write(root / "posetrack17_json_files" / f"posetrack_{split}.json", record)


def write_pictures(root, folder, names):
  (root / folder).mkdir(parents=True, exist_ok=True)
  for name in names:
    (root / folder / name).touch()


def read(root, split="val"):
  return posetrack17.read_split(root, split, skeleton=SKELETON)


def numbers(video):
  return [annolist.frame_number(f.file_name, "") for f in video.frames]


def test_both_forms_give_the_same(tmp_path):
  write_annolists(tmp_path / "a")
  write_merged(tmp_path / "b", merged_of(VIDEOS))
  ours, others = read(tmp_path / "a"), read(tmp_path / "b")
  assert len(ours) == len(others) == 2
  for video, other in zip(ours, others, strict=True):
    assert len(video.frames) == len(other.frames) == 4
    for frame, same in zip(video.frames, other.frames, strict=True):
      assert frame.labelled == same.labelled
      assert len(frame.people) == len(same.people)
      for a, b in zip(frame.people, same.people, strict=True):
        np.testing.assert_array_equal(a.joints, b.joints)
        np.testing.assert_array_equal(a.labelled, b.labelled)
        assert a.track_id == b.track_id
        assert (a.box is None) == (b.box is None)
        if a.box is not None and b.box is not None:
          np.testing.assert_allclose(a.box, b.box, rtol=1e-6)
          np.testing.assert_array_equal(a.head_box, b.head_box)


@pytest.mark.parametrize("form", ["annolist", "merged"])
def test_values_by_hand(tmp_path, form):
  if form == "annolist":
    write_annolists(tmp_path)
  else:
    write_merged(tmp_path, merged_of(VIDEOS))
  video = read(tmp_path)[0]
  assert [f.labelled for f in video.frames] == [True, False, True, False]
  person, other = video.frames[2].people
  expected = np.zeros((17, 2), np.float32)
  expected[16] = 313.5, 420  # right ankle
  expected[6] = 304, 205  # right shoulder
  expected[1] = 333, 180.25  # head_bottom
  expected[2] = 343, 99  # head_top
  np.testing.assert_array_equal(person.joints, expected)
  assert np.flatnonzero(person.labelled).tolist() == [1, 2, 6, 16]
  np.testing.assert_array_equal(person.head_box, HEAD)
  assert person.box is not None
  # x 304 to 344, y 99 to 421, and a tenth of 40 and 322 around.
  np.testing.assert_allclose(person.box, [300, 66.8, 348, 453.2], rtol=1e-6)
  assert person.track_id == 2
  assert not other.labelled.any()
  assert other.box is other.head_box is None
  assert other.track_id == 5


def test_merged_frames_keep_size_and_id_and_unequal_names(tmp_path):
  write_merged(tmp_path, merged_of(VIDEOS))
  videos = read(tmp_path)
  # Both folders end in 000044_mpii, as two of the real ones do.
  assert [v.name for v in videos] == [
    "bonn_5sec_000044_mpii",
    "mpii_5sec_000044_mpii",
  ]
  frame = videos[1].frames[0]
  assert (frame.height, frame.width, frame.image_id) == (479, 641, 5)
  assert frame.file_name == "images_renamed/mpii_5sec/000044_mpii/00000001.jpg"


def test_annolist_videos_are_named_by_file_and_ids_are_unique(tmp_path):
  write_annolists(tmp_path)
  videos = read(tmp_path)
  assert [v.name for v in videos] == [
    "bonn_5sec_000044_mpii_testsub",
    "mpii_5sec_000044_mpii_testsub",
  ]
  frames = [f for v in videos for f in v.frames]
  assert len({f.image_id for f in frames}) == 8
  assert all(f.image_id % 10**8 in (1, 2, 3, 4) for f in frames)
  assert frames[0].file_name == "images/bonn_5sec/000044_mpii/00000001.jpg"


def test_annolist_goes_before_merged(tmp_path):
  write_annolists(tmp_path, "posetrack17_annotation_dirs/jsons", frames=2)
  write_merged(tmp_path, merged_of(VIDEOS, frames=3))
  write_merged(tmp_path, merged_of(VIDEOS, frames=3), "train")
  assert posetrack17.splits(tmp_path) == ["train", "val"]
  assert [len(v.frames) for v in read(tmp_path)] == [2, 2]
  assert [len(v.frames) for v in read(tmp_path, "train")] == [3, 3]


def test_splits_leaves_out_subsets_and_other_files(tmp_path):
  write_merged(tmp_path, {}, "train_N5_per_video")
  write_merged(tmp_path, {}, "val_consecutive")
  with pytest.raises(ValueError, match="holds no annotations: looked for"):
    posetrack17.splits(tmp_path)
  with pytest.raises(ValueError, match="does not exist: looked for"):
    posetrack17.splits(tmp_path / "no")
  write_annolists(tmp_path, "posetrack_data/annotations")
  assert posetrack17.splits(tmp_path) == ["val"]
  with pytest.raises(ValueError, match=r"no split 'test': looked for .*/test/"):
    read(tmp_path, "test")


@pytest.mark.parametrize("base", ["", "posetrack_data/"])
def test_pictures_are_found_below_either_folder(tmp_path, base):
  write_annolists(tmp_path, f"{base}annotations")
  for folder in VIDEOS:
    write_pictures(tmp_path, f"{base}images/{folder}", ["00000001.jpg"])
  names = [f.file_name for f in read(tmp_path)[0].frames]
  assert names[0] == f"{base}images/bonn_5sec/000044_mpii/00000001.jpg"
  assert len(names) == 4


def test_frames_on_disk_are_added_unlabelled_in_order(tmp_path):
  write_merged(tmp_path, merged_of(VIDEOS, frames=2, labelled=(2,)))
  folder = f"images_renamed/{VIDEOS[0]}"
  write_pictures(
    tmp_path,
    folder,
    [f"{k:08d}.jpg" for k in (0, 1, 2, 5)] + ["thumb.jpg", "00000004.png"],
  )
  video, other = read(tmp_path)
  assert numbers(video) == [0, 1, 2, 5]
  assert [f.labelled for f in video.frames] == [False, False, True, False]
  assert video.frames[3].file_name == f"{folder}/00000005.jpg"
  assert video.frames[3].people == ()
  assert len({f.image_id for f in video.frames}) == 4
  assert len(other.frames) == 2  # its folder is not there


def test_annolist_too_gets_its_neighbours(tmp_path):
  write_annolists(tmp_path, frames=2, first=37, labelled=(1, 2))
  write_pictures(
    tmp_path, f"images/{VIDEOS[1]}", [f"{k:08d}.jpg" for k in range(35, 41)]
  )
  video = read(tmp_path)[1]
  assert numbers(video) == [35, 36, 37, 38, 39, 40]
  assert [f.labelled for f in video.frames] == [False] * 2 + [True] * 2 + [
    False
  ] * 2


def test_no_neighbours_beside_names_of_another_kind(tmp_path):
  write_annolists(tmp_path, tail="_crop")
  write_pictures(tmp_path, f"images/{VIDEOS[0]}", ["00000009.jpg"])
  assert numbers(read(tmp_path)[0]) == [1, 2, 3, 4]


def test_kth_frame_is_kth_renamed_picture(tmp_path):
  write_annolists(tmp_path, first=37, tail="_crop")
  for folder in VIDEOS:
    write_pictures(
      tmp_path,
      f"images_renamed/{folder}",
      [f"{k:08d}.jpg" for k in (1, 2, 3, 4)],
    )
  video = read(tmp_path)[0]
  assert [f.file_name for f in video.frames] == [
    f"images_renamed/{VIDEOS[0]}/{k:08d}.jpg" for k in (1, 2, 3, 4)
  ]
  assert [f.labelled for f in video.frames] == [True, False, True, False]
  write_pictures(tmp_path, f"images_renamed/{VIDEOS[0]}", ["00000005.jpg"])
  with pytest.raises(ValueError, match="lists 4 frames, .* has 5 pictures"):
    read(tmp_path)


def test_numbered_from_one_renamed_pictures_may_be_missing_or_more(tmp_path):
  write_annolists(tmp_path)
  write_pictures(
    tmp_path, f"images_renamed/{VIDEOS[0]}", ["00000001.jpg", "00000006.jpg"]
  )
  assert numbers(read(tmp_path)[0]) == [1, 2, 3, 4, 6]


def test_merged_takes_original_names_where_nothing_is_renamed(tmp_path):
  record = merged_of(VIDEOS)
  for image in record["images"]:
    folder, name = image["original_file_name"].rsplit("/", 1)
    number = int(name.split(".")[0]) + 36
    image["original_file_name"] = f"{folder}/{number:08d}.jpg"
  write_merged(tmp_path, record)
  write_pictures(tmp_path, f"images/{VIDEOS[0]}", ["00000036.jpg"])
  video, other = read(tmp_path)
  assert numbers(video) == [36, 37, 38, 39, 40]
  assert [f.labelled for f in video.frames] == [False, True, False, True, False]
  assert other.frames[0].file_name == f"images_renamed/{VIDEOS[1]}/00000001.jpg"


def test_two_files_of_one_folder_are_refused(tmp_path):
  for name in ("a", "b"):
    write(tmp_path / f"annotations/val/{name}.json", annolist_of(VIDEOS[0]))
  with pytest.raises(ValueError, match=r"a\.json and b\.json are both of"):
    read(tmp_path)


def remove(record, *keys):
  for key in keys[:-1]:
    record = record[key]
  del record[keys[-1]]


@pytest.mark.parametrize(
  ("where", "value", "message"),
  [
    (("images",), [], "images is empty"),
    (("images",), {}, "images: expected a list"),
    (("images", 1, "id"), 1, r"images\[1\]: image id 1 is used twice"),
    (("images", 1, "id"), 2**63, r"images\[1\]: id: expected a whole number"),
    (("annotations", 0), 5, r"annotations\[0\]: expected an object"),
    (
      ("annotations", 1, "track_id"),
      2,
      r"annotations\[1\] \(id 2\): track_id 2 is twice in frame "
      r"'bonn_5sec/000044_mpii/00000001\.jpg', before at .*annotations\[0\]",
    ),
    (("images", 1, "file_name"), "../1.jpg", r"images\[1\]: .*leaves the data"),
    (
      ("images", 1, "original_file_name"),
      "/1.jpg",
      r"images\[1\]: original: .*leaves the data",
    ),
    (
      ("images", 1, "file_name"),
      f"{VIDEOS[0]}/00000001.jpg",
      "frame 1 is there twice",
    ),
    (("images", 1, "is_labeled"), "no", r"images\[1\]: is_labeled is 'no'"),
    (("annotations", 0, "image_id"), 99, "image_id 99 is no image of this"),
    (("annotations", 0, "keypoints"), [1, 2], "expected 51 numbers, found 2"),
    (("annotations", 0, "keypoints", 3), None, "expected finite numbers"),
    (("annotations", 0, "keypoints", 5), 3, "visibility of head_bottom is 3"),
    (("annotations", 0, "bbox"), [1, 2, 0, 3], "has no area"),
    (("annotations", 0, "bbox"), [1, 2, 1e9, 3], "bbox: .* beyond"),
    (("annotations", 0, "bbox"), [], "bbox: expected 4 numbers, found 0"),
    (("annotations", 0, "keypoints", 3), 1e30, "keypoints: head_bottom is at"),
    (("annotations", 0, "head_box"), [1, 2, 3], "head_box: expected 4 numbers"),
    (("annotations", 0, "head_box"), [1, 2, 1, 3], "bbox_head: box .* no area"),
    (("annotations", 0, "category_id"), 3, "category_id is 3"),
    (("categories", 0, "keypoints"), ["nose", "nose"], "names a joint twice"),
  ],
)
def test_unsound_merged_files_are_refused_in_one_line(
  tmp_path, where, value, message
):
  record = merged_of(VIDEOS)
  place = record
  for key in where[:-1]:
    place = place[key]
  place[where[-1]] = value
  write_merged(tmp_path, record)
  with pytest.raises(ValueError, match=message) as caught:
    read(tmp_path)
  path = tmp_path / "posetrack17_json_files" / "posetrack_val.json"
  assert str(caught.value).startswith(str(path))
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("keys", "message"),
  [
    (("categories",), "no key 'categories'"),
    (("images", 0, "file_name"), r"images\[0\]: no key 'file_name'"),
    (("annotations", 0, "keypoints"), r"annotations\[0\]: no key 'keypoints'"),
  ],
)
def test_merged_files_need_their_keys(tmp_path, keys, message):
  record = merged_of(VIDEOS)
  remove(record, *keys)
  write_merged(tmp_path, record)
  with pytest.raises(ValueError, match=message):
    read(tmp_path)


def test_merged_without_flag_or_track_id(tmp_path):
  record = merged_of(VIDEOS)
  for image in record["images"]:
    del image["is_labeled"]
  for annotation in record["annotations"]:
    del annotation["track_id"]
  write_merged(tmp_path, record)
  frames = read(tmp_path)[0].frames
  assert [f.labelled for f in frames] == [True, False, True, False]
  assert [p.track_id for p in frames[0].people] == [-1, -1]


@pytest.mark.parametrize("form", ["annolist", "merged"])
def test_a_video_of_one_frame(tmp_path, form):
  if form == "annolist":
    write_annolists(tmp_path, frames=1, labelled=(1,))
  else:
    write_merged(tmp_path, merged_of(VIDEOS, frames=1, labelled=(1,)))
  for video in read(tmp_path):
    (frame,) = video.frames
    assert frame.labelled and len(frame.people) == 2


def test_posetrack18_files_are_told_apart(tmp_path):
  write(tmp_path / "annotations/val/a.json", merged_of(VIDEOS[:1]))
  with pytest.raises(ValueError, match="prepare it as posetrack18"):
    read(tmp_path)
