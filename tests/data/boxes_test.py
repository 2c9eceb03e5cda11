import json

import numpy as np
import pytest

from diffpose_jax.data import annotations, box_files, boxes
from diffpose_jax.data.annotations import Frame, Video
from diffpose_jax.pose import geometry, skeleton


def video(name, first_id, count):
  return Video(
    name,
    tuple(
      Frame(f"images/val/{name}/{i:06}.jpg", first_id + i, False)
      for i in range(count)
    ),
  )


VIDEOS = [video("a", 100, 3), video("b", 200, 5)]


def read(tmp_path, record, videos=VIDEOS, threshold=0.0):
  path = tmp_path / "boxes.json"
  path.write_text(json.dumps(record))
  return boxes.read_boxes(path, videos, threshold=threshold)


def detection(image_id, score=0.5, **more):
  return {"image_id": image_id, "bbox": [1, 2, 3, 5], "score": score, **more}


def test_each_split_gets_its_own_boxes(tmp_path):
  sized = annotations.Video(
    "c", (Frame("images/val/c/000000.jpg", 300, False, height=19, width=17),)
  )
  splits = {"x": VIDEOS, "none": [video("d", 400, 2)], "y": [sized]}
  path = tmp_path / "boxes.json"
  records = [detection(300, 0.4), detection(204), detection(300, 0.6)]
  records += [detection(300, bbox=[17, 2, 3, 5])]  # beside the picture
  records += [detection(999), detection(101, category_id=17)]
  path.write_text(json.dumps(records))
  found = boxes.read_each(path, splits)
  assert list(found) == ["x", "none", "y"]
  counts = {
    name: (len(b.score), b.unknown_images, b.outside, b.other_categories)
    for name, b in found.items()
  }
  assert counts == {"x": (1, 4, 0, 1), "none": (0, 5, 0, 1), "y": (2, 2, 1, 1)}
  assert (found["x"].video.tolist(), found["x"].frame.tolist()) == ([1], [4])
  assert found["y"].video.tolist() == [0, 0]
  best = boxes.above(boxes.above(found["y"], 0.3), 0.5)
  np.testing.assert_array_equal(best.score, np.array([0.6], np.float32))
  assert best.below_threshold == 1


def test_an_id_of_two_splits_is_refused(tmp_path):
  path = tmp_path / "boxes.json"
  path.write_text(json.dumps([detection(101)]))
  splits = {"train": VIDEOS, "val": [video("d", 101, 2)]}
  with pytest.raises(ValueError, match=r"boxes\.json: \[0\].*is in 2 frames"):
    boxes.read_each(path, splits)


@pytest.mark.parametrize("score", [0.7, 0.1, 0.3])
def test_a_score_equal_to_the_threshold_is_kept(tmp_path, score):
  """Also where float32 lies below it."""
  assert len(read(tmp_path, [detection(101, score)], threshold=score).score)
  lower = [detection(101, score - 1e-6), detection(101, 0.9)]
  assert read(tmp_path, lower, threshold=score).below_threshold == 1


def test_detections_are_sorted_by_frame_and_cut_by_score(tmp_path):
  got = read(
    tmp_path,
    [
      detection(203, 0.9, bbox=[10, 20, 7, 11]),
      detection(101, 0.2),
      detection(203, 0.8),
      detection(101, 0.19),
      detection(999, 0.9),
      detection(101, 0.9, category_id=17),
      detection(101, 0.3, track_id=4),
    ],
    threshold=0.2,
  )
  assert got.video.tolist() == [0, 0, 1, 1]
  assert got.frame.tolist() == [1, 1, 3, 3]
  np.testing.assert_allclose(got.score, [0.2, 0.3, 0.9, 0.8], rtol=1e-7)
  np.testing.assert_array_equal(got.box[2], [10, 20, 17, 31])
  np.testing.assert_array_equal(got.box[0], [1, 2, 4, 7])
  assert got.track_id.tolist() == [-1, 4, -1, -1]
  assert got.below_threshold == 1
  assert got.unknown_images == 1
  assert got.other_categories == 1
  assert got.box.dtype == np.float32
  assert got.video.dtype == got.frame.dtype == np.int32


