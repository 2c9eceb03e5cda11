"""Every value of every kind of label file is poisoned, one at a time.

Whatever the reader, the file is then refused in one line that names it, or
what comes out is as sound as ever: nothing else may happen.
"""

import copy

import numpy as np
import pytest

from diffpose_jax.data import (
  annotations,
  boxes,
  coco,
  custom,
  posetrack17,
  strict_json,
)
from diffpose_jax.pose import geometry, skeleton

P = skeleton.POSETRACK
POISON = [
  None, True, "x", "", "a\nb", "../x", "/x", -1, 0, 0.5, 1e9, 1e30, 2**31,
  2**63, 10**4000, [], [[]], [1], {},
]  # fmt: skip
PERSON = {
  "id": 70,
  "image_id": 7,
  "category_id": 1,
  "track_id": 0,
  "keypoints": [101, 102, 1, 0, 0, 0, 301, 302, 2],
  "bbox": [10, 20, 30, 50],
}
NAMES = ["right_wrist", "left_ankle", "nose"]


def posetrack18():
  """Two frames, two people in the first; all that a record may have."""
  more = {"bbox_head": [11, 21, 5, 7], "scores": [0.5, 1, 0.25]}
  more |= {"occluded": [1, 0, 0], "blur": 1.5, "speed": 2.5, "score": 0.5}
  region = {"ignore_regions_x": [[0, 5, 5]], "ignore_regions_y": [[0, 0, 3]]}
  size = {"height": 480, "width": 640, "is_labeled": True, "time": 0.5}
  return {
    "images": [
      {"id": 7, "file_name": "images/v/9.jpg", **size, **region},
      {"id": 11, "file_name": "images/v/10.jpg"},
    ],
    "annotations": [PERSON | more, PERSON | {"id": 71, "track_id": 4}],
    "categories": [{"id": 1, "name": "person", "keypoints": NAMES}],
  }


def merged():
  record = posetrack18()
  record["annotations"][0]["head_box"] = [11, 21, 16, 28]
  record["images"][0]["original_file_name"] = "images/u/9.jpg"
  return record


def annolist_file():
  point = {"id": [13], "x": [101], "y": [102], "is_visible": [1]}
  head = {"x1": [10], "y1": [20], "x2": [31], "y2": [43]}
  rect = {"track_id": [0], "annopoints": [{"point": [point]}], "score": [0.5]}
  region = {"point": [{"x": [1], "y": [2]}, {"x": [5], "y": [2]}]}
  return {
    "annolist": [
      {
        "image": [{"name": "images/v/00000001.jpg"}],
        "annorect": [rect | head, {"track_id": [5]}],
        "ignore_regions": [region],
        "is_labeled": [1],
      },
      {"image": {"name": "images/v/00000002.jpg"}},
    ]
  }


def still_pictures():
  record = posetrack18()
  record["annotations"].append(PERSON | {"id": 72, "iscrowd": 1})
  record["categories"].append({"id": 2, "name": "dog"})
  return record


def own():
  return posetrack18() | {"stills": False}


def detections():
  box = {"bbox": [10, 20, 30, 50], "score": 0.5, "track_id": 3}
  return [
    box | {"image_id": 7, "category_id": 1},
    box | {"image_name": "images/v/10.jpg"},
  ]


OWN = skeleton.Skeleton(
  name="own",
  joints=tuple(NAMES),
  pairs=(),
  limbs=(),
  upper=(),
  lower=(),
  evaluated=(0, 1, 2),
  groups=(),
  sigmas=(0.1,) * 3,
)


def read_boxes(root):
  names = ("images/v/9.jpg", "images/v/10.jpg")
  frames = tuple(
    annotations.Frame(name, number, False, height=480, width=640)
    for name, number in zip(names, (7, 11), strict=True)
  )
  video = annotations.Video("v", frames)
  return boxes.read_boxes(root / "boxes.json", [video], threshold=0.0)


