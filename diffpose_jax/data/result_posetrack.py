"""Poses as PoseTrack18 JSON, which evaluators and mmpose read."""

import pathlib
from collections.abc import Iterable

from diffpose_jax.data import annotations, poses


def write(
  path: pathlib.Path,
  head: poses.Head,
  frames: Iterable[annotations.Frame],
) -> None:
  """Writes the poses of a video; the file appears whole or not at all.

  One frame at a time is in memory. Raises ValueError for what `poses.checked`
  refuses.
  """
  annotations.write_frames(
    path,
    head.name,
    poses.checked(head, frames),
    skeleton=head.skeleton,
    protocol=head.protocol,
  )
