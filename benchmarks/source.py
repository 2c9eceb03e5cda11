"""Videos to measure on: 1280x720 JPEG frames in PoseTrack18's layout."""

import os
import pathlib

import cv2
import numpy as np

from diffpose_jax.data import annotations
from diffpose_jax.pose import skeleton

SIZE = (720, 1280)
QUALITY = 90


def write(
  root: pathlib.Path,
  *,
  videos: int,
  frames: int,
  people: int,
  different: int | None = None,
) -> None:
  """Videos of noise and blocks, that compress about as footage does.

  Every frame is labelled, with `people` in it. At most `different` videos have
  pictures of their own; the others' are hard links to these.
  """
  rng = np.random.default_rng(0)
  folder = root / "annotations" / "train"
  folder.mkdir(parents=True)
  for video in range(videos):
    name = f"{video:06d}"
    (root / "images" / name).mkdir(parents=True)
    like = video if different is None else video % different
    if like == video:
      _write_pictures(root, name, frames, rng)
    else:
      for frame in range(frames):
        os.link(
          root / _file_name(f"{like:06d}", frame),
          root / _file_name(name, frame),
        )
    listed = tuple(
      annotations.Frame(
        file_name=_file_name(name, frame),
        image_id=1000 * video + frame,
        labelled=True,
        people=tuple(_person(rng, frame, p, people) for p in range(people)),
        height=SIZE[0],
        width=SIZE[1],
      )
      for frame in range(frames)
    )
    annotations.write_video(
      folder / f"{name}.json",
      annotations.Video(name, listed),
      skeleton=skeleton.POSETRACK,
    )


def _file_name(video: str, frame: int) -> str:
  return f"images/{video}/{frame:06d}.jpg"


def _write_pictures(
  root: pathlib.Path, video: str, frames: int, rng: np.random.Generator
) -> None:
  small = rng.integers(0, 255, (45, 80, 3), np.uint8)
  picture = cv2.resize(small, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
  noise = rng.normal(0, 4, (*SIZE, 3))
  picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
  for frame in range(frames):
    moved = np.roll(picture, 5 * frame, axis=1)
    quality = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    cv2.imwrite(str(root / _file_name(video, frame)), moved, quality)


def _person(
  rng: np.random.Generator, frame: int, number: int, people: int
) -> annotations.Person:
  """One of `people` side by side, about 300 pixels tall, walking."""
  left = 1000 * (number + 0.2) / people + 4 * frame
  box = np.array([left, 150, left + 150, 450], np.float32)
  joints = rng.uniform(box[:2], box[2:], (17, 2)).astype(np.float32)
  return annotations.Person(
    box=box, joints=joints, labelled=np.ones(17, bool), track_id=number
  )
