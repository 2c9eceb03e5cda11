"""Frames a second that one core writes into annotated video, by who encodes.

  taskset -c 0 python benchmarks/encoding.py

Textured pictures that move by several pixels a frame, which are harder than
most video, through the encoders of `diffpose_jax.data.video`: OpenCV's, and
PyAV's where it is installed; and VP9 by OpenCV, beside VP8, which it writes.
The rate is by processor time; beside it bytes a frame, and how far the frames
that come back are from those written (PSNR).
"""

import pathlib
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from diffpose_jax.data import video, video_opencv, video_pyav

FRAMES = 40
SIZES = ((480, 640), (720, 1280))


def pictures(size: tuple[int, int]) -> list[np.ndarray]:
  """RGB frames through which a texture moves, with some noise of a camera."""
  rng = np.random.default_rng(0)
  margin = 8 * FRAMES
  wide = (size[0] + margin, size[1] + margin, 3)
  texture = rng.integers(0, 256, wide, np.uint8)
  texture = cv2.GaussianBlur(texture, (0, 0), 4).astype(np.float32)
  low, high = texture.min(), texture.max()
  texture = 255 * (texture - low) / (high - low)
  result = []
  for number in range(FRAMES):
    y, x = 3 * number, 7 * number
    frame = texture[y : y + size[0], x : x + size[1]]
    frame = frame + rng.normal(0, 3, frame.shape)
    result.append(np.clip(frame, 0, 255).astype(np.uint8))
  return result


def encoders() -> Iterator[tuple[str, Any, str, str]]:
  """(name, backend, suffix, OpenCV's codec or nothing)."""
  yield "OpenCV, VP8", video_opencv, ".webm", "VP80"
  yield "OpenCV, VP9", video_opencv, ".webm", "VP90"
  if video_pyav.package() is not None:
    yield "PyAV, VP9", video_pyav, ".webm", ""
    yield "PyAV, H.264", video_pyav, ".mp4", ""


def main() -> None:
  """Prints the table."""
  print("| | size | frames/s | kB a frame | PSNR |\n|---|---|--:|--:|--:|")
  for size in SIZES:
    frames = pictures(size)
    for name, backend, suffix, codec in encoders():
      if codec:
        video_opencv.CODECS[suffix] = codec
      with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / f"test{suffix}"
        encoder = backend.Encoder(path, fps=25.0, size=size)
        began = time.process_time()
        for number, frame in enumerate(frames):
          encoder.encode(frame, number / 25)
        encoder.close()
        took = time.process_time() - began
        stored = path.stat().st_size / FRAMES / 1e3
        error = [
          np.mean((found.astype(float) - frame) ** 2)
          for (_, _, found), frame in zip(video.read(path), frames, strict=True)
        ]
      likeness = 10 * np.log10(255**2 / np.mean(error))
      print(
        f"| {name} | {size[1]}x{size[0]} | {FRAMES / took:.0f} | {stored:.0f} "
        f"| {likeness:.1f} |",
        flush=True,
      )


if __name__ == "__main__":
  main()
