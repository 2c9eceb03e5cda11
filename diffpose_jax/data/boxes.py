"""Person boxes from files of detections, placed in the frames of videos."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32, Int32, Int64

from diffpose_jax.data import box_files, box_places
from diffpose_jax.data.annotations import Frame, Video
from diffpose_jax.data.box_records import PERSON, FrameNumber, Record


@dataclasses.dataclass(frozen=True)
class Boxes:
  """Boxes sorted by video and frame; in one frame, in the file's order."""

  video: Int32[np.ndarray, "n"]  # position in the list of videos
  frame: Int32[np.ndarray, "n"]  # position in the video
  box: Float32[np.ndarray, "n 4"]  # xyxy edges, picture pixels
  score: Float32[np.ndarray, "n"]  # in [0, 1]
  track_id: Int64[np.ndarray, "n"]  # -1 where the file has none
  below_threshold: int = 0  # boxes left out for their score
  unknown_images: int = 0  # boxes left out: their image is in no video
  other_categories: int = 0  # boxes left out: not of people
  outside: int = 0  # boxes left out: no part of them is in the picture


def whole(height: int, width: int) -> Float32[np.ndarray, "4"]:
  """The box of a whole picture: from edge to edge of its outermost pixels."""
  return np.array([-0.5, -0.5, width - 0.5, height - 0.5], np.float32)


def read_boxes(
  path: str | os.PathLike,
  videos: Sequence[Video],
  *,
  threshold: float,
  format: box_files.Format = "auto",
) -> Boxes:
  """The boxes of a file, or of a folder with one a video, by video and frame.

  Formats, which `format` may state and "auto" recognises or refuses:

  - coco: JSON list of detections, {image_id, image_name or file_name, bbox (x,
    y, w, h), score, category_id}; so are DCPose's and PoseWarper's files.
  - posetrack: PoseTrack18 JSON, of whose `annotations` bbox, score (1 where
    absent) and track_id are read.
  - mot: text of MOTChallenge, one file a video, which is called as the video
    or lies in a folder that is (VIDEO.txt, VIDEO/det/det.txt).
  - csv: text with a header; see `box_text.read_csv`.

  A picture is found by its file name, absolute or relative; or by the last
  three or two parts of it, but PoseTrack17's images_renamed is never taken for
  its images, which are numbered otherwise; or, if there is one video and the
  boxes are of one folder, by the number in its name; without names, by its
  image id, or by its number in the video of that name, or in the only video.

  Boxes of pictures in no video are counted and left out: files of detections
  often cover more; so are boxes with no part in their picture, where its size
  is known. Boxes that reach out of it, of any size, are kept as they are.

  Args:
    path: file or folder.
    videos: whose frames are meant.
    threshold: boxes of a lower score are counted and left out.
    format: of the file, or of all files in the folder.

  Raises:
    ValueError: a file of no such format, or that could be of two; a box without
      area, not finite, beyond 1e6 pixels; a score outside [0, 1]; an image id
      that two frames share; a frame number that the video does not have; a
      track id twice in a frame; no box's picture is known, or all are outside.
      Names file and record or line.
  """
  return above(read_each(path, {"": videos}, format=format)[""], threshold)


def above(boxes: Boxes, threshold: float) -> Boxes:
  """The boxes that score at least `threshold`; the others are counted."""
  # Compared as stored: 0.7 of a file is not below a threshold of 0.7.
  keep = boxes.score >= np.float32(threshold)
  return dataclasses.replace(
    boxes,
    video=boxes.video[keep],
    frame=boxes.frame[keep],
    box=boxes.box[keep],
    score=boxes.score[keep],
    track_id=boxes.track_id[keep],
    below_threshold=boxes.below_threshold + int((~keep).sum()),
  )


