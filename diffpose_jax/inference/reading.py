"""Frames of a video, decoded beside their use; those of a camera until Ctrl-C."""

import contextlib
import signal
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from diffpose_jax.data import ahead, sources, video
from diffpose_jax.inference import flow
from diffpose_jax.inference import stages as stages_lib


@contextlib.contextmanager
def opened(
  source: sources.Source,
  info: video.VideoInfo,
  stages: stages_lib.Stages,
  asked: threading.Event,
) -> Iterator[Iterable[flow.Timed]]:
  """A context with the frames; a camera's end once `asked` is set."""
  if info.live:
    # It has a thread of its own, and frames that wait would grow old.
    with contextlib.closing(video.read(source)) as frames:
      yield _until(frames, asked)
    return
  with ahead.Ahead(video.read(source)) as decoded:
    try:
      yield decoded
    finally:
      stages.add("decoding", decoded.wall_seconds, decoded.cpu_seconds)


def _until(
  frames: Iterable[flow.Timed], asked: threading.Event
) -> Iterator[flow.Timed]:
  for frame in frames:
    if asked.is_set():
      return
    yield frame


@contextlib.contextmanager
def asked_to_stop(live: bool) -> Iterator[threading.Event]:
  """An event that Ctrl-C sets, once, if anything is live.

  The second one ends as usual.
  """
  asked = threading.Event()
  # Python gives signals to the main thread alone.
  if not live or threading.current_thread() is not threading.main_thread():
    yield asked
    return
  before = signal.getsignal(signal.SIGINT)

  def ask(number: int, frame: Any) -> None:
    del number, frame
    asked.set()
    signal.signal(signal.SIGINT, before)

  signal.signal(signal.SIGINT, ask)
  try:
    yield asked
  finally:
    signal.signal(signal.SIGINT, before)
