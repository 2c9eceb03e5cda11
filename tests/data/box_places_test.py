import json

import numpy as np
import pytest

from diffpose_jax.data import boxes
from diffpose_jax.data.annotations import Frame, Video


def clip(name, *names):
  return Video(name, tuple(Frame(n, i, False) for i, n in enumerate(names)))


def numbered(name, count):
  return clip(name, *(f"images/val/{name}/{i:06}.jpg" for i in range(count)))


VIDEOS = [numbered("a", 3), numbered("b", 5)]


def read(tmp_path, record, videos=VIDEOS):
  path = tmp_path / "boxes.json"
  path.write_text(json.dumps(record))
  return boxes.read_boxes(path, videos, threshold=0.0)


@pytest.mark.parametrize("key", ["image_name", "file_name"])
@pytest.mark.parametrize(
  "prefix",
  [
    "images/val/",
    "elsewhere/",
    "",
    "/data/pt18/images/val/",
    "C:\\images\\val\\",
  ],
)
def test_images_are_found_by_name(tmp_path, key, prefix):
  got = read(
    tmp_path,
    [
      {key: f"{prefix}b/000004.jpg", "bbox": [1, 2, 3, 5], "score": 1},
      {key: f"{prefix}c/000004.jpg", "bbox": [1, 2, 3, 5], "score": 1},
    ],
  )
  assert got.video.tolist() == [1]
  assert got.frame.tolist() == [4]
  assert got.unknown_images == 1


def test_precomputed_boxes_are_found_by_the_folders_of_the_data_set(tmp_path):
  def boxes_of(name):
    record = {"image_name": name, "bbox": [1, 2, 3, 5], "score": 0.5}
    return [record | {"category_id": 1, "nframes": 5, "frame_id": 2}]

  clips = [
    Video(name, (Frame(f"images_renamed/{name}/00000001.jpg", i, False),))
    for i, name in enumerate(("bonn/0007", "mpii/0007", "mpii/0009"))
  ]
  for name, video in (
    ("images_renamed/mpii/0007/00000001.jpg", 1),
    ("/data/pt17/images_renamed/bonn/0007/00000001.jpg", 0),
    ("../pt17/images_renamed/mpii/0009/00000001.jpg", 2),
    ("mpii/0007/00000001.jpg", 1),
    ("0009/00000001.jpg", 2),
  ):
    assert read(tmp_path, boxes_of(name), clips).video.tolist() == [video]
  with pytest.raises(ValueError, match="is in 2 frames"):
    read(tmp_path, boxes_of("0007/00000001.jpg"), clips)
  # Other numbers: the fifth frame renamed need not be images/.../00000005.jpg.
  with pytest.raises(ValueError, match="none of its 1 boxes is of a known"):
    read(tmp_path, boxes_of("images/mpii/0009/00000001.jpg"), clips)
  with pytest.raises(ValueError, match="none of its 1 boxes is of a known"):
    read(tmp_path, boxes_of("images_renamed/b/000004.jpg"), VIDEOS)


def text(tmp_path, name, content, videos=VIDEOS, **more):
  path = tmp_path / name
  path.parent.mkdir(exist_ok=True, parents=True)
  path.write_text(content)
  return boxes.read_boxes(path, videos, threshold=0.0, **more)


ROW = "2,-1,3,5,7,11,0.5,-1,-1,-1\n"


@pytest.mark.parametrize(
  "name", ["b.txt", "b/x.txt", "b/det/det.txt", "b/gt/gt.txt", "b/det.txt"]
)
def test_mot_files_are_called_as_the_video_or_its_folder(tmp_path, name):
  got = text(tmp_path, name, ROW)
  assert (got.video.tolist(), got.frame.tolist()) == ([1], [1])
  np.testing.assert_array_equal(got.box, np.array([[2, 4, 9, 15]], np.float32))


def test_numbered_frames_of_other_videos_are_counted(tmp_path):
  with pytest.raises(ValueError, match=r"frame 2 of video 'c', the first "):
    text(tmp_path, "c/det.txt", ROW)
  assert text(tmp_path, "c/det.txt", ROW, VIDEOS[:1]).frame.tolist() == [1]
  (tmp_path / "all").mkdir()
  for name in "bc":
    (tmp_path / "all" / f"{name}.txt").write_text(ROW)
  got = boxes.read_boxes(tmp_path / "all", VIDEOS, threshold=0.0)
  assert (got.video.tolist(), got.unknown_images) == ([1], 1)
  header = "video,frame_index,x,y,w,h\n"
  got = text(tmp_path, "x.csv", header + "b,4,1,2,3,4\nc,70,1,2,3,4\n")
  assert (got.frame.tolist(), got.unknown_images) == ([4], 1)


@pytest.mark.parametrize(
  ("column", "numbers", "frames"),
  [
    ("frame", [0, 2], [0, 2]),
    ("frame", [1, 5], [0, 4]),
    ("frame_index", [1, 2], [1, 2]),
    ("frame_number", [1, 2], [0, 1]),
  ],
)
def test_frames_are_counted_from_what_is_known(
  tmp_path, column, numbers, frames
):
  rows = "".join(f"b,{n},1,2,3,4\n" for n in numbers)
  got = text(tmp_path, "x.csv", f"video,{column},x,y,w,h\n{rows}")
  assert got.frame.tolist() == frames


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    ("b.txt", ROW + ROW.replace("2", "6", 1), "line 2: frame 6, .* 5 frames"),
    ("x.csv", "video,frame,x,y,w,h\nb,1,1,2,3,4\n", "line 2: frame 1 may be"),
    ("x.csv", "video,frame,x,y,w,h\nb,0,1,2,3,4\nb,5,1,2,3,4", "3: frame 5,"),
    ("x.csv", "video,frame,x,y,w,h\nb,6,1,2,3,4\n", "line 2: frame 6, .*5"),
    (
      "b.txt",
      ROW.replace("-1", "4", 1) * 2,
      r"line 2: track id 4 is twice .*000001\.jpg, before at .*line 1",
    ),
  ],
)
def test_bad_frames_are_refused_by_line(tmp_path, name, content, message):
  with pytest.raises(ValueError, match=message) as caught:
    text(tmp_path, name, content)
  assert str(caught.value).startswith(str(tmp_path / name))


def test_frame_numbers_need_frames_that_are_numbered(tmp_path):
  for names in (("a/1.jpg", "a/2.jpg"), ("a/x.jpg", "a/y.jpg")):
    assert text(tmp_path, "a.txt", ROW, [clip("a", *names)]).frame == [1]
  for names in (("a/1.jpg", "a/3.jpg"), ("a/7.jpg", "a/8.jpg")):
    with pytest.raises(ValueError, match=r"line 1: frame numbers do not say"):
      text(tmp_path, "a.txt", ROW, [clip("a", *names)])
  twins = [clip("a", "x/0.jpg", "x/1.jpg"), clip("x", "y/0.jpg", "y/1.jpg")]
  with pytest.raises(ValueError, match=r"line 1: 2 videos are called 'x'"):
    text(tmp_path, "x.txt", ROW, twins)
  assert text(tmp_path, "a.txt", ROW, [*twins, Video("z", ())]).video == [0]
