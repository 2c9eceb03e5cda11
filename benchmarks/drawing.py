"""Milliseconds of one core that it takes to draw a frame of annotated video.

  python benchmarks/drawing.py
  python benchmarks/drawing.py --people=10 --height=1080 --width=1920

People are 0.75 of the frame's height high, in places spread over it. Each
choice of `--draw` is timed by itself; the figure is the least of five rounds.
"""

import argparse
import time

import cv2
import numpy as np

from diffpose_jax.data import annotations
from diffpose_jax.inference import annotated
from diffpose_jax.pose import geometry, skeleton

CROP = (256, 192)
CHOICES = (
  "none",
  "skeleton",
  "skeleton,boxes,ids",
  "ellipses",
  "heatmaps",
  "crops",
  ",".join(annotated.PARTS),
)
# A standing person in a unit box, in PoseTrack's order of joints.
STANDING = (
  (0.5, 0.08), (0.5, 0.2), (0.5, 0.0), (0.45, 0.1), (0.55, 0.1),
  (0.3, 0.25), (0.7, 0.25), (0.2, 0.4), (0.8, 0.4), (0.15, 0.55),
  (0.85, 0.55), (0.4, 0.55), (0.6, 0.55), (0.4, 0.78), (0.6, 0.78),
  (0.4, 1.0), (0.6, 1.0),
)  # fmt: skip


def person(
  rng: np.random.Generator, picture: np.ndarray, track: int
) -> tuple[annotations.Person, annotated.View]:
  """A person somewhere in the picture, and the network's view of them."""
  height, width = picture.shape[:2]
  size = np.array([0.35, 0.75]) * height
  low = rng.uniform(0, np.array([width, height]) - size)
  joints = (np.array(STANDING) * size + low).astype(np.float32)
  box = np.concatenate([low, low + size])
  affine = geometry.crop_affine(geometry.enlarge(box, 1.25), CROP)
  heat = np.zeros((CROP[0] // 4, CROP[1] // 4), np.uint8)
  for x, y in np.rint(geometry.apply(affine, joints) / 4).astype(int).tolist():
    cv2.circle(heat, (x, y), 2, 200, cv2.FILLED)
  heat = cv2.GaussianBlur(heat, (0, 0), 1.5)
  count = len(joints)
  spread = rng.uniform(2, 12, (count, 1, 1)) ** 2
  found = annotations.Person(
    box=box.astype(np.float32),
    joints=joints,
    labelled=np.ones(count, bool),
    track_id=track,
    scores=np.full(count, 0.9, np.float32),
    scale=(np.array([[1.0, 0.3], [0.3, 0.6]]) * spread).astype(np.float32),
  )
  crop = cv2.warpAffine(picture, affine, CROP[::-1])
  return found, annotated.View(crop, heat, geometry.invert(affine))


def milliseconds(draw, rounds: int = 5, frames: int = 20) -> float:
  """Processor time of a call, the least of several rounds."""
  found = []
  for _ in range(rounds):
    began = time.process_time()
    for _ in range(frames):
      draw()
    found.append((time.process_time() - began) / frames)
  return 1000 * min(found)


def main() -> None:
  """Prints a line for each choice."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--people", type=int, default=3)
  parser.add_argument("--height", type=int, default=720)
  parser.add_argument("--width", type=int, default=1280)
  given = parser.parse_args()
  cv2.setNumThreads(1)
  rng = np.random.default_rng(0)
  size = (given.height, given.width)
  picture = rng.integers(0, 255, (*size, 3), np.uint8)
  made = [person(rng, picture, track) for track in range(given.people)]
  people, views = [one for one, _ in made], [view for _, view in made]
  for choice in CHOICES:
    options = annotated.parse(choice)

    def draw(options=options):
      annotated.drawn(
        picture,
        people,
        frame=size,
        skeleton=skeleton.POSETRACK,
        options=options,
        tail=5.0,
        views=views,
      )

    print(f"{milliseconds(draw):6.2f} ms  {choice}")


if __name__ == "__main__":
  main()