def test_an_empty_list_is_no_boxes(tmp_path):
  got = read(tmp_path, [])
  assert got.box.shape == (0, 4)
  assert got.video.shape == (0,)


def posetrack(names, ids=None, **more):
  ids = ids or list(range(len(names)))
  return {
    "images": [
      {"id": i, "file_name": n} for i, n in zip(ids, names, strict=True)
    ],
    "annotations": [
      {"image_id": i, "bbox": [j, 2, 3, 5], "track_id": j, **more}
      for j, i in enumerate(ids)
    ],
  }


def test_posetrack_json_goes_by_name_not_by_id(tmp_path):
  # The ids are those of other frames: a renumbered file.
  got = read(
    tmp_path,
    posetrack(
      ["images/val/b/000003.jpg", "images/val/a/000001.jpg"], [101, 203]
    ),
  )
  assert list(zip(got.video, got.frame, strict=True)) == [(0, 1), (1, 3)]
  assert got.track_id.tolist() == [1, 0]
  assert got.score.tolist() == [1, 1]


def test_one_video_takes_the_numbers_of_one_folder(tmp_path):
  clip = [
    Video("clip", tuple(Frame(f"clip/{i:08}.png", i, False) for i in range(3)))
  ]
  names = [f"images/test/x/{i:06}.jpg" for i in (2, 0)]
  got = read(tmp_path, posetrack(names, [1, 2]), clip)
  assert got.frame.tolist() == [0, 2]
  np.testing.assert_array_equal(got.box[:, 0], [1, 0])
  with pytest.raises(ValueError, match="none of its 2 boxes"):
    read(tmp_path, posetrack(["x/000001.jpg", "y/000001.jpg"]), clip)


def test_a_folder_is_read_whole(tmp_path):
  for name in "ab":
    (tmp_path / f"{name}.json").write_text(
      json.dumps(posetrack([f"images/val/{name}/000002.jpg"]))
    )
  got = boxes.read_boxes(tmp_path, VIDEOS, threshold=0.5)
  assert got.video.tolist() == [0, 1]
  assert got.frame.tolist() == [2, 2]
  (tmp_path / "empty").mkdir()
  with pytest.raises(ValueError, match=r"no \*\.json or .* in this folder"):
    boxes.read_boxes(tmp_path / "empty", VIDEOS, threshold=0.5)