def read_each(
  path: str | os.PathLike,
  splits: Mapping[str, Sequence[Video]],
  *,
  format: box_files.Format = "auto",
) -> dict[str, Boxes]:
  """All boxes of a file by split, of any score, as `read_boxes` reads one.

  A picture is looked for in all splits at once, so that a name or id which two
  of them have is refused and no box gets into two.

  Args:
    path: file or folder.
    splits: their videos; a split without any box of the file is in the result.
    format: of the file, or of all files in the folder.

  Raises:
    ValueError: as `read_boxes`, all splits taken together.
  """
  records = box_files.read(path, format=format)
  people = [r for r in records if r.category == PERSON]
  videos = [video for part in splits.values() for video in part]
  places = box_places.place(people, videos)
  found = [(p, r) for p, r in zip(places, people, strict=True) if p]
  if people and not found:
    raise ValueError(
      f"{path}: none of its {len(people)} boxes is of a known image: the first "
      f"is of {_describe(people[0])}, the first frame is {_first_frame(videos)}"
    )
  _check_tracks(found, videos)
  touches = [_touches(r, _frame(videos, p)) for p, r in found]
  if found and not any(touches):
    place, record = found[0]
    frame = _frame(videos, place)
    raise ValueError(
      f"{path}: none of its {len(found)} boxes is in its picture: the first is "
      f"{record.box.tolist()} (as edges) in {frame.width}x{frame.height} "
      "pixels; give boxes of pictures of this size"
    )
  result, first = {}, 0
  for name, part in splits.items():
    here = range(first, first + len(part))
    first += len(part)
    own = [
      ((p[0] - here.start, p[1]), record, touch)
      for (p, record), touch in zip(found, touches, strict=True)
      if p[0] in here
    ]
    result[name] = dataclasses.replace(
      _table([(place, record) for place, record, touch in own if touch]),
      unknown_images=len(people) - len(own),
      other_categories=len(records) - len(people),
      outside=sum(not touch for _, _, touch in own),
    )
  return result


def _table(found: Sequence[tuple[box_places.Place, Record]]) -> Boxes:
  # The sort is stable: it keeps the order in a frame.
  found = sorted(found, key=lambda item: item[0])
  index = np.array([place for place, _ in found], np.int32).reshape(-1, 2)
  return Boxes(
    video=index[:, 0],
    frame=index[:, 1],
    box=np.array([r.box for _, r in found], np.float32).reshape(-1, 4),
    score=np.array([r.score for _, r in found], np.float32),
    track_id=np.array([r.track_id for _, r in found], np.int64),
  )


def _frame(videos: Sequence[Video], place: box_places.Place) -> Frame:
  return videos[place[0]].frames[place[1]]


def _touches(record: Record, frame: Frame) -> bool:
  """Whether a part of the box is in the picture, or may be."""
  x1, y1, x2, y2 = record.box + 0.5  # the picture begins at -0.5
  wide = frame.width is None or (x2 > 0 and x1 < frame.width)
  return bool(wide and (frame.height is None or (y2 > 0 and y1 < frame.height)))


def _check_tracks(
  found: Sequence[tuple[box_places.Place, Record]], videos: Sequence[Video]
) -> None:
  seen: dict[tuple[box_places.Place, int], Record] = {}
  for place, record in found:
    if record.track_id == -1:
      continue
    other = seen.setdefault((place, record.track_id), record)
    if other is not record:
      raise ValueError(
        f"{record.place}: track id {record.track_id} is twice in "
        f"{_frame(videos, place).file_name}, before at {other.place}; one "
        "person has one box in a frame: remove one or correct the id"
      )


def _describe(record: Record) -> str:
  image = record.image
  if isinstance(image, FrameNumber):
    return f"frame {image.number} of video {' or '.join(image.videos)!r}"
  return repr(image)


def _first_frame(videos: Sequence[Video]) -> str:
  for video in videos:
    for frame in video.frames:
      return (
        f"{frame.file_name!r} (image id {frame.image_id}) of {video.name!r}"
      )
  return "none, as no frame is given"
