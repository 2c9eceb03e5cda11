"""Where the boxes of people come from: a file, a detector, the whole picture."""

import collections
import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from diffpose_jax.data import annotations, sources, video
from diffpose_jax.data import boxes as boxes_lib
from diffpose_jax.inference import detection

_MORE = 1000  # frames that a video may have beyond twice what its header says
WHOLE = "whole"  # instead of a file of boxes: one person fills the picture


@dataclasses.dataclass(frozen=True)
class Box:
  """A person's box in one frame."""

  box: np.ndarray  # float32 (4,) xyxy edges, picture pixels
  score: float = 1.0
  track_id: int = -1  # -1: unknown


# The people's boxes of a frame, from its index and its RGB picture.
Find = Callable[[int, np.ndarray], list[Box]]


@dataclasses.dataclass(frozen=True)
class Supply:
  """The boxes of one video; a frame that has none has no people."""

  find: Find
  protocol: dict[str, Any]  # what a result says of them
  tracked: bool = False  # some of them have identities
  sha256: str = ""  # of the boxes of a file
  # How many boxes are of frames from an index on.
  beyond: Callable[[int], int] = lambda count: 0


def check(boxes: str | pathlib.Path | None, detector: str | None) -> None:
  """Raises ValueError unless one way to find boxes is given, and is there."""
  if (boxes is None) == (detector is None):
    raise ValueError(
      "give either --boxes, a file of people's boxes or `whole` for one person "
      "who fills the picture, or --detector=hog or that of another name, which "
      "finds them"
    )
  if boxes is None or str(boxes) == WHOLE:
    return
  if not pathlib.Path(boxes).exists():
    raise ValueError(
      f"{boxes}: no such file of boxes; give one, or --boxes={WHOLE} for one "
      "person who fills the picture, or a --detector"
    )


def whole() -> Supply:
  """One person who fills the picture."""
  return Supply(
    lambda index, frame: [Box(boxes_lib.whole(*frame.shape[:2]))],
    {"boxes": WHOLE},
  )


def detected(detector: detection.Detector) -> Supply:
  """What a detector finds in each frame by itself."""

  def find(index: int, frame: np.ndarray) -> list[Box]:
    del index
    found = detector(frame)
    return [
      Box(box, float(score))
      for box, score in zip(found.boxes, found.scores, strict=True)
    ]

  return Supply(find, {"boxes": "detector", **detector.protocol()})


def of_file(
  path: pathlib.Path,
  videos: Sequence[tuple[sources.Source, video.VideoInfo]],
  *,
  threshold: float,
) -> list[Supply]:
  """The boxes of a file, or of a folder of files, for each of the videos.

  A frame of a video is called <index>.jpg with six digits there, and its image
  id is its index, from 0. Raises what `boxes.read_boxes` does.
  """
  named = [_named(*one) for one in videos]
  found = boxes_lib.read_boxes(path, named, threshold=threshold)
  people = [collections.defaultdict(list) for _ in videos]
  for number, frame, box, score, track_id in zip(
    found.video,
    found.frame,
    found.box,
    found.score,
    found.track_id,
    strict=True,
  ):
    people[number][int(frame)].append(Box(box, float(score), int(track_id)))
  for count, what in (
    (found.unknown_images, "are of pictures that are not in the input"),
    (found.outside, "have no part in their pictures"),
  ):
    if count:
      logging.warning("%s: %d boxes %s; left out", path, count, what)
  protocol = {"boxes": path.name, "box_threshold": threshold}
  return [
    Supply(
      lambda index, frame, own=own: own.get(index, []),
      protocol,
      tracked=any(box.track_id >= 0 for row in own.values() for box in row),
      sha256=_digest(own),
      beyond=lambda count, own=own: sum(
        len(row) for index, row in own.items() if index >= count
      ),
    )
    for own in people
  ]


def _digest(people: Mapping[int, list[Box]]) -> str:
  """SHA-256 of the boxes of each frame, in order."""
  digest = hashlib.sha256()
  for index, row in sorted(people.items()):
    for one in row:
      edges = np.asarray(one.box, np.float32).tobytes().hex()
      digest.update(f"{index} {edges} {one.score} {one.track_id}\n".encode())
  return digest.hexdigest()


def _named(source: sources.Source, info: video.VideoInfo) -> annotations.Video:
  """The frames as a file of boxes may call them."""
  if info.live:
    raise ValueError(
      f"{source.path}: a camera has no file of boxes; give --boxes={WHOLE} or "
      "a --detector"
    )
  name = source.path.resolve().name if source.pictures else source.path.stem
  if info.names:  # with the folder, as files that cover many folders do
    names = [f"{name}/{file}" for file in info.names]
  else:
    # A header may be wrong about the number of frames. To count them takes as
    # long as to decode them: so there may be more, and which boxes are of
    # frames that did not come is told in the end, see `Supply.beyond`.
    hint = info.count_hint
    count = 2 * hint + _MORE if hint else video.count(source)
    names = [f"{i:06d}.jpg" for i in range(count)]
  frames = tuple(
    annotations.Frame(
      file_name=file,
      image_id=index,
      labelled=False,
      height=info.height,
      width=info.width,
    )
    for index, file in enumerate(names)
  )
  return annotations.Video(source.path.stem, frames)
