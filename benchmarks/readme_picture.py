"""Makes the picture on top of the README: poses of people whom frames hide.

  python -m diffpose_jax.main --config=configs/synthetic_hidden.py --workdir=runs/synthetic_hidden
  python -m diffpose_jax.main calibrate --weights=runs/synthetic_hidden
  python benchmarks/readme_picture.py --weights=runs/synthetic_hidden

It renders people who are in no training, finds them in their true boxes, and lays
frames beside each other: skeletons, and around each joint the ellipse that should
hold half of its errors.
"""

import argparse
import pathlib

import cv2
import numpy as np

import diffpose_jax
from diffpose_jax.data import synthetic, synthetic_scene
from diffpose_jax.inference import paint
from diffpose_jax.pose import skeleton

OUT = pathlib.Path(__file__).resolve().parents[1] / "docs" / "_static"
SIZE = (300, 400)  # of a frame, (height, width)
SHOWN = 190  # columns of it, about the person
FRAMES = 8
# Which frames of whom: some show them, some hide or blur.
PEOPLE = {2: (0, 1, 6), 24: (0, 1, 2)}
_SCORE = 0.2  # from which on a joint is drawn
_SHARE = 0.5  # of the errors in an ellipse


def frames_of(model: diffpose_jax.DiffPose, index: int) -> list[np.ndarray]:
  """Annotated frames of a person's video, RGB, cut out around them."""
  scene = synthetic.sample_scene(
    split="readme", index=index, frames=FRAMES, size=SIZE, difficulty="hidden"
  )
  rendered = [
    synthetic_scene.render_frame(scene, number) for number in range(FRAMES)
  ]
  boxes = [np.asarray(frame.people[0].box)[None] for frame in rendered]
  video = np.stack([frame.image for frame in rendered])
  result = []
  for picture, [box], found in zip(
    video, boxes, model.predict(video, boxes), strict=True
  ):
    drawn = picture.copy()
    seen = found.scores[0] >= _SCORE
    paint.pose(drawn, found.joints[0], seen, skeleton=skeleton.POSETRACK)
    paint.ellipses(
      drawn,
      found.joints[0][seen],
      found.covariance[0][seen],
      share=_SHARE,
      tail=found.tail,
    )
    left = round((box[0] + box[2] - SHOWN) / 2)
    left = int(np.clip(left, 0, SIZE[1] - SHOWN))
    result.append(drawn[:, left : left + SHOWN])
  return result


def main() -> None:
  """Writes docs/_static/result.jpg."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
  parser.add_argument("--weights", type=pathlib.Path, required=True)
  parser.add_argument("--people", help="comma-separated, all their frames")
  given = parser.parse_args()
  people = PEOPLE
  if given.people:
    people = {int(i): range(FRAMES) for i in given.people.split(",")}
  model = diffpose_jax.DiffPose.from_pretrained(given.weights)
  tiles = []
  for index, chosen in people.items():
    found = frames_of(model, index)
    tiles += [found[number] for number in chosen]
  picture = np.hstack(tiles)[..., ::-1]
  path = OUT / "result.jpg"
  cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 88])
  print(f"written: {path}, {path.stat().st_size} bytes")


if __name__ == "__main__":
  main()
