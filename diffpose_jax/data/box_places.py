"""Which frame of which video each box of a file is of."""

import collections
import pathlib
import re
from collections.abc import Hashable, Iterable, Sequence

from diffpose_jax.data.annotations import Video
from diffpose_jax.data.box_records import FrameNumber, Record

Place = tuple[int, int]  # positions of a video and of a frame in it


def place(
  records: Sequence[Record], videos: Sequence[Video]
) -> list[Place | None]:
  """(video, frame) of each record; None where its image is unknown."""
  numbers = [r.image for r in records if isinstance(r.image, FrameNumber)]
  in_video = _NumberedFrames(numbers, videos)
  images = _image_index(videos)
  names = [r.image for r in records if isinstance(r.image, str)]
  one_folder = len({pathlib.PurePosixPath(n).parent for n in names}) == 1
  places = []
  for record in records:
    image = record.image
    if isinstance(image, FrameNumber):
      places.append(in_video.place(image, record.place))
      continue
    keys: list[Hashable] = [image]
    if isinstance(image, str):
      keys += _tails(image)
      if one_folder and _number(image) is not None:
        keys.append(("number", _number(image)))
    hits = next((images[key] for key in keys if key in images), set())
    if len(hits) > 1:
      raise ValueError(
        f"{record.place}: image {image!r} is in {len(hits)} frames; give "
        "file_name as the annotations have it"
      )
    places.append(next(iter(hits), None))
  return places


def _image_index(videos: Sequence[Video]) -> dict[Hashable, set[Place]]:
  """The frames by each thing that a file of boxes may call them."""
  index = collections.defaultdict(set)
  for v, video in enumerate(videos):
    for f, frame in enumerate(video.frames):
      name = frame.file_name
      keys = [frame.image_id, name, *_tails(name)]
      if len(videos) == 1:
        keys.append(("number", _number(name)))
      for key in keys:
        index[key].add((v, f))
  return dict(index)


def _tails(name: str) -> list[Hashable]:
  """Ends of a path, the longer first, each with the numbering it is under."""
  parts = pathlib.PurePosixPath(name).parts
  renamed = [True, False]  # the name leaves open which
  if "images_renamed" in parts:
    renamed = [True]
  elif "images" in parts:
    renamed = [False]
  return [(parts[-n:], r) for n in (3, 2) for r in renamed]


def _number(name: str) -> int | None:
  digits = re.findall(r"[0-9]+", pathlib.PurePosixPath(name).stem)
  return int(digits[-1]) if digits else None


class _NumberedFrames:
  """Frames by video and number."""

  def __init__(self, numbers: Iterable[FrameNumber], videos: Sequence[Video]):
    numbers = list(numbers)
    self._videos = videos
    self._names = collections.defaultdict(set)
    for v, video in enumerate(videos):
      folders = [
        pathlib.PurePosixPath(f.file_name).parent for f in video.frames
      ]
      for name in {video.name, *(folder.name for folder in folders[:1])} - {""}:
        self._names[name].add(v)
    # One video and boxes of one: they belong together whatever their names.
    self._one = len(videos) == 1 and len({n.videos for n in numbers}) == 1
    self._first = self._first_numbers(numbers)
    self._counted: set[int] = set()

  def place(self, image: FrameNumber, place: str) -> Place | None:
    """Positions of video and frame; None where the video is unknown."""
    v = self._video(image, place)
    if v is None:
      return None
    first = (
      self._first.get(image.source) if image.first is None else image.first
    )
    if first is None:
      raise ValueError(
        f"{place}: frame {image.number} may be counted from 0 or from 1, as "
        f"no box of {image.source} is of frame 0 or of a last frame; call the "
        "column frame_index (from 0) or frame_number (from 1)"
      )
    video = self._videos[v]
    if image.number - first >= len(video.frames):
      raise ValueError(
        f"{place}: frame {image.number}, counted from {first}, is beyond video "
        f"{video.name}, which has {len(video.frames)} frames"
      )
    if v not in self._counted:
      _check_counted(video, place)
      self._counted.add(v)
    return v, image.number - first

  def _video(self, image: FrameNumber, place: str) -> int | None:
    for name in image.videos:
      hits = self._names.get(name, set())
      if len(hits) > 1:
        raise ValueError(
          f"{place}: {len(hits)} videos are called {name!r}; give names of "
          "pictures instead of frame numbers"
        )
      if hits:
        return next(iter(hits))
    return 0 if self._one else None

  def _first_numbers(self, numbers: Sequence[FrameNumber]) -> dict[str, int]:
    """What files without a statement count from, where they give it away."""
    first = {}
    for n in numbers:
      v = None if n.first is not None else self._video(n, n.source)
      if v is not None and n.number >= len(self._videos[v].frames):
        first.setdefault(n.source, 1)
      if n.first is None and n.number == 0:
        first[n.source] = 0
    return first


def _check_counted(video: Video, place: str) -> None:
  """Raises ValueError where a frame's number may not be its position."""
  numbers = [_number(frame.file_name) for frame in video.frames]
  if None in numbers:
    return
  first = numbers[0]
  if first not in (0, 1) or numbers != list(range(first, first + len(numbers))):
    raise ValueError(
      f"{place}: frame numbers do not say which frames of {video.name} are "
      f"meant, as these are not numbered one by one from 0 or 1 (the first is "
      f"{video.frames[0].file_name}); give names of pictures: CSV with a column "
      "image, or a list of detections with file_name"
    )
