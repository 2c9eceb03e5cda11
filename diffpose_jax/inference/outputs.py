"""What is written of a video: its poses, and a video with them drawn in."""

import dataclasses
import pathlib
from collections.abc import Iterable
from typing import Any

import tqdm

from diffpose_jax.data import annotations, results, sources, video
from diffpose_jax.inference import annotated, canvas, flow
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

  def __str__(self) -> str:
    return (
      f"{self.people} people in {self.frames} frames, {self.tracks} "
      f"identities\nposes: {self.poses}\nvideo: {self.video}"
    )


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
  records, tracks = [], set()
  writer = video.Writer(target, fps=info.fps, size=size)
  try:
    with progress, writer:
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
        records.append(_record(frame))
        tracks |= {person.track_id for person in frame.people}
        progress.update()
      with stages("writing"):
        [poses] = results.write_posetrack(
          out,
          [annotations.Video(name, tuple(records))],
          skeleton=skeleton,
          protocol=protocol,
        )
  finally:
    stages.add("encoding", writer.wall_seconds, writer.cpu_seconds)
  people = sum(len(frame.people) for frame in records)
  return Output(poses, target, len(records), people, len(tracks - {-1}))


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
