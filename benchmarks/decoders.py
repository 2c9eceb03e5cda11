"""JPEG decoders beside Pillow: frames a second of one core, to RGB uint8.

  python benchmarks/decoders.py --frames=24 --rounds=5

The frames are made here: 1280x720 pixels with detail of all sizes, quality 90,
160 kB. `images` is what the program uses, with its checks; below it stand the
bare calls. Each decodes all frames in every round, in one thread; printed are
medians over the rounds and the ratio to Pillow in the same round.
"""

import argparse
import io
import time

import cv2
import numpy as np
import PIL.Image
import simplejpeg

from diffpose_jax.data import images

HEIGHT, WIDTH = 720, 1280
# (side of a cell in pixels, contrast) of the layers of a frame
LAYERS = ((160, 60), (40, 35), (10, 18), (4, 6))
NOISE = 2.5  # standard deviation of single pixels


def frames(count: int) -> list[bytes]:
  """JPEG files of `count` different frames."""
  rng = np.random.default_rng(0)
  files = []
  for _ in range(count):
    frame = 128 + rng.normal(0, NOISE, (HEIGHT, WIDTH, 3))
    for cell, contrast in LAYERS:
      grid = (HEIGHT // cell + 1, WIDTH // cell + 1, 3)
      layer = rng.uniform(-contrast, contrast, grid)
      frame += cv2.resize(layer, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    pixels = np.clip(frame, 0, 255).astype(np.uint8)
    coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    files.append(coded.tobytes())
  return files


def pillow(data: bytes) -> np.ndarray:
  """Pixels by Pillow."""
  return np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"))


def opencv(data: bytes) -> np.ndarray:
  """Pixels by OpenCV."""
  pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
  assert pixels is not None
  return pixels


def half(data: bytes) -> np.ndarray:
  """Pixels at half size, which libjpeg-turbo decodes directly."""
  return simplejpeg.decode_jpeg(
    data, min_height=HEIGHT // 2, min_width=WIDTH // 2
  )


DECODERS = {
  "Pillow": pillow,
  "OpenCV": opencv,
  "images, full": lambda data: images.decode(data, place="frame"),
  "images, 1/2": lambda data: (
    images.decode_scaled(data, place="frame", factor=2).pixels
  ),
  "simplejpeg, full": simplejpeg.decode_jpeg,
  "simplejpeg, 1/2": half,
}


def seconds(decode, files: list[bytes]) -> float:
  """Time to decode all files once."""
  began = time.perf_counter()
  for data in files:
    decode(data)
  return time.perf_counter() - began


def main() -> None:
  """Checks that the decoders agree, then times them."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--frames", type=int, default=24)
  parser.add_argument("--rounds", type=int, default=5)
  flags = parser.parse_args()
  cv2.setNumThreads(1)
  files = frames(flags.frames)
  for name, decode in DECODERS.items():
    shape = (HEIGHT, WIDTH) if "1/2" not in name else (HEIGHT // 2, WIDTH // 2)
    found = decode(files[0])
    assert found.shape == (*shape, 3), name
    if shape == (HEIGHT, WIDTH):  # Pillow has a libjpeg-turbo of its own
      np.testing.assert_allclose(found, pillow(files[0]).astype(int), atol=2)
  times = np.array(
    [
      [seconds(decode, files) for decode in DECODERS.values()]
      for _ in range(flags.rounds)
    ]
  )
  size = sum(map(len, files)) / len(files) / 1000
  print(f"{flags.frames} frames of {WIDTH}x{HEIGHT}, {size:.0f} kB each")
  rates = flags.frames / np.median(times, axis=0)
  ratios = np.median(times[:, :1] / times, axis=0)
  for name, rate, ratio in zip(DECODERS, rates, ratios, strict=True):
    print(f"{name:18} {rate:7.0f} frames/s  x {ratio:.2f}")


if __name__ == "__main__":
  main()
