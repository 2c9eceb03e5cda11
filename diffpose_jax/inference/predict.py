"""Poses of the people in videos, one record for each decoded frame.

Frames stream through: what is in memory does not grow with a video's length.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

from absl import logging

from diffpose_jax.data import shards, sources
from diffpose_jax.data import video as videos
from diffpose_jax.inference import (
  boxes_in,
  many,
  outputs,
  run,
  stream,
)
from diffpose_jax.inference import engine as engine_lib
from diffpose_jax.inference import request as request_lib
from diffpose_jax.inference import wanted as wanted_lib


def predict(  # noqa: PLR0913 - one flat call for the command line
  *,
  input: str | pathlib.Path | Sequence[str | pathlib.Path],
  out: pathlib.Path,
  weights: pathlib.Path | None = None,
  boxes: str | pathlib.Path | None = None,
  detector: str | None = None,
  follow: bool = False,
  smooth: str = "none",
  smooth_boxes: str = "none",
  share_crops: bool = False,
  live: str = "none",
  fps: float = videos.DEFAULT_FPS,
  box_threshold: float | None = None,
  formats: str = "posetrack,json",
  keep_samples: bool = False,
  video: str = "webm",
  draw: str = "skeleton,boxes,ids",
  viewer: bool = False,
  shard: str | None = None,
  engine: str | None = None,
  workers: int | None = None,
  gpus: int | None = None,
  retries: int | None = None,
  **sampling: Any,
) -> list[outputs.Output]:
  """Writes the poses of each video, and it with them drawn in.

  Args:
    input: what `sources.find` takes: a video, a folder of pictures or of
      videos, a pattern, a list, `camera:0`.
    out: folder, made where it is missing; files appear in it whole or not at
      all.
    weights: workdir of a training run, or a file of `pack`; by default those
      that come with the package.
    boxes: `whole` (one person who fills the picture), or what
      `boxes.read_boxes` takes. A frame of a video is called <index>.jpg with
      six digits there, and its image id is its index, from 0.
    detector: what `detectors.open_detector` takes, instead of boxes.
    follow: whether people are followed by their poses through the frames that
      have no box for them.
    smooth: joints along identities: `none`; `online` (One-Euro); or `lag`,
      looking 0.2 s ahead too.
    smooth_boxes: the same of boxes, before people are cut out by them.
    share_crops: whether a person's frames share a box, so that each is looked
      at once; see `shared_boxes`.
    live: `none`; `lag`, so that no frame waits for more than the δ frames after
      it; or `causal`, so that it waits for none. A camera's is `lag` at least.
    fps: of pictures.
    box_threshold: boxes that score less are left out; by default the config's,
      for a detector its own.
    formats: of the poses, by `result_formats.FORMATS`, separated by commas.
    keep_samples: whether the joints of all members of the ensemble are written,
      in the formats that can hold them.
    video: with the poses drawn in: `webm` (VP8, by PyAV VP9), `mp4` (H.264) or
      `none`.
    draw: what is drawn, by `annotated.PARTS`, separated by commas, or `none`.
    viewer: whether there is a page to look into the poses.
    shard: `I/N`, the I-th from 0 of N parts of the videos, of which others are
      done elsewhere, in the same `out`; see `many`.
    engine: `ray`, to do the videos by its workers; see `engine`.
    workers: of the engine; by default one a GPU, or without GPUs one a node.
    gpus: of each worker; by default one where there are any.
    retries: of a video whose worker dies; by default 2.
    **sampling: fields of `sampling.Options`.

  Raises:
    ValueError: anything wrong with input, boxes or weights, named with its
      remedy; of several videos the others are done first.
  """
  out = pathlib.Path(out)
  boxes_in.check(boxes, detector)
  wanted = wanted_lib.parse(
    formats=formats,
    keep_samples=keep_samples,
    video=video,
    draw=draw,
    viewer=viewer,
    smooth=smooth,
  )
  request = request_lib.Request(
    out=out,
    weights=weights,
    way=stream.Way(follow, share_crops, smooth_boxes, live),
    wanted=wanted,
    boxes=boxes,
    detector=detector,
    box_threshold=box_threshold,
    sampling=sampling,
  )
  options = _engine(shard, engine, workers, gpus, retries)
  found = sources.find(input, fps=fps)
  if options is not None:
    return engine_lib.run(request, found, options)
  if shard is not None:
    return many.shard(request, found, shards.parse(shard))
  return _together(request, found)


def _engine(
  shard: str | None,
  engine: str | None,
  workers: int | None,
  gpus: int | None,
  retries: int | None,
) -> engine_lib.Options | None:
  """How an engine is to work; None without one.

  Raises ValueError for flags that do not go together.
  """
  given = {"workers": workers, "gpus": gpus, "retries": retries}
  given = {name: value for name, value in given.items() if value is not None}
  if engine is None:
    if given:
      raise ValueError(f"--{next(iter(given))} is for --engine")
    return None
  if shard is not None:
    raise ValueError("--shard and --engine: one of them divides the videos")
  engine_lib.check(engine)
  return engine_lib.Options(**given)


def _together(
  request: request_lib.Request, found: Sequence[sources.Source]
) -> list[outputs.Output]:
  """All videos by this call alone."""
  # Before the weights, which take longer.
  opened, broken = request_lib.opened(found)
  for name, error in broken.items():
    if len(broken) == len(found) and name == found[-1].name:
      raise error  # none of them can be opened
    logging.error("%s", error)
  loaded = request_lib.Loaded(request)
  if request.boxes_file is None:
    jobs = [loaded.video(*one) for one in opened]
  else:
    jobs = request_lib.with_boxes(request, opened, loaded.estimator.config)
  return run.run(
    jobs,
    loaded.estimator,
    request.out,
    way=request.way,
    wanted=request.wanted,
    calibrated=loaded.calibrated,
    failures=list(broken),
  )
