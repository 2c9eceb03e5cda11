"""Many videos by the workers of a Ray cluster, or of this machine.

Each worker is a process with the weights loaded once; each video is a task of
its own. Where a worker dies, what it was at goes to another one, a few times;
where a video is at fault, that is noted, and nothing tried again. What makes
each video be done once, and go on where it was, is of `many`.
"""

import collections
import contextlib
import dataclasses
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import tqdm
from absl import logging

from diffpose_jax.data import sources
from diffpose_jax.inference import (
  averaged,
  flow,
  many,
  outputs,
  program,
  shipped,
  summary,
)
from diffpose_jax.inference import request as request_lib

ENGINES = ("ray",)
# Little goes through it: requests, and what became of videos.
_STORE = 100 << 20  # bytes of Ray's shared memory on this machine


@dataclasses.dataclass(frozen=True)
class Options:
  """How many workers there are, and what each of them has."""

  workers: int | None = None  # None: one a GPU, or where there are none a node
  gpus: int | None = None  # of each worker; None: one where there are any
  retries: int = 2  # of a video whose worker dies


def check(name: str) -> None:
  """Raises ValueError for an engine that there is not."""
  if name not in ENGINES:
    raise ValueError(f"--engine={name}: there is {', '.join(ENGINES)}")
  _ray()


def run(
  request: request_lib.Request,
  found: Sequence[sources.Source],
  options: Options,
) -> list[outputs.Output]:
  """Does videos by Ray, and writes a table of what became of them.

  RAY_ADDRESS names a cluster, whose nodes have this program and see the same
  files under the same names; without it, workers are on this machine.

  Raises ValueError where some cannot be done; the others are done first.
  """
  for source in found:
    if source.camera is not None:
      raise ValueError(f"{source.path}: a camera needs no --engine")
  ray = _ray()
  weights = shipped.find(request.weights).absolute()
  request = dataclasses.replace(
    request, out=request.out.absolute(), weights=weights
  )
  found = [_absolute(source) for source in found]
  config = averaged.find(weights).config
  ready = None
  if request.boxes_file is not None:
    ready = many.ready_of(request, found, config)
  request.out.mkdir(parents=True, exist_ok=True)
  with _cluster(ray, options):
    rows = _Fleet(ray, request, options).do(found, ready)
  return many.finished(found, request.out, request.out / summary.NAME, rows)


def _ray() -> Any:
  """The module; ValueError where it is not installed."""
  try:
    import ray
  except ImportError as error:
    raise ValueError(
      "--engine=ray: Ray is not installed; pip install 'diffpose-jax[ray]', or "
      "divide the videos by --shard"
    ) from error
  return ray


def _absolute(source: sources.Source) -> sources.Source:
  """The source, whatever folder a worker is in."""
  pictures = tuple(path.absolute() for path in source.pictures)
  return dataclasses.replace(
    source, path=source.path.absolute(), pictures=pictures
  )


@contextlib.contextmanager
def _cluster(ray: Any, options: Options) -> Iterator[None]:
  """A context in which Ray is there."""
  os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell others
  quiet = {"log_to_driver": False, "logging_level": "error"}
  if os.environ.get("RAY_ADDRESS"):
    ray.init(**quiet)
  else:
    ray.init(
      address="local",
      num_cpus=options.workers,  # as many as each of them asks for; None: all
      include_dashboard=False,
      object_store_memory=_STORE,
      **quiet,
    )
  try:
    yield
  finally:
    ray.shutdown()


class Worker:
  """What a process of Ray's does; in it the weights are loaded once."""

  def __init__(self, request: request_lib.Request):
    self._request = request
    self._loaded: request_lib.Loaded | None = None

  def load(self) -> tuple[str, str]:
    """Loads the weights; gives where, and by what version of this program."""
    self._loaded = request_lib.Loaded(self._request)
    return socket.gethostname(), version()

  def do(self, source: sources.Source, ready: many.Ready | None) -> summary.Row:
    """Does a video, and tells what became of it."""
    assert self._loaded is not None
    many.do([source], self._loaded, ready)
    return summary.row(source, self._request.out)


def version() -> str:
  """Of what the poses depend on, beside their videos and the weights."""
  return f"code {program.code()[:12]}, JAX {jax.__version__}"


