"""Rendered videos of moving people, written in PoseTrack18's own layout.

`render_split` writes `<root>/images/<split>/<video>/000000.jpg` and
`<root>/annotations/<split>/<video>.json`, so that everything behind it is the
path that real data takes. Annotations carry three more keys: `occluded` (17
flags; a hidden joint keeps v = 1), `blur` (diameter of blur at the person, in
pixels) and `speed` (mean motion of its joints, in pixels per frame). Joints
outside the picture, and the ears always, are 0, 0, 0: not labelled.
"""

import dataclasses
import functools
import json
import os
import pathlib
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import tqdm
from jaxtyping import UInt8

from diffpose_jax.data import (
  processes,
  synthetic_records,
  synthetic_sample,
  synthetic_scene,
)

VERSION = 2  # of what is drawn: raise it when the same seed looks different

# One upright person, seen from the front, in plain surroundings: to learn from in
# minutes.
_SIMPLE = synthetic_scene.Difficulty(
  people=(1, 1),
  occluders=(0, 0),
  motion_blur=0.2,
  defocus=0.2,
  camera_motion=0.3,
  noise=0.3,
  clutter=0.2,
  light=0.2,
  ambiguous=0.0,
  close=0.0,
  crowd=0.0,
  speed=0.8,
  activities=("stand", "talk", "walk", "walk_talk", "wave", "clap"),
  turned=60.0,
)

_EASY = synthetic_scene.Difficulty(
  people=(1, 2),
  occluders=(0, 1),
  motion_blur=0.35,
  defocus=0.4,
  camera_motion=0.5,
  noise=0.6,
  clutter=0.5,
  light=0.5,
  ambiguous=0.0,
  close=0.12,
  crowd=0.08,
  speed=0.9,
)

DIFFICULTIES = {
  "simple": _SIMPLE,
  # The same, but in every four frames one or two are blurred or covered: what a
  # network that finds people well still needs their neighbours for.
  "hidden": dataclasses.replace(
    _SIMPLE, motion_blur=0.4, ambiguous=1.0, speed=1.0, stretch=4
  ),
  # Easy people who face the camera. Where as many are seen from behind, a network
  # that cannot tell which learns both sides of every joint at once, and keeps to
  # that; from these it learns left and right.
  "front": dataclasses.replace(_EASY, turned=_SIMPLE.turned),
  "easy": _EASY,
  "hard": synthetic_scene.Difficulty(
    people=(1, 4),
    occluders=(0, 3),
    motion_blur=1.0,
    defocus=1.0,
    camera_motion=1.2,
    noise=1.2,
    clutter=1.0,
    light=1.0,
    ambiguous=0.6,
    close=0.2,
    crowd=0.2,
    speed=1.1,
  ),
}

_MOST = 100000
_PATIENCE = 8.0  # seconds for a frame, which takes about 0.1
_USUAL = 240 * 320  # pixels, of such a frame
_MANIFEST = "synthetic.json"


def sample_scene(
  *,
  split: str,
  index: int,
  frames: int,
  size: tuple[int, int] = (240, 320),
  seed: int = 0,
  difficulty: str = "easy",
) -> synthetic_scene.Scene:
  """Returns the scene of a video: a function of seed, split and index."""
  entropy = [seed, zlib.crc32(split.encode()), index]
  rng = np.random.default_rng(np.random.SeedSequence(entropy))
  return synthetic_sample.sample_scene(
    rng, frames, size, DIFFICULTIES[difficulty]
  )


def _write(path, data):
  """Writes a file whole or not at all."""
  part = path.with_name(path.name + ".part")
  part.write_bytes(data)
  os.replace(part, path)


