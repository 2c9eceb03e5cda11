"""Videos divided among jobs that know nothing of each other."""

import dataclasses
import re
from collections.abc import Sequence

from diffpose_jax.data import sources


@dataclasses.dataclass(frozen=True)
class Shard:
  """One of several parts of the videos of an input."""

  index: int  # from 0 on
  count: int

  def __str__(self) -> str:
    return f"{self.index}/{self.count}"


def parse(text: str) -> Shard:
  """The shard that `I/N` says; ValueError where it says none."""
  found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
  if not found or int(found[1]) >= int(found[2]):
    raise ValueError(
      f"--shard={text}: give I/N, the number of the shard, from 0 on, and how "
      "many there are: 0/4, 1/4, 2/4 and 3/4 are all of four"
    )
  return Shard(int(found[1]), int(found[2]))


def of(found: Sequence[sources.Source], shard: Shard) -> list[sources.Source]:
  """The videos of a shard, in the order in which they were found.

  Each video is in one shard, whole. The largest goes to the shard that has
  fewest bytes so far, then the next largest: what comes out depends on names
  and sizes alone, and shards differ by at most the bytes of the largest video.

  Raises ValueError for a camera.
  """
  for source in found:
    if source.camera is not None:
      raise ValueError(
        f"{source.path}: a camera cannot be divided; leave out --shard"
      )
  sizes = {source.name: _size(source) for source in found}
  loads = [0] * shard.count
  mine = set()
  for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
    least = loads.index(min(loads))
    loads[least] += sizes[name]
    if least == shard.index:
      mine.add(name)
  return [source for source in found if source.name in mine]


def _size(source: sources.Source) -> int:
  """Bytes of its files, at least one."""
  files = source.pictures or (source.path,)
  return max(1, sum(file.stat().st_size for file in files))
