"""What became of each of many videos, as the files beside its outputs say."""

import collections
import csv
import dataclasses
import hashlib
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from diffpose_jax.data import sources, video_times, whole_file
from diffpose_jax.inference import fingerprint, outputs
from diffpose_jax.inference import journal as journal_lib

NAME = "summary.tsv"
STATES = ("done", "failed", "begun", "missing")
_TOLD = 20  # videos that are not done are told by name


@dataclasses.dataclass(frozen=True)
class Row:
  """What became of a video."""

  video: str
  state: str  # of `STATES`
  frames: int | None  # this and the next two of what is done
  people: int | None
  tracks: int | None
  settings: str  # the same for videos done in the same way: weights, options
  why: str  # it failed, or has to be done again
  path: str


def note_failure(name: str, out: pathlib.Path, why: str) -> None:
  """Writes down why a video cannot be done."""
  with whole_file.text(_failure(name, out)) as file:
    json.dump({"why": " ".join(why.split())}, file)


def forget_failure(name: str, out: pathlib.Path) -> None:
  """Before it is tried again."""
  _failure(name, out).unlink(missing_ok=True)


def _failure(name: str, out: pathlib.Path) -> pathlib.Path:
  return out / f".{name}.failed"


def output(source: sources.Source, out: pathlib.Path) -> outputs.Output | None:
  """What was written of a video; None where that is not done."""
  found = journal_lib.glance(journal_lib.path_of(source.name, out))
  if found is None or found.done is None:
    return None
  return outputs.recalled(found.done, out)


def row(source: sources.Source, out: pathlib.Path) -> Row:
  """What became of a video."""
  found = journal_lib.glance(journal_lib.path_of(source.name, out))
  state, why, counted = "missing", "", {}
  if found is not None:
    state = "begun"
    if found.done is not None:
      why = _changed(source, found.of, found.done, out)
      state, counted = ("missing", {}) if why else ("done", found.done)
  failure = _failure(source.name, out)
  if state != "done" and failure.is_file():
    state, why = "failed", _why(failure)
  return Row(
    video=source.name,
    state=state,
    **{k: counted.get(k) for k in ("frames", "people", "tracks")},
    settings="" if found is None else _settings(found),
    why=why,
    path=str(source.path),
  )


def _changed(
  source: sources.Source,
  of: dict[str, Any],
  done: dict[str, Any],
  out: pathlib.Path,
) -> str:
  """What is no longer as it was when a video was done; empty: nothing."""
  if outputs.recalled(done, out) is None:
    return "its outputs were changed or removed"
  files = fingerprint.files(source.pictures or (source.path,))
  if files != of["frames"]["sha256"]:
    return "the video is another one now"
  return ""


def _why(failure: pathlib.Path) -> str:
  try:
    return str(json.loads(failure.read_text(encoding="utf-8"))["why"])
  except (OSError, ValueError, KeyError):
    return f"{failure}: it cannot be read"


def _settings(found: journal_lib.Glance) -> str:
  """The same for videos that were done in the same way, on whatever devices."""
  program = {k: v for k, v in found.of["program"].items() if k != "devices"}
  wanted = (found.done or {}).get("wanted")
  said = [found.of["weights"], found.of["options"], program, wanted]
  text = json.dumps(said, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:8]


def write(path: pathlib.Path, rows: Sequence[Row]) -> None:
  """Writes a table, tabs between its columns; whole or not at all."""
  with whole_file.text(path) as file:
    table = csv.writer(file, delimiter="\t", lineterminator="\n")
    table.writerow([field.name for field in dataclasses.fields(Row)])
    table.writerows(dataclasses.astuple(one) for one in rows)


def told(rows: Sequence[Row]) -> str:
  """The counts of states, and each state that is not what it should be."""
  counts = collections.Counter(one.state for one in rows)
  lines = [
    f"{len(rows)} videos: "
    + ", ".join(f"{counts[state]} {state}" for state in STATES)
  ]
  ways = collections.Counter(r.settings for r in rows if r.state == "done")
  if len(ways) > 1:
    lines.append(
      "not all were done in the same way: "
      + ", ".join(f"{count} as {way}" for way, count in ways.most_common())
    )
  open_ones = [one for one in rows if one.state != "done"]
  for one in open_ones[:_TOLD]:
    lines.append(f"{one.state}: {one.video}" + (one.why and f": {one.why}"))
  if len(open_ones) > _TOLD:
    lines.append(f"... and {len(open_ones) - _TOLD} more")
  return "\n".join(lines)


def main(
  *,
  input: str,
  out: pathlib.Path,
  fps: float = video_times.DEFAULT_FPS,
) -> int:
  """Writes OUT/summary.tsv of the videos of an input; 0 where all are done.

  Args:
    input: as `predict` was given it.
    out: its folder of outputs.
    fps: of pictures, as it was given it.

  Raises:
    ValueError: there is no input, or no such folder.
  """
  if not out.is_dir():
    raise ValueError(f"{out}: no such folder; give the --out of predict")
  rows = [row(source, out) for source in sources.find(input, fps=fps)]
  write(out / NAME, rows)
  print(told(rows))
  print(f"table: {out / NAME}")
  sys.stdout.flush()
  return 0 if all(one.state == "done" for one in rows) else 1