def render_video(
  index: int,
  *,
  root: str,
  split: str,
  settings: dict,
  beat: Callable[[], None] = lambda: None,
) -> None:
  """Writes one video's frames, and its annotations last; a `beat` a frame."""
  cv2.setNumThreads(1)
  base, name = pathlib.Path(root), synthetic_records.video_name(split, index)
  folder = base / "images" / split / name
  folder.mkdir(parents=True, exist_ok=True)
  scene = sample_scene(
    split=split,
    index=index,
    frames=settings["frames"],
    size=tuple(settings["size"]),
    seed=settings["seed"],
    difficulty=settings["difficulty"],
  )
  images, annotations = [], []
  options = [cv2.IMWRITE_JPEG_QUALITY, scene.look.quality]
  for number in range(settings["frames"]):
    frame = synthetic_scene.render_frame(scene, number)
    _, encoded = cv2.imencode(".jpg", frame.image, options)
    (folder / f"{number:06d}.jpg").write_bytes(encoded.tobytes())
    beat()
    identity = synthetic_records.image_id(split, index, number)
    people = [
      synthetic_records.annotation(person, identity) for person in frame.people
    ]
    people = [person for person in people if person is not None]
    images.append(
      synthetic_records.image_record(
        split, index, number, settings, frame, bool(people)
      )
    )
    annotations += people
  record = {
    "categories": [synthetic_records.CATEGORY],
    "images": images,
    "annotations": annotations,
  }
  path = base / "annotations" / split / f"{name}.json"
  _write(path, json.dumps(record).encode())


def _check(split, videos, frames, size, difficulty):
  """Raises ValueError where the request cannot be met."""
  if difficulty not in DIFFICULTIES:
    known = ", ".join(DIFFICULTIES)
    raise ValueError(
      f"unknown difficulty {difficulty!r}; choose one of: {known}"
    )
  if not 0 < videos <= _MOST:
    raise ValueError(f"videos must be 1 to {_MOST}, not {videos}")
  if not 0 < frames <= 9999:
    raise ValueError(f"frames per video must be 1 to 9999, not {frames}")
  if min(size) < 32:
    raise ValueError(f"size must be at least 32 x 32 pixels, not {size}")
  if not split.isidentifier():
    raise ValueError(f"split must be a plain word such as train, not {split!r}")


def _claim(root, split, settings):
  """Writes the manifest, or raises ValueError if the root is another's."""
  path = root / "annotations" / _MANIFEST
  path.parent.mkdir(parents=True, exist_ok=True)
  known = {}
  if path.exists():
    try:
      known = json.loads(path.read_text())
    except json.JSONDecodeError as error:
      raise ValueError(
        f"{path} is not JSON ({error}); remove {root}"
      ) from error
  before = known.get(split)
  if before is not None and before != settings:
    changed = [key for key in settings if before.get(key) != settings[key]]
    values = ", ".join(
      f"{key} {before.get(key)} there, {settings[key]} asked" for key in changed
    )
    raise ValueError(
      f"{path}: split {split} was made with other settings ({values}); "
      "choose another root or remove this one"
    )
  _write(path, json.dumps({**known, split: settings}, indent=1).encode())


def render_split(  # noqa: PLR0913 - one flat call for the command line
  root: str | os.PathLike,
  *,
  split: str,
  videos: int,
  frames: int,
  size: tuple[int, int] = (240, 320),
  seed: int = 0,
  difficulty: str = "easy",
  workers: int = 1,
  progress: bool = True,
) -> None:
  """Writes a split of rendered videos under `root` in PoseTrack18's layout.

  Bytes depend on seed, split, video index and the settings alone, not on
  `workers`. Videos that are complete are kept, so that an interrupted call
  can be repeated; more videos can be added later. `size` is (height, width).

  Raises:
    ValueError: a setting is out of range, or the root holds this split made
      with other settings.
    ChildProcessError: a worker was killed; TimeoutError: one hangs. Nothing
      that is complete is lost.
  """
  _check(split, videos, frames, size, difficulty)
  root = pathlib.Path(root)
  settings = {
    "version": VERSION,
    "frames": frames,
    "size": list(size),
    "seed": seed,
    "difficulty": difficulty,
  }
  _claim(root, split, settings)
  folder = root / "annotations" / split
  folder.mkdir(parents=True, exist_ok=True)
  missing = [
    index
    for index in range(videos)
    if not (
      folder / f"{synthetic_records.video_name(split, index)}.json"
    ).exists()
  ]
  work = functools.partial(
    render_video, root=str(root), split=split, settings=settings
  )
  bar = tqdm.tqdm(
    total=videos,
    initial=videos - len(missing),
    desc=f"render {split}",
    unit="video",
    disable=not progress,
  )
  with bar:
    if workers <= 1:
      for index in missing:
        work(index)
        bar.update()
      return
    for _ in processes.run(
      work,
      missing,
      count=workers,
      seconds=_PATIENCE * max(1.0, size[0] * size[1] / _USUAL),
      name=f"video of {split}",
    ):
      bar.update()


