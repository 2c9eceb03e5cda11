"""A moving dot, and an estimator that finds it: what a pose must be is known."""

import dataclasses
import types
from collections.abc import Callable
from typing import Any

import cv2
import ml_collections
import numpy as np
import pytest

from diffpose_jax.data import sources, video
from diffpose_jax.inference import boxes_in, flow
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import poses as poses_lib
from diffpose_jax.inference import sampling as sampling_lib
from diffpose_jax.pose.skeleton import POSETRACK

SIZE = (180, 240)  # (height, width) of the pictures
K = len(POSETRACK.joints)
SPREAD = (4.0, 9.0)  # of the heatmaps along x and y, crop pixels²


@dataclasses.dataclass(frozen=True)
class Soon(estimator_lib.Pending):
  """Poses that are made when they are waited for."""

  make: Callable[[], poses_lib.Poses]

  def poses(self):
    return self.make()


class BrightestPixel(estimator_lib.Estimator):
  """Finds the brightest spot of the key frame; keeps what it was given."""

  def __init__(self, *, batch=5, span=1, sizes=None):
    self.config = ml_collections.ConfigDict(
      {
        "data": {"size": (64, 48), "span": span, "enlarge": 1.25},
        "evaluate": {"batch": batch, "box_threshold": 0.3},
      }
    )
    self.skeleton = POSETRACK
    self.options = sampling_lib.Options(4, 1, False, 0, 0.0)
    self._sizes = sizes or (batch,)
    self.clips, self.noise, self.used = [], [], []

  def protocol(self):
    return {"steps": 4}

  @property
  def ladder(self):
    return self._sizes

  def start(self, frames, noise_id, *, size=None):
    config: Any = self.config
    assert len(frames) <= (size or config.evaluate.batch)
    self.used.append((size, len(frames)))
    self.clips += list(frames)
    self.noise += noise_id.tolist()
    return Soon((), len(frames), lambda: self.find(frames))

  def find(self, frames):
    keys = frames[:, frames.shape[1] // 2].astype(np.float32).sum(axis=-1)
    joints = np.stack([peak(key) for key in keys])
    joints = np.repeat(joints[:, None], K, axis=1).astype(np.float32)
    score = np.full(joints.shape[:2], 0.5, np.float32)
    shape = np.tile(np.diag(SPREAD).astype(np.float32), (*score.shape, 1, 1))
    return poses_lib.Poses(joints, score, joints[None], shape)


def peak(picture):
  """(x, y) of the centre of mass of what is bright; the corner without any."""
  bright = np.maximum(picture - 300, 0)
  bright[0, 0] += not bright.any()
  y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
  return np.array([(bright * x).sum(), (bright * y).sum()]) / bright.sum()


def dot(index):
  """Where it is in a frame."""
  return np.array([60.0 + 7 * index, 80.0 + 3 * index])


def frame(index):
  """A bright blob, wide enough to survive the crop's coarse sampling."""
  x, y = dot(index)
  v, u = np.mgrid[: SIZE[0], : SIZE[1]]
  blob = np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * 8**2))
  return np.repeat((40 + 210 * blob).astype(np.uint8)[..., None], 3, axis=2)


def around(index, score=0.8):
  """A detection around the dot of a frame, (x, y, w, h), not centred on it."""
  x, y = dot(index)
  box = [x - 31, y - 17, 53, 61]
  return {"bbox": box, "score": score, "category_id": 1}


def job(frames, find=lambda index, picture: [], name="walk"):
  """A video of (index, seconds, picture), and its boxes."""

  class Frames:
    def __enter__(self):
      return iter(frames)

    def __exit__(self, *error):
      getattr(frames, "close", lambda: None)()

  return flow.Job(
    sources.Source(name, sources.pathlib.Path(name)),
    video.VideoInfo(10.0, SIZE[1], SIZE[0], 0),
    boxes_in.Supply(find, {"boxes": "test"}),
    Frames,
  )


@pytest.fixture(scope="session")
def dots():
  """All of the above."""
  return types.SimpleNamespace(
    Estimator=BrightestPixel,
    SIZE=SIZE,
    SPREAD=SPREAD,
    peak=peak,
    dot=dot,
    frame=frame,
    around=around,
    job=job,
  )


@pytest.fixture
def clip(tmp_path):
  """A video of eleven frames with the dot."""
  path = tmp_path / "clip.webm"
  with video.Writer(path, fps=10.0, size=SIZE) as writer:
    for index in range(11):
      writer.write(frame(index))
  return path


@pytest.fixture
def folder(tmp_path):
  """The same as pictures."""
  path = tmp_path / "walk"
  path.mkdir()
  for index in range(11):
    cv2.imwrite(str(path / f"{index:06d}.png"), frame(index))
  return path
