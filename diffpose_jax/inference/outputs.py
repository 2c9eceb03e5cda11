"""What is written of a video: its poses, a video with them drawn in, a page."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import tqdm

from diffpose_jax.data import annotations, poses, video
from diffpose_jax.inference import (
  annotated,
  canvas,
  flow,
  scribe,
  trembling,
  viewer,
)
from diffpose_jax.inference import spool as spool_lib
from diffpose_jax.inference import stages as stages_lib
from diffpose_jax.inference import wanted as wanted_lib


@dataclasses.dataclass(frozen=True)
class Output:
  """What was written of a video."""

  poses: tuple[pathlib.Path, ...]  # of each format in turn, the main one first
  video: pathlib.Path | None  # annotated
  page: pathlib.Path | None  # to look into the poses
  plain: pathlib.Path | None  # video of the page, where it is beside it
  frames: int
  people: int
  tracks: int  # different identities
  # Mean acceleration of joints, in sizes of the person per frame²; None:
  # nobody is in three frames in a row.
  jitter: float | None
  notes: tuple[str, ...] = ()  # what the page says of itself

  @property
  def files(self) -> list[pathlib.Path]:
    """All of them."""
    others = (self.video, self.page, self.plain)
    return [*self.poses, *(path for path in others if path is not None)]

  def record(self) -> dict[str, Any]:
    """All of it in JSON types, and which files these are."""
    return {
      **dataclasses.asdict(self),
      "poses": [path.name for path in self.poses],
      "notes": list(self.notes),
      **{name: path and path.name for name, path in self._others().items()},
      "files": {path.name: _identity(path) for path in self.files},
    }

  def _others(self) -> dict[str, pathlib.Path | None]:
    return {name: getattr(self, name) for name in _OTHERS}

  def __str__(self) -> str:
    jitter = ""
    if self.jitter is not None:
      jitter = f", jitter {1e3 * self.jitter:.1f} ‰ of their size a frame²"
    lines = [
      f"{self.people} people in {self.frames} frames, {self.tracks} "
      f"identities{jitter}",
      *(f"poses: {path}" for path in self.poses),
      *(f"{k}: {path}" for k, path in self._others().items() if path),
      *self.notes,
    ]
    return "\n".join(lines)


_OTHERS = ("video", "page", "plain")  # fields of `Output`, files if any


def recalled(record: Mapping[str, Any], out: pathlib.Path) -> Output | None:
  """What was written to `out` before, see `Output.record`; None: no longer."""
  same = all(
    (out / name).is_file() and _identity(out / name) == identity
    for name, identity in record["files"].items()
  )
  if not same:
    return None
  return Output(
    poses=tuple(out / name for name in record["poses"]),
    **{k: record[k] and out / record[k] for k in _OTHERS},
    **{k: record[k] for k in ("frames", "people", "tracks", "jitter")},
    notes=tuple(record["notes"]),
  )


def _identity(path: pathlib.Path) -> list[int]:
  """Of a file, in which it differs from one that is written later."""
  found = path.stat()
  return [found.st_size, found.st_mtime_ns]


def write(
  job: flow.Job,
  frames: Iterable[flow.Shown],
  out: pathlib.Path,
  *,
  head: poses.Head,
  wanted: wanted_lib.Wanted,
  stages: stages_lib.Stages,
) -> Output:
  """Writes what there is of a video; each file whole or not at all.

  Args:
    job: the video.
    frames: of it, finished.
    out: folder, made where it is missing.
    head: what is said once of its poses.
    wanted: what is to be written.
    stages: to which the time of drawing, encoding and writing is added.

  Raises:
    ValueError: something cannot be written, there are no frames, or what
      `frames` raise.
  """
  out.mkdir(parents=True, exist_ok=True)
  name, tally = head.name, _Tally()
  progress = tqdm.tqdm(
    desc=name,
    total=job.info.count_hint or None,
    unit="frame",
    dynamic_ncols=True,
  )
  films = _Films(head, out, wanted, stages)
  with progress, spool_lib.Spool(out) as spool:
    task = scribe.Task(head, out, wanted.formats, wanted.samples)
    with films, scribe.Files(spool, task) as files:
      for frame in frames:
        films.write(frame)
        with stages("writing"):
          spool.append(_record(frame))
          files.grown()
        tally.add(frame)
        progress.update()
      if not len(spool):
        raise ValueError(f"{job.source.path}: 0 frames; nothing is written")
      # Before the videos take their places: poses matter more.
      files.finish(stages)
    with stages("writing"):
      page, plain, notes = _page(head, out, wanted, spool)
  return Output(
    poses=tuple(wanted.poses(name, out)),
    video=wanted.drawn(name, out),
    page=page,
    plain=plain,
    frames=len(spool),
    people=tally.people,
    tracks=len(tally.tracks - {-1}),
    jitter=tally.tremble.mean,
    notes=notes,
  )


def _page(
  head: poses.Head,
  out: pathlib.Path,
  wanted: wanted_lib.Wanted,
  frames: spool_lib.Spool,
) -> tuple[pathlib.Path | None, pathlib.Path | None, tuple[str, ...]]:
  """Writes the page, if one is wanted; it, the video beside it, its notes."""
  page, plain = wanted.page(head.name, out), wanted.plain(head.name, out)
  if page is None or plain is None:
    return None, None, ()
  keep = False
  try:
    written = viewer.write(page, head, frames, plain)
    keep = not written.embedded
  finally:
    if not keep:
      plain.unlink(missing_ok=True)
  return page, plain if keep else None, written.notes


class _Tally:
  """What is counted of frames."""

  def __init__(self) -> None:
    self.people = 0
    self.tracks: set[int] = set()
    self.tremble = trembling.Trembling()

  def add(self, frame: flow.Shown) -> None:
    """One more frame."""
    self.people += len(frame.people)
    self.tracks |= {person.track_id for person in frame.people}
    self.tremble.add(frame.people)


class _Films:
  """The videos that are written of a video: drawn, and plain for the page."""

  def __init__(
    self,
    head: poses.Head,
    out: pathlib.Path,
    wanted: wanted_lib.Wanted,
    stages: stages_lib.Stages,
  ):
    self._head, self._draw, self._stages = head, wanted.draw, stages
    self._size = canvas.size((head.height, head.width))
    self._paths = wanted.drawn(head.name, out), wanted.plain(head.name, out)
    self._drawn: video.Writer | None = None
    self._plain: video.Writer | None = None
    self._stack = contextlib.ExitStack()

  def __enter__(self) -> "_Films":
    with contextlib.ExitStack() as stack:
      drawn, plain = self._paths
      if drawn is not None:
        size = annotated.size(self._size, self._draw)
        self._drawn = self._writer(stack, drawn, size)
      if plain is not None:
        self._plain = self._writer(stack, plain, self._size)
      self._stack = stack.pop_all()
    return self

  def _writer(
    self,
    stack: contextlib.ExitStack,
    path: pathlib.Path,
    size: tuple[int, int],
  ) -> video.Writer:
    writer = video.Writer(path, fps=self._head.fps, size=size)
    stack.callback(self._count, writer)
    return stack.enter_context(writer)

  def _count(self, writer: video.Writer) -> None:
    self._stages.add("encoding", writer.wall_seconds, writer.cpu_seconds)

  def write(self, frame: flow.Shown) -> None:
    """One more frame of each."""
    if self._drawn is not None:
      with self._stages("drawing"):
        picture = annotated.drawn(
          frame.picture,
          frame.people,
          frame=frame.size,
          skeleton=self._head.skeleton,
          options=self._draw,
          tail=self._head.tail,
          views=frame.seen,
        )
      self._drawn.write(picture, time=frame.time)
    if self._plain is not None:
      self._plain.write(frame.picture, time=frame.time)

  def __exit__(self, kind, value, traceback) -> None:
    self._stack.__exit__(kind, value, traceback)


def _record(shown: flow.Shown) -> annotations.Frame:
  names = shown.job.info.names
  return annotations.Frame(
    file_name=names[shown.index] if names else f"{shown.index:06d}.jpg",
    image_id=shown.index,
    labelled=True,
    people=tuple(shown.people),
    height=shown.size[0],
    width=shown.size[1],
    time=shown.time,
  )
