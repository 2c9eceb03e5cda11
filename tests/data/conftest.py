"""Small data in PoseTrack18's layout, drawn so that joints can be found."""

import contextlib
import pathlib
import resource

import cv2
import numpy as np
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax.data import annotations, poses, prepare
from diffpose_jax.pose import skeleton

SIZE = (149, 211)  # picture (height, width)
STEP = np.array([2.0, 1.0])  # motion, pixels a frame
SIGMA = 2.0  # of a joint's dot, pixels


def joints_at(frame: int) -> np.ndarray:
  """Joints of the only person: 17 places 20 px apart, moving by STEP."""
  cells = np.array([(i % 5, i // 5) for i in range(17)])
  return (62.3 + 18 * (cells - 1) + STEP * frame).astype(np.float32)


def picture_at(frame: int) -> np.ndarray:
  """RGB: a red dot at left joints, a green one at right, blue elsewhere."""
  y, x = np.mgrid[: SIZE[0], : SIZE[1]]
  picture = np.zeros((*SIZE, 3))
  for joint, (cx, cy) in enumerate(joints_at(frame)):
    name = skeleton.POSETRACK.joints[joint]
    channel = 0 if "left" in name else 1 if "right" in name else 2
    square = (x - cx) ** 2 + (y - cy) ** 2
    picture[..., channel] += 250 * np.exp(-square / (2 * SIGMA**2))
  return np.clip(picture, 0, 255).astype(np.uint8)


def person_at(frame: int, **changes) -> annotations.Person:
  joints = joints_at(frame)
  box = np.concatenate([joints.min(axis=0) - 3, joints.max(axis=0) + 3])
  fields = {
    "box": box,
    "joints": joints,
    "labelled": np.ones(17, bool),
    "track_id": 5,
    "head_box": np.array([50, 40, 63, 57], np.float32),
  }
  return annotations.Person(**(fields | changes))


def write_videos(
  root: pathlib.Path,
  split: str,
  *,
  videos: int = 2,
  frames: int = 7,
  labelled=lambda frame: True,
  missing: tuple[int, ...] = (),
  **person,
) -> None:
  """One split: `missing` frames are listed without their pictures."""
  folder = root / "annotations" / split
  folder.mkdir(parents=True)
  for v in range(videos):
    name = f"{v:06d}_{split}"
    pictures = root / "images" / split / name
    pictures.mkdir(parents=True)
    listed = []
    for f in range(frames):
      file_name = f"images/{split}/{name}/{f:06d}.jpg"
      if f not in missing:
        bgr = picture_at(f)[..., ::-1]
        cv2.imwrite(str(root / file_name), bgr, [cv2.IMWRITE_JPEG_QUALITY, 98])
      listed.append(
        annotations.Frame(
          file_name=file_name,
          image_id=1000 * v + f,
          labelled=labelled(f),
          people=(person_at(f, **person),) if labelled(f) else (),
          ignore_regions=(np.array([[0, 0], [7, 0], [7, 5.5]], np.float32),)
          * (f % 3),
          height=SIZE[0],
          width=SIZE[1],
        )
      )
    video = annotations.Video(name, tuple(listed))
    annotations.write_video(
      folder / f"{name}.json", video, skeleton=skeleton.POSETRACK
    )


@pytest.fixture(scope="session")
def scene():
  """The functions of this file: how pictures and joints were made."""

  class Scene:
    joints = staticmethod(joints_at)
    person = staticmethod(person_at)
    write = staticmethod(write_videos)
    size, step, sigma = SIZE, STEP, SIGMA

  return Scene


@pytest.fixture(scope="session")
def dots(tmp_path_factory):
  """A prepared set of dots: train 2 videos of 7 frames, val 1 of 3."""
  folder = tmp_path_factory.mktemp("dots")
  write_videos(folder / "source", "train")
  write_videos(folder / "source", "val", videos=1, frames=3)
  return prepare.prepare(
    dataset="posetrack18", source=folder / "source", out=folder / "prepared"
  )


class Recorded:
  """Poses of a short video, with all that there can be.

  Of 7 frames, those without people are the first, the third and the last. The
  ears were never learned. Somebody has no identity, somebody no known errors,
  and the samples of a left wrist name two places.
  """

  def __init__(self):
    rng = np.random.default_rng(0)
    self.head = poses.Head(
      name="walk é",
      source="walk é.mp4",
      fps=23.976,
      height=211,
      width=307,
      skeleton=skeleton.POSETRACK,
      protocol={"steps": 4, "boxes": "given", "uncertainty_tail": 3.5},
      tail=3.5,
    )
    counts = (0, 2, 0, 1, 3, 1, 0)
    self.frames = tuple(
      annotations.Frame(
        file_name=f"{i:06}.jpg",
        image_id=i,
        labelled=True,
        people=tuple(self.person(rng, j, i) for j in range(count)),
        height=211,
        width=307,
        time=i / 23.976 if i else 0.0,
      )
      for i, count in enumerate(counts)
    )

  @staticmethod
  def person(rng, number: int, frame: int) -> annotations.Person:
    labelled = np.ones(17, bool)
    labelled[[3, 4]] = False
    joints = rng.uniform(-5, 211, (17, 2)).astype(np.float32)
    roots = rng.normal(0, 3, (17, 2, 2))
    scale = roots @ roots.swapaxes(1, 2)
    within = rng.random(17)
    if number == 1:
      scale[5] = np.nan
      within[7] = np.nan
    samples = joints + rng.normal(0, 1, (5, 17, 2))
    samples[:2, 9] += (70, 0)  # left_wrist
    samples[4, 10] = np.nan
    return annotations.Person(
      box=np.array([3.1, -2.7, 90.3, 177.9], np.float32) + np.float32(number),
      joints=joints,
      labelled=labelled,
      track_id=(4, -1, 11)[number],
      scores=np.where(labelled, rng.random(17), 0).astype(np.float32),
      box_score=0.1 + 0.2 * number,
      scale=None if number == 2 else scale,
      within=None if number == 2 or frame == 3 else within,
      samples=samples.astype(np.float32),
    )

  def check(self, frames, *, samples=True, sizes=True, error_rtol=0.0):
    """Asserts that what a reader gave is what was recorded.

    Joints, boxes, scores and samples to the last bit; errors in the precision
    of float32, or `error_rtol` where they are derived.
    """
    assert len(frames) == len(self.frames)
    for got, want in zip(frames, self.frames, strict=True):
      for name in ("file_name", "image_id", "time", "labelled"):
        assert getattr(got, name) == getattr(want, name)
      if sizes:
        assert (got.height, got.width) == (want.height, want.width)
      assert len(got.people) == len(want.people)
      for a, b in zip(got.people, want.people, strict=True):
        known = b.labelled
        assert (a.track_id, a.box_score) == (b.track_id, b.box_score)
        np.testing.assert_array_equal(a.labelled, known)
        exact = {"joints": np.where(known[:, None], b.joints, 0), "box": b.box}
        exact["scores"] = b.scores
        if samples:
          exact["samples"] = b.samples
        for name, value in exact.items():
          assert getattr(a, name).dtype == np.float32
          np.testing.assert_array_equal(getattr(a, name), value, name)
        if not samples:
          assert a.samples is None
        for name in ("scale", "within"):
          value = getattr(b, name)
          if value is None:
            assert getattr(a, name) is None
            continue
          value = np.where(
            known.reshape(17, *[1] * (value.ndim - 1)), value, np.nan
          )
          np.testing.assert_allclose(
            getattr(a, name), value.astype(np.float32), rtol=error_rtol
          )


@pytest.fixture
def recorded():
  """Poses of a short video; see `Recorded`."""
  return Recorded()


@pytest.fixture
def small_disk():
  """A context in which no file can grow beyond so many bytes."""

  @contextlib.contextmanager
  def limited(size: int):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
      yield
    finally:
      resource.setrlimit(resource.RLIMIT_FSIZE, before)

  return limited


@pytest.fixture
def small_config():
  """Crops of 61 x 47, three frames, one thread."""
  config = config_lib.default()
  config.data.size = (61, 47)
  config.data.span = 1
  config.data.threads = 1
  return config
