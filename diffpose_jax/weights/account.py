"""What became of the keys of a file of weights."""

import collections
import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Account:
  """Where weights are from and what of the file was used."""

  format: str
  source: str  # the file's name
  sha256: str  # of the file
  size: str  # of diffpose.SIZES, or its width and depth
  used: int  # keys of the file
  unused: tuple[str, ...]  # keys of the file that have no use here
  resized: tuple[tuple[int, int], tuple[int, int]] | None  # grids: from, to
  notes: tuple[str, ...] = ()  # what the file does not say and was assumed

  @property
  def placed(self) -> str:
    """What became of the position embedding's grid."""
    if self.resized is None:
      return "as it was"
    (y, x), (new_y, new_x) = self.resized
    return f"resized from {y}x{x} to {new_y}x{new_x} patches"

  def table(self) -> str:
    """The account, a line a fact."""
    rows = [
      ("source", self.source),
      ("SHA-256", self.sha256),
      ("format", self.format),
      ("size", self.size),
      ("keys used", str(self.used)),
      ("keys unused", f"{len(self.unused)}{_listed(self.unused)}"),
      ("position embedding", self.placed),
    ]
    rows += [("note", note) for note in self.notes]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def _listed(names: tuple[str, ...]) -> str:
  """The names, those that differ in a number only as one."""
  groups = collections.Counter(re.sub(r"\d+", "*", name) for name in names)
  texts = [
    name if count == 1 else f"{name} ({count})"
    for name, count in groups.items()
  ]
  more = f" and {len(texts) - 12} more" if len(texts) > 12 else ""
  return f": {', '.join(texts[:12])}{more}" if texts else ""
