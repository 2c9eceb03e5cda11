"""A tiny data set in PoseTrack18's layout, for whole runs, and their step."""

import pathlib

import cv2
import numpy as np
import pytest

from diffpose_jax.data import annotations
from diffpose_jax.pose import skeleton
from diffpose_jax.training import train

SIZE = (71, 97)  # picture (height, width)
# Keys of training of which its step knows nothing.
NOT_OF_THE_STEP = (
  *("steps", "evaluate_every", "checkpoint_every", "log_every"),
  *("patience", "max_skipped"),
)


def _person(video: int, frame: int) -> annotations.Person:
  """Fifteen joints of a person who walks; the ears are not labelled."""
  cells = np.array([(i % 4, i // 4) for i in range(17)])
  joints = 20 + 7.3 * cells + (2.1 * frame + 3.7 * video, 1.3 * frame)
  labelled = np.ones(17, bool)
  labelled[[3, 4]] = False
  low, high = joints.min(axis=0) - 4, joints.max(axis=0) + 4
  return annotations.Person(
    box=np.concatenate([low, high]).astype(np.float32),
    joints=np.where(labelled[:, None], joints, 0).astype(np.float32),
    labelled=labelled,
    track_id=video,
    head_box=np.array([*low, *(low + 11)], np.float32),
  )


def _picture(person: annotations.Person) -> np.ndarray:
  """A blob of its own colour at each joint, on grey."""
  picture = np.full((*SIZE, 3), 90, np.uint8)
  for joint, (x, y) in enumerate(person.joints):
    if person.labelled[joint]:
      colour = (40 * joint % 256, 255 - 15 * joint, 90 * joint % 256)
      cv2.circle(picture, (round(float(x)), round(float(y))), 3, colour, -1)
  return picture


def _write_split(root: pathlib.Path, split: str, frames: int) -> None:
  """Two videos in PoseTrack18's layout, with a person in each frame."""
  (root / "annotations" / split).mkdir(parents=True)
  for video in range(2):
    name = f"{video:06d}_{split}"
    (root / "images" / split / name).mkdir(parents=True)
    listed = []
    for frame in range(frames):
      person = _person(video, frame)
      file_name = f"images/{split}/{name}/{frame:06d}.jpg"
      assert cv2.imwrite(str(root / file_name), _picture(person))
      listed.append(
        annotations.Frame(
          file_name, 100 * video + frame, True, (person,), (), *SIZE
        )
      )
    annotations.write_video(
      root / "annotations" / split / f"{name}.json",
      annotations.Video(name, tuple(listed)),
      skeleton=skeleton.POSETRACK,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  """A data root: train has 2 videos of 6 frames, val 2 of 3."""
  folder = tmp_path_factory.mktemp("root")
  _write_split(folder, "train", 6)
  _write_split(folder, "val", 3)
  return folder


def _of_the_step(config, steps: int) -> str:
  """All that a run's step is made from, as text."""
  tree = config.to_dict()
  for name in NOT_OF_THE_STEP:
    del tree["train"][name]
  data = {name: tree["data"][name] for name in ("size", "span")}
  parts = {
    name: tree[name]
    for name in ("seed", "augment", "model", "diffusion", "train")
  }
  return repr((parts, data, steps))


@pytest.fixture(scope="module")
def compiled_once():
  """The step of a config is traced for one run, and used by the others.

  Gives what makes it otherwise.
  """
  real, programs = train.compiled_step, {}

  def compiled_step(config, skeleton, mesh, steps, state):
    key = _of_the_step(config, steps)
    if key not in programs:
      programs[key] = real(config, skeleton, mesh, steps, state)
    return programs[key]

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(train, "compiled_step", compiled_step)
    yield real