class _Fleet:
  """Workers, and which video each of them is at."""

  def __init__(self, ray: Any, request: request_lib.Request, options: Options):
    self._ray, self._request, self._options = ray, request, options
    self._tries: collections.Counter[str] = collections.Counter()
    self._unborn = 0  # workers in a row that died while they loaded
    self._idle: list[Any] = []
    # By what is waited for: a worker, and its video; None: it loads.
    self._busy: dict[Any, tuple[Any, sources.Source | None]] = {}
    total = ray.cluster_resources()
    gpus = options.gpus
    if gpus is None:
      gpus = int(total.get("GPU", 0) > 0)
    self._workers = options.workers or (
      int(total["GPU"]) // gpus if gpus else len(ray.nodes())
    )
    self._make = ray.remote(
      num_cpus=1, num_gpus=gpus, scheduling_strategy="SPREAD"
    )(Worker).remote

  def do(
    self, found: Sequence[sources.Source], ready: many.Ready | None
  ) -> dict[str, summary.Row]:
    """Does videos, and tells what became of each."""
    todo = collections.deque(found)
    rows: dict[str, summary.Row] = {}
    with tqdm.tqdm(total=len(found), unit="video", dynamic_ncols=True) as bar:
      while len(rows) < len(found):
        while self._idle and todo:
          self._send(self._idle.pop(), todo.popleft(), ready)
        at_most = min(self._workers, len(todo) + self._at_work())
        while len(self._busy) + len(self._idle) < at_most:
          self._start()
        source, row = self._next()
        if source is not None and row is None:
          todo.appendleft(source)
        elif source is not None and row is not None:
          rows[source.name] = row
          bar.update()
          if row.state != "done":
            logging.error("%s: %s", row.video, row.why or row.state)
    return rows

  def _at_work(self) -> int:
    return sum(source is not None for _, source in self._busy.values())

  def _start(self) -> None:
    worker = self._make(self._request)
    self._busy[worker.load.remote()] = worker, None

  def _send(
    self, worker: Any, source: sources.Source, ready: many.Ready | None
  ) -> None:
    own = None if ready is None else {source.name: ready[source.name]}
    self._busy[worker.do.remote(source, own)] = worker, source

  def _next(self) -> tuple[sources.Source | None, summary.Row | None]:
    """Waits for one of the workers; its video, and what became of it.

    No video: it has loaded; no row: it died, and the video is to be done again.
    """
    [ref], _ = self._ray.wait(list(self._busy))
    worker, source = self._busy.pop(ref)
    errors = self._ray.exceptions
    try:
      result = self._ray.get(ref)
    except errors.RayTaskError as error:
      self._raise_unless_of(source, error.cause)
      self._idle.append(worker)
      assert source is not None
      cause = f"{type(error.cause).__name__}: {error.cause}"
      return source, self._failed(source, cause)
    except errors.RayError as error:
      self._ray.kill(worker)  # of which there may be no more than no answer
      return source, self._lost(source, error)
    self._idle.append(worker)
    if source is None:
      self._unborn = 0
      _check_version(*result)
    return source, None if source is None else result

  def _raise_unless_of(
    self, source: sources.Source | None, cause: BaseException
  ) -> None:
    """Raises what is wrong with all videos: weights, detector, network."""
    if source is None or isinstance(cause, flow.BrokenError):
      if isinstance(cause, ValueError | OSError):
        raise ValueError(str(cause)) from cause
      raise cause

  def _lost(
    self, source: sources.Source | None, error: Exception
  ) -> summary.Row | None:
    """What becomes of a video whose worker died; None: it is tried again."""
    why = " ".join(str(error).split())[:200]
    if source is None:
      self._unborn += 1
      if self._unborn > self._options.retries:
        raise ValueError(
          f"{self._unborn} workers in a row died while they loaded the weights: "
          f"{why}"
        )
      return None
    self._tries[source.name] += 1
    tries = self._tries[source.name]
    if tries <= self._options.retries:
      logging.warning("%s: its worker died; tried again", source.name)
      return None
    return self._failed(source, f"its worker died, {tries} times: {why}")

  def _failed(self, source: sources.Source, why: str) -> summary.Row:
    summary.note_failure(source.name, self._request.out, why)
    return summary.row(source, self._request.out)


def _check_version(host: str, theirs: str) -> None:
  if theirs != version():
    raise ValueError(
      f"{host} has another version of this program ({theirs}; here {version()}), "
      "whose poses may differ; install the same one on all nodes"
    )
