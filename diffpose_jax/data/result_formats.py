"""The formats that poses are written in, by name."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable

from diffpose_jax.data import (
  poses,
  result_coco,
  result_csv,
  result_hdf5,
  result_json,
  result_names,
  result_npz,
  result_posetrack,
)
from diffpose_jax.data.annotations import Frame


@dataclasses.dataclass(frozen=True)
class Format:
  """How poses are written, and as what."""

  suffixes: tuple[str, ...]  # of NAME; of several files, the main one first
  write: Callable[..., None]
  samples: bool = False  # whether it can hold them


FORMATS = {
  "posetrack": Format((result_names.POSETRACK,), result_posetrack.write),
  "json": Format((result_names.OWN,), result_json.write, True),
  "coco": Format((result_names.COCO,), result_coco.write),
  "csv": Format((".csv", result_csv.FRAMES), result_csv.write),
  "npz": Format((".npz",), result_npz.write, True),
  "hdf5": Format((".h5",), result_hdf5.write, True),
}


def chosen(text: str) -> tuple[str, ...]:
  """The formats that `--formats` names, separated by commas.

  Raises ValueError for one that there is not, or that lacks its package: before
  the poses, which take longer.
  """
  names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
  for name in names:
    if name not in FORMATS:
      raise ValueError(
        f"--formats={text}: no format {name!r}; there are {', '.join(FORMATS)}"
      )
  if "hdf5" in names:
    result_hdf5.package()
  return names


def paths(name: str, out: pathlib.Path, video: str) -> tuple[pathlib.Path, ...]:
  """The files of a format of a video; `write` takes the first of them."""
  return tuple(out / f"{video}{suffix}" for suffix in FORMATS[name].suffixes)


def write(
  name: str,
  path: pathlib.Path,
  head: poses.Head,
  frames: Iterable[Frame],
  *,
  samples: bool = False,
) -> None:
  """Writes the poses of a video in a format; whole, or not at all.

  Args:
    name: of `FORMATS`.
    path: the first of `paths`.
    head: of the video.
    frames: in order; some formats go through them several times, and none keeps
      them in memory.
    samples: whether the samples are written where the format can hold them.

  Raises:
    ValueError: a pose is not sound (see `poses.checked`), or the file cannot be
      written.
  """
  form = FORMATS[name]
  run = form.write
  if form.samples:
    run = functools.partial(run, samples=samples)
  try:
    run(path, head, frames)
  except OSError as error:
    raise ValueError(
      f"{path}: cannot be written ({error}); free some space, or give another "
      "folder"
    ) from error