@pytest.mark.parametrize(
  ("record", "message"),
  [
    ("boxes", "neither a list of detections nor PoseTrack18 JSON"),
    ({"annotations": []}, "no key 'images'"),
    ([7], r"\[0\]: expected an object with bbox"),
    ([{"image_id": 100}], r"\[0\]: no key 'bbox'"),
    ([{"bbox": [1, 2, 3, 4]}], "needs image_id, image_name or file_name"),
    ([detection(100), detection(100, bbox=[1, 2, 0, 4])], r"\[1\]: .*no area"),
    ([detection(100, bbox=[1, 2, 3])], "expected 4 numbers, found 3"),
    ([detection(100, 1.5)], r"score is 1\.5; it must be in \[0, 1\]"),
    ([detection("100")], "image_id: expected a whole number"),
    ([{"file_name": "../x.jpg", "bbox": [1, 2, 3, 4]}], "leaves the data root"),
    (
      [detection(7), detection(8)],
      r"none of its 2 boxes .*of 7, .*000000\.jpg",
    ),
    (posetrack(["a/0.jpg", "a/1.jpg"], [5, 5]), "image id 5 is used twice"),
    (
      {"images": [], "annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4]}]},
      "image_id 1 is no image of this file",
    ),
  ],
)
def test_bad_files_are_refused_by_record(tmp_path, record, message):
  with pytest.raises(ValueError, match=message) as caught:
    read(tmp_path, record)
  assert str(caught.value).startswith(str(tmp_path / "boxes.json"))


def test_nan_and_shared_ids_are_refused(tmp_path):
  with pytest.raises(ValueError, match="NaN is not finite"):
    read(tmp_path, [detection(100, bbox=[float("nan"), 2, 3, 4])])
  twins = [video("a", 100, 3), video("b", 100, 3)]
  with pytest.raises(ValueError, match=r"\[0\]: image 101 is in 2 frames"):
    read(tmp_path, [detection(101)], twins)


def test_whole_reaches_the_outer_edges():
  np.testing.assert_array_equal(
    boxes.whole(7, 11), np.array([-0.5, -0.5, 10.5, 6.5], np.float32)
  )


AUTO: box_files.Format = "auto"
FORMATS: tuple[box_files.Format, ...] = ("coco", "posetrack", "mot", "csv")
# (video, frame, x, y, w, h, score, track), all exact in binary.
SAME = [
  (0, 0, 10.5, 20.25, 30.125, 41.0, 0.5, 3),
  (0, 2, -4.75, 0.0, 19.5, 23.0625, 0.875, 3),
  (1, 0, 7.0, 11.0, 13.0, 17.0, 1.0, 5),
  (1, 4, 100.0, 50.5, 1.0, 1.0, 0.25, 0),
  (1, 4, 3.0, 5.0, 7.5, 2.5, 0.0625, 7),
]


def in_four_formats(root):
  """The paths of `SAME` as COCO, PoseTrack18, MOT and CSV."""
  coco, csv = [], ["track_id,y2,x2,y1,x1,confidence,frame,video,note"]
  tracks = {name: posetrack([]) for name in "ab"}
  mot = {name: [] for name in "ab"}
  for v, f, x, y, w, h, score, track in SAME:
    name, image = "ab"[v], VIDEOS[v].frames[f]
    more = {"bbox": [x, y, w, h], "score": score, "track_id": track}
    coco.append({"image_id": image.image_id, "category_id": 1, **more})
    content = tracks[name]
    content["images"] = [
      {"id": frame.image_id, "file_name": frame.file_name}
      for frame in VIDEOS[v].frames
    ]
    content["annotations"].append({"image_id": image.image_id, **more})
    mot[name].append(
      f"{f + 1},{track},{x + 1},{y + 1},{w},{h},{score},-1,-1,-1"
    )
    csv.append(f"{track},{y + h},{x + w},{y},{x},{score},{f},{name},?")
  for folder in ("posetrack", "mot"):
    (root / folder).mkdir()
  for name in "ab":
    (root / "posetrack" / f"{name}.json").write_text(json.dumps(tracks[name]))
    (root / "mot" / f"{name}.txt").write_text("\n".join(mot[name]))
  (root / "coco.json").write_text(json.dumps(coco))
  (root / "boxes.csv").write_text("\n".join(csv))
  return {
    "coco": root / "coco.json",
    "posetrack": root / "posetrack",
    "mot": root / "mot",
    "csv": root / "boxes.csv",
  }


def test_four_formats_give_the_same_bits(tmp_path):
  expected = {
    "video": np.array([0, 0, 1, 1, 1], np.int32),
    "frame": np.array([0, 2, 0, 4, 4], np.int32),
    "box": np.array(
      [
        [10.5, 20.25, 40.625, 61.25],
        [-4.75, 0, 14.75, 23.0625],
        [7, 11, 20, 28],
        [100, 50.5, 101, 51.5],
        [3, 5, 10.5, 7.5],
      ],
      np.float32,
    ),
    "score": np.array([0.5, 0.875, 1, 0.25, 0.0625], np.float32),
    "track_id": np.array([3, 3, 5, 0, 7], np.int64),
  }
  paths = in_four_formats(tmp_path)
  for name in FORMATS:
    for stated in (AUTO, name):
      got = boxes.read_boxes(paths[name], VIDEOS, threshold=0.0, format=stated)
      for field, array in expected.items():
        found = getattr(got, field)
        assert found.dtype == array.dtype
        assert found.tobytes() == array.tobytes(), (name, field)


def test_a_stated_format_is_kept_to(tmp_path):
  paths = in_four_formats(tmp_path)
  for stated in FORMATS:
    for name, path in paths.items():
      if name != stated:
        with pytest.raises(ValueError, match=str(tmp_path)):
          boxes.read_boxes(path, VIDEOS, threshold=0.0, format=stated)


def sized(height, width):
  frames = (Frame("a/0.jpg", 7, False, height=height, width=width),)
  return [Video("a", frames)]


@pytest.mark.parametrize(
  ("bbox", "inside"),
  [
    ([0, 0, 31, 23], True),  # the whole picture
    ([3, 5, 1, 1], True),  # one pixel
    ([-900, -900, 1e5, 1e5], True),  # far larger, and not clipped
    ([30.25, 2, 5, 5], True),  # the last pixel reaches to 30.5
    ([30.5, 2, 5, 5], False),
    ([-5.5, 2, 5, 5], False),  # the first pixel begins at -0.5
    ([-5.5, 2, 5.25, 5], True),
    ([2, 22.5, 5, 5], False),
    ([2, -6, 5, 5.5], False),
  ],
)
def test_boxes_outside_the_picture_are_counted(tmp_path, bbox, inside):
  got = read(
    tmp_path, [detection(7, bbox=bbox), detection(7, 0.75)], sized(23, 31)
  )
  assert got.outside == (0 if inside else 1)
  x, y, w, h = bbox
  expected = [[x, y, x + w, y + h]] * inside + [[1, 2, 4, 7]]
  np.testing.assert_array_equal(got.box, np.array(expected, np.float32))
  affine = geometry.crop_affine(geometry.enlarge(got.box[0], 1.25), (17, 13))
  assert np.isfinite(affine).all()
  assert np.isfinite(geometry.invert(affine)).all()
  # Of unknown size, a picture may hold any box.
  assert (
    read(tmp_path, [detection(7, bbox=bbox)], sized(None, None)).outside == 0
  )


def test_boxes_that_are_all_outside_are_refused(tmp_path):
  with pytest.raises(ValueError, match=r"none of its 1 boxes .* in 31x23 pix"):
    read(tmp_path, [detection(7, bbox=[40, 2, 5, 5])], sized(23, 31))


def test_a_track_id_is_once_in_a_frame(tmp_path):
  twice = [detection(100, track_id=4), detection(101, track_id=4)]
  read(tmp_path, twice)
  with pytest.raises(ValueError, match=r"\[2\]: track id 4 is twice .*\[1\]"):
    read(tmp_path, [*twice, detection(101, 0.75, track_id=4)])
  # Without ids nothing says that they are one person.
  assert len(read(tmp_path, [detection(100), detection(100)]).score) == 2
  read(tmp_path, [detection(100, track_id=-1), detection(100, track_id=-1)])


def test_real_detections(shared_data):
  folder = shared_data / "posetrack18_mini" / "annotations"
  videos = annotations.read_split(
    folder.parent, "val", skeleton=skeleton.POSETRACK
  )
  path = folder / "test_posetrack18_human_detections.json"
  got = boxes.read_boxes(path, videos, threshold=0.0)
  assert np.bincount(got.video).tolist() == [100, 78, 100]
  assert set(got.frame.tolist()) == {0}
  assert (got.unknown_images, got.other_categories) == (0, 0)
  cut = boxes.read_boxes(path, videos, threshold=0.2)
  assert (len(cut.score), cut.below_threshold) == (186, 92)
  two = boxes.read_boxes(path, videos[:2], threshold=0.0)
  assert (len(two.score), two.unknown_images) == (178, 100)
  truth = boxes.read_boxes(folder / "val", videos, threshold=0.2)
  assert np.bincount(truth.video).tolist() == [1, 2, 11]
  np.testing.assert_allclose(
    truth.box[3], [322.3, 488.60029, 488.7, 675.00865], rtol=1e-6
  )
