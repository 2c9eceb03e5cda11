"""A small clip, and the page as it is served from a process of its own."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest

from diffpose_jax.data import video

REPO = pathlib.Path(__file__).resolve().parents[2]
SIZE = (120, 160)  # (height, width) of the pictures
COUNT, FPS = 9, 6.0


def film(path, count=COUNT, size=SIZE):
  """A light dot that wanders over noise."""
  rng = np.random.default_rng(0)
  ground = rng.integers(0, 90, (*size, 3), np.uint8)
  with video.Writer(path, fps=FPS, size=size) as writer:
    for i in range(count):
      picture = ground.copy()
      cv2.circle(picture, (40 + 4 * i, 60), 9, (255, 240, 220), -1)
      writer.write(picture, i / FPS)
  return path


@pytest.fixture(scope="session")
def clip_file(tmp_path_factory):
  return film(tmp_path_factory.mktemp("clip") / "walk.webm")


@pytest.fixture
def film_of(tmp_path):
  """Makes a clip of so many frames."""
  return lambda count: film(tmp_path / f"of_{count}.webm", count)


class Served:
  """The page of a process."""

  def __init__(self, address, folder, said):
    self.address, self.folder, self.said = address, folder, said


@contextlib.contextmanager
def _serving(folder, weights, *flags):
  """The verb in a process, until the end of the context; then it is gone."""
  environment = dict(os.environ, TMPDIR=str(folder), PYTHONPATH=str(REPO))
  # Of the 8 devices of other tests it needs one.
  environment["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
  environment["JAX_COMPILATION_CACHE_DIR"] = str(folder.parent / "xla")
  command = [sys.executable, "-m", "diffpose_jax.main", "webdemo", "--port=0"]
  with subprocess.Popen(
    [*command, f"--weights={weights}", *flags],
    cwd=folder,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  ) as process:
    assert process.stdout is not None
    said = []
    try:
      for line in process.stdout:
        said.append(line)
        if line.startswith("open http"):
          break
      else:
        raise AssertionError("".join(said))
      reader = threading.Thread(target=said.extend, args=(process.stdout,))
      reader.start()
      yield Served(said[-1].split()[1], folder, said)
    finally:
      process.send_signal(signal.SIGTERM)
      code = process.wait(30)
  reader.join()
  assert code == 128 + signal.SIGTERM, said
  # Uploads and results are gone with it.
  assert list(folder.glob("diffpose-webdemo-*")) == []


@pytest.fixture(scope="session")
def served(tmp_path_factory, tiny_run):
  """The page with weights that know nothing, and small limits."""
  pytest.importorskip("gradio", reason="the extra `webdemo` is not installed")
  folder = tmp_path_factory.mktemp("served") / "tmp"
  folder.mkdir()
  flags = ("--clip_megabytes=1", "--clip_seconds=5", "--clip_frames=20")
  with _serving(folder, tiny_run, *flags) as found:
    yield found
