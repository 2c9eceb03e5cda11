"""What is written of a video: its poses, and a video with them drawn in."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import tqdm

from diffpose_jax.data import annotations, results, sources, video
from diffpose_jax.inference import annotated, canvas, flow, trembling
from diffpose_jax.inference import spool as spool_lib
from diffpose_jax.inference import stages as stages_lib
from diffpose_jax.pose import skeleton as skeletons


@dataclasses.dataclass(frozen=True)
class Output:
  """What was written of a video."""

  poses: pathlib.Path  # PoseTrack18 JSON
  video: pathlib.Path  # annotated WebM
  frames: int
  people: int
  tracks: int  # different identities
  # Mean acceleration of joints, in sizes of the person per frame²; None:
  # nobody is in three frames in a row.
  jitter: float | None

  def record(self) -> dict[str, Any]:
    """All of it in JSON types, and which files these are."""
    return {
      **dataclasses.asdict(self),
      **{name: getattr(self, name).name for name in _FILES},
      "files": {name: _identity(getattr(self, name)) for name in _FILES},
    }

  def __str__(self) -> str:
    jitter = ""
    if self.jitter is not None:
      jitter = f", jitter {1e3 * self.jitter:.1f} ‰ of their size a frame²"
    return (
      f"{self.people} people in {self.frames} frames, {self.tracks} "
      f"identities{jitter}\nposes: {self.poses}\nvideo: {self.video}"
    )


_FILES = ("poses", "video")  # fields of `Output`


def recalled(record: Mapping[str, Any], out: pathlib.Path) -> Output | None:
  """What was written to `out` before, see `Output.record`; None: no longer."""
  files = {name: out / record[name] for name in _FILES}
  same = all(
    path.is_file() and _identity(path) == record["files"][name]
    for name, path in files.items()
  )
  others = ("frames", "people", "tracks", "jitter")
  return Output(**files, **{k: record[k] for k in others}) if same else None


def _identity(path: pathlib.Path) -> list[int]:
  """Of a file, in which it differs from one that is written later."""
  found = path.stat()
  return [found.st_size, found.st_mtime_ns]


def write(
  job: flow.Job,
  frames: Iterable[flow.Shown],
  out: pathlib.Path,
  *,
  skeleton: skeletons.Skeleton,
  protocol: dict[str, Any],
  stages: stages_lib.Stages,
) -> Output:
  """Writes what there is of a video; each file whole or not at all.

  Args:
    job: the video.
    frames: of it, finished.
    out: folder, made where it is missing.
    skeleton: of the people.
    protocol: how the poses came about.
    stages: to which the time of drawing, encoding and writing is added.

  Raises:
    ValueError: something cannot be written, or what `frames` raise.
  """
  name, info = job.source.name, job.info
  out.mkdir(parents=True, exist_ok=True)
  target = out / f"{name}.webm"
  size = canvas.size((info.height, info.width))
  progress = tqdm.tqdm(
    desc=name,
    total=info.count_hint or None,
    unit="frame",
    dynamic_ncols=True,
  )
  people, tracks, tremble = 0, set(), trembling.Trembling()
  writer = video.Writer(target, fps=info.fps, size=size)
  try:
    with progress, spool_lib.Spool(out) as spool, writer:
      for frame in frames:
        with stages("drawing"):
          picture = annotated.drawn(
            frame.picture,
            frame.people,
            frame=frame.size,
            skeleton=skeleton,
            options=annotated.Options(),
          )
        writer.write(picture, time=frame.time)
        with stages("writing"):
          spool.append(_record(frame))
        people += len(frame.people)
        tremble.add(frame.people)
        tracks |= {person.track_id for person in frame.people}
        progress.update()
      with stages("writing"):
        [poses] = results.write_posetrack(
          out,
          [annotations.Video(name, tuple(spool))],
          skeleton=skeleton,
          protocol=protocol,
        )
      count = len(spool)
  finally:
    stages.add("encoding", writer.wall_seconds, writer.cpu_seconds)
  identities = len(tracks - {-1})
  return Output(poses, target, count, people, identities, tremble.mean)


def check_not_overwritten(
  given: pathlib.Path, found: Iterable[sources.Source], out: pathlib.Path
) -> None:
  """Raises ValueError where what is given would be overwritten."""
  for source in found:
    for suffix in (".webm", ".json"):
      if given.resolve() == (out / f"{source.name}{suffix}").resolve():
        raise ValueError(
          f"{given}: would be overwritten by the prediction; give another --out"
        )


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
