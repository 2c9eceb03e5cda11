"""A tiny network to measure."""

import contextlib

import pytest

from diffpose_jax import config as config_lib
from diffpose_jax.benchmark import subject as subject_lib
from diffpose_jax.model import diffpose


@contextlib.contextmanager
def _known_by_name():
  """The tiny network's size is known by name."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(diffpose.SIZES, "tiny", diffpose.Size(24, 1, 2))
    yield


@pytest.fixture(scope="module", autouse=True)
def _tiny():
  """For the files of this folder alone: others count the sizes."""
  with _known_by_name():
    yield


@pytest.fixture(scope="session")
def config():
  return _config()


def _config():
  config = config_lib.default()
  config.data.size = (32, 24)
  config.data.span = 1
  config.model.size = "tiny"
  config.model.patch = 8
  config.model.strl_depth = 1
  config.model.decoder_width = 16
  config.model.heatmap_width = 8
  config.model.scales = 1
  config.train.batch = 8
  config.evaluate.batch = 8
  config.evaluate.max_steps = 8
  return config


@pytest.fixture(scope="session")
def subject(config):
  with _known_by_name():  # What is of the session is made first.
    return subject_lib.make(config)