def contact_sheet(
  root: str | os.PathLike,
  split: str,
  *,
  rows: int,
  columns: int,
  cell: int = 160,
) -> UInt8[np.ndarray, "h w 3"]:
  """Returns a sheet (RGB): a row per video, consecutive frames of a person.

  Each cell is cropped around the person with the most joints in view; its box
  and skeleton are drawn in every second column.
  """
  base = pathlib.Path(root)
  files = sorted((base / "annotations" / split).glob("*.json"))
  if not files:
    raise ValueError(f"{base} has no annotations of split {split!r}")
  sheet = np.zeros((rows * cell, columns * cell, 3), np.uint8)
  chosen = np.linspace(0, len(files) - 1, min(rows, len(files))).astype(int)
  for row, pick in enumerate(chosen):
    record = json.loads(files[pick].read_text())
    for column, tile in enumerate(_tiles(base, record, columns, cell)):
      y, x = row * cell, column * cell
      sheet[y : y + cell, x : x + cell] = tile
  return sheet


def _tiles(base, record, columns, cell):
  """Yields the cells of one video."""
  counts = {}
  for person in record["annotations"]:
    track = person["track_id"]
    counts[track] = counts.get(track, 0) + person["num_keypoints"]
  if not counts:
    return
  track = max(counts, key=counts.__getitem__)
  paths = {image["id"]: image["file_name"] for image in record["images"]}
  people = [p for p in record["annotations"] if p["track_id"] == track]
  start = max((len(people) - columns) // 2, 0)
  for column, person in enumerate(people[start : start + columns]):
    image = cv2.imread(str(base / paths[person["image_id"]]))
    if image is None:
      raise ValueError(f"{base / paths[person['image_id']]} does not decode")
    yield _tile(image[..., ::-1], person, cell, column % 2 == 1)


def _tile(image, person, cell, drawn):
  """Returns one cell: the person's surroundings, with the truth if asked."""
  x, y, w, h = person["bbox"]
  half = 0.62 * max(w, h)
  scale = cell / (2 * half)
  shift = np.array([x + w / 2 - half, y + h / 2 - half])
  matrix = np.column_stack([np.eye(2) * scale, -shift * scale])
  tile = cv2.warpAffine(np.ascontiguousarray(image), matrix, (cell, cell))
  if not drawn:
    return tile
  joints = np.array(person["keypoints"]).reshape(17, 3)
  points = (joints[:, :2] - shift) * scale
  low = tuple(int(v) for v in (np.array([x, y]) - shift) * scale)
  high = tuple(int(v) for v in (np.array([x + w, y + h]) - shift) * scale)
  cv2.rectangle(tile, low, high, (255, 255, 255), 1)
  for a, b in synthetic_records.CATEGORY["skeleton"]:
    if joints[a - 1, 2] and joints[b - 1, 2]:
      colour = (255, 220, 0)
      if (
        "left"
        in synthetic_records.JOINTS[a - 1] + synthetic_records.JOINTS[b - 1]
      ):
        colour = (255, 80, 80)
      if (
        "right"
        in synthetic_records.JOINTS[a - 1] + synthetic_records.JOINTS[b - 1]
      ):
        colour = (80, 160, 255)
      first, last = (tuple(int(v) for v in points[i - 1]) for i in (a, b))
      cv2.line(tile, first, last, colour, 1, cv2.LINE_AA)
  for point, joint, hidden in zip(
    points, joints, person["occluded"], strict=True
  ):
    if joint[2]:
      centre = tuple(int(v) for v in point)
      cv2.circle(tile, centre, 2, (0, 0, 0) if hidden else (255, 255, 255), -1)
  return tile