KINDS = {
  "posetrack18": (
    posetrack18,
    "annotations/val/v.json",
    lambda root: annotations.read_split(root, "val", skeleton=P),
  ),
  "annolist": (
    annolist_file,
    "annotations/val/v.json",
    lambda root: posetrack17.read_split(root, "val", skeleton=P),
  ),
  "merged": (
    merged,
    "posetrack17_json_files/posetrack_val.json",
    lambda root: posetrack17.read_split(root, "val", skeleton=P),
  ),
  "coco": (
    still_pictures,
    "annotations/person_keypoints_val2017.json",
    lambda root: coco.read_split(root, "val", skeleton=P),
  ),
  "custom": (
    own,
    "annotations/val.json",
    lambda root: custom.read_split(root, "val", skeleton=OWN),
  ),
  "detections": (detections, "boxes.json", read_boxes),
  "posetrack boxes": (posetrack18, "boxes.json", read_boxes),
}


def places(value, path=()):
  """The way to each value inside of `value`, which is first itself."""
  yield path
  items = value.items() if isinstance(value, dict) else ()
  if isinstance(value, list):
    items = enumerate(value)
  for key, item in items:
    yield from places(item, (*path, key))


def poisoned(content):
  """Copies of the content, each with one value changed or taken away."""
  for path in places(content):
    for poison in POISON:
      holder = {"": copy.deepcopy(content)}
      inner, last = holder, ""
      for key in path:
        inner, last = inner[last], key
      inner[last] = poison
      yield (path, poison), holder[""]
    if path:
      holder = copy.deepcopy(content)
      inner = holder
      for key in path[:-1]:
        inner = inner[key]
      del inner[path[-1]]
      yield (path, "taken away"), holder


def check_box(box):
  """What is cropped around it is finite and leads back."""
  assert box.dtype == np.float32 and np.abs(box).max() <= 1e6
  enlarged = geometry.enlarge(box, 1.25)
  affine = geometry.crop_affine(enlarged, (256, 192))
  assert np.isfinite(affine).all()
  assert np.isfinite(geometry.invert(affine)).all()


def check_person(person):
  assert np.isfinite(person.joints).all()
  assert np.abs(person.joints).max() <= 1e6
  assert not person.joints[~person.labelled].any()
  assert -(2**63) <= person.track_id < 2**63
  assert np.isfinite(person.box_score)
  for box in (person.box, person.head_box):
    if box is not None:
      check_box(box)


def check_videos(videos):
  names = [frame.file_name for video in videos for frame in video.frames]
  assert videos and len(set(names)) == len(names)
  for frame in (frame for video in videos for frame in video.frames):
    assert not frame.file_name.startswith("/") and ".." not in frame.file_name
    assert frame.file_name.isprintable()
    assert -(2**63) <= frame.image_id < 2**63
    assert frame.height is None or frame.height > 0
    assert all(np.isfinite(r).all() for r in frame.ignore_regions)
    tracks = [p.track_id for p in frame.people if p.track_id >= 0]
    assert len(set(tracks)) == len(tracks)
    for person in frame.people:
      check_person(person)


def check_boxes(found):
  assert np.isfinite(found.score).all()
  for box in found.box:
    check_box(box)


@pytest.mark.parametrize("kind", KINDS)
def test_a_poisoned_file_is_refused_by_name_or_as_sound_as_ever(
  tmp_path, monkeypatch, kind
):
  make, name, read = KINDS[kind]
  path = tmp_path / name
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("")
  (tmp_path / "val2017").mkdir()
  check = check_boxes if read is read_boxes else check_videos
  files, load = {path: make()}, strict_json.load
  monkeypatch.setattr(
    strict_json,
    "load",
    lambda path, **_: files[path] if path in files else load(path),
  )
  check(read(tmp_path))
  refused = taken = 0
  for what, content in poisoned(make()):
    files[path] = content
    try:
      check(read(tmp_path))
      taken += 1
    except ValueError as error:
      message = str(error)
      assert message.startswith(str(tmp_path)), what
      assert "\n" not in message and len(message) < 600, what
      refused += 1
    except Exception as error:
      raise AssertionError(f"{what}: {error!r}") from error
  assert refused > 100 and taken > 10
