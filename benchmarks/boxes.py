"""How well boxes are found: by a detector, and by following people.

  python benchmarks/boxes.py --data=FOLDER --detector=hog
  python benchmarks/boxes.py --data=FOLDER --follow

FOLDER holds PoseTrack18's `posetrack18_mini` and `jhmdb`. A detector is shown
the labelled frames of the first, and the middle frame of each val clip of the
second; a person is found where a box of his own overlaps his by half of their
union. `--follow` gives each person's box in his first frame, and then his true
joints, as a network without mistakes would find them; beside it stands the
overlap of the first box, kept as it is.
"""

import argparse
import pathlib
import time
from collections.abc import Iterator

import numpy as np

from diffpose_jax.data import annotations, images
from diffpose_jax.inference import detectors, propagation
from diffpose_jax.pose import geometry
from diffpose_jax.pose.skeleton import POSETRACK

RATE = 25.0


def videos(folder: pathlib.Path) -> Iterator[annotations.Video]:
  """The videos of the annotation files in a folder."""
  for path in sorted(folder.glob("*.json")):
    yield from annotations.read_videos(path, skeleton=POSETRACK)


def labelled(root: pathlib.Path, name: str) -> Iterator[tuple]:
  """Path and boxes (n, 4) of the frames that a detector is shown."""
  split = "annotations/val"
  for video in videos(root / name / split):
    frames = [f for f in video.frames if f.labelled]
    middle = frames[len(frames) // 2]
    for frame in frames if name == "posetrack18_mini" else [middle]:
      boxes = [p.box for p in frame.people if p.box is not None]
      yield root / name / frame.file_name, np.array(boxes, np.float64)


def matches(truth: np.ndarray, found: np.ndarray) -> int:
  """Pairs of an overlap of half or more, the best pairs first, each box once."""
  overlap = geometry.iou(truth, found)
  count = 0
  while overlap.size and overlap.max() >= 0.5:
    i, j = np.unravel_index(np.argmax(overlap), overlap.shape)
    overlap[i], overlap[:, j] = 0, 0
    count += 1
  return count


def detect(root: pathlib.Path, name: str, threshold: float | None) -> None:
  """Prints recall and precision of a detector."""
  detector = detectors.open_detector(name, threshold=threshold)
  print(detector.protocol())
  for data in ("posetrack18_mini", "jhmdb"):
    right = people = boxes = frames = 0
    spent = 0.0
    for path, truth in labelled(root, data):
      picture = images.decode(path.read_bytes(), place=str(path))
      start = time.process_time()
      found = detector(picture)
      spent += time.process_time() - start
      right += matches(truth, found.boxes.astype(np.float64))
      people, boxes = people + len(truth), boxes + len(found.boxes)
      frames += 1
    print(
      f"{data}: {right} of {people} people found with {boxes} boxes in "
      f"{frames} frames, {1000 * spent / frames:.0f} ms of CPU a frame"
    )


def overlaps(video: annotations.Video) -> tuple[list[float], list[float]]:
  """Of each person after the first frame: of the box followed, and of the first."""
  follow = propagation.Propagation(joints=POSETRACK.evaluated)
  first, followed, kept = {}, [], []
  joints_shape = len(POSETRACK.joints), 2
  for index, frame in enumerate(video.frames):
    people = {p.track_id: p for p in frame.people if p.box is not None}
    given = [
      propagation.Given(p.box, track_id=track)
      for track, p in people.items()
      if p.box is not None and track not in first
    ]
    first |= {one.track_id: one.box for one in given}
    size = frame.height or 1080, frame.width or 1920
    boxes = follow.boxes(index / RATE, size, given)
    joints = np.zeros((len(boxes), *joints_shape))
    scores = np.zeros((len(boxes), joints_shape[0]))
    for i, one in enumerate(boxes):
      if one.track_id in people:
        person = people[one.track_id]
        joints[i], scores[i] = person.joints, person.labelled
    by_track = {one.track_id: one for one in boxes}
    for track, person in people.items():
      if track in by_track and by_track[track].given:
        continue
      truth = np.asarray(person.box, np.float64)[None]
      # Who was given up has no box.
      box = by_track[track].box if track in by_track else np.zeros(4)
      followed.append(float(geometry.iou(truth, box[None])[0, 0]))
      kept.append(float(geometry.iou(truth, first[track][None])[0, 0]))
    follow.update(index / RATE, boxes, joints, scores)
  return followed, kept


def main() -> None:
  """Reads the flags."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--data", type=pathlib.Path, required=True)
  parser.add_argument("--detector")
  parser.add_argument("--threshold", type=float)
  parser.add_argument("--follow", action="store_true")
  flags = parser.parse_args()
  if flags.detector:
    detect(flags.data, flags.detector, flags.threshold)
  for folder in ("jhmdb/annotations/val", "bonn_tracks_mini/annotations/train"):
    if not flags.follow or not (flags.data / folder).is_dir():
      continue
    pairs = [overlaps(video) for video in videos(flags.data / folder)]
    for name, part in (("followed", 0), ("first box kept", 1)):
      values = np.concatenate([pair[part] for pair in pairs])
      print(
        f"{folder}, {name}: mean IoU {values.mean():.3f}, "
        f"{(values >= 0.5).mean():.1%} of {len(values)} boxes at 0.5"
      )


if __name__ == "__main__":
  main()
