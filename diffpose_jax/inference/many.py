"""Videos among many, of which other processes do the others at the same time.

They share a folder of outputs, and each video is done once: whoever is at work
on it has it to itself (`claims`), what is whole stays known by its journal, and
what cannot be done by a note of why (`summary`). So any process may end at any
moment, be started twice or again: the next one does what is left.
"""

import contextlib
import itertools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import logging

from diffpose_jax.data import shards, sources, video
from diffpose_jax.inference import claims, outputs, run, summary
from diffpose_jax.inference import request as request_lib

# Videos that flow through the network together, so that the end of one shares
# a batch with the beginning of the next; each needs an open file.
_TOGETHER = 16

# Videos with their boxes, or what is wrong with them, by name.
Ready = Mapping[str, run.Video | ValueError | OSError]


def shard(
  request: request_lib.Request,
  found: Sequence[sources.Source],
  part: shards.Shard,
) -> list[outputs.Output]:
  """Does the videos of a shard, and writes a table of what became of them.

  Raises ValueError where some cannot be done; the others are done first.
  """
  mine = shards.of(found, part)
  if not mine:
    print(f"shard {part}: none of the {len(found)} videos is in it", flush=True)
  else:
    ready = None
    loaded = request_lib.Loaded(request)
    if request.boxes_file is not None:
      ready = ready_of(request, found, loaded.estimator.config)
    do(mine, loaded, ready)
  name = f"summary-{part.index}-of-{part.count}.tsv"
  return finished(mine, request.out, request.out / name)


def ready_of(
  request: request_lib.Request, found: Sequence[sources.Source], config: Any
) -> Ready:
  """The videos of a call whose boxes are in a file, by the weights' config."""
  opened, broken = request_lib.opened(found)
  videos = []
  if opened:
    videos = request_lib.with_boxes(request, opened, config)
  return {**{one.source.name: one for one in videos}, **broken}


def finished(
  found: Sequence[sources.Source],
  out: pathlib.Path,
  table: pathlib.Path,
  known: Mapping[str, summary.Row] | None = None,
) -> list[outputs.Output]:
  """Writes a table of what became of videos, and gives what was written.

  It is `known` where other machines did it, whose files this one may see late.

  Raises ValueError where some are not done.
  """
  known = known or {}
  rows = [known.get(one.name) or summary.row(one, out) for one in found]
  summary.write(table, rows)
  print(summary.told(rows), flush=True)
  left = [one.video for one in rows if one.state != "done"]
  if left:
    raise ValueError(
      f"{len(left)} of {len(found)} videos were not done ({_few(left)}); {table} "
      "says why, and the same command does not do the others again"
    )
  written = [summary.output(source, out) for source in found]
  return [one for one in written if one is not None]


def _few(names: Sequence[str]) -> str:
  more = [f"and {len(names) - 10} more"] if len(names) > 10 else []
  return ", ".join([*names[:10], *more])


def do(
  found: Sequence[sources.Source],
  loaded: request_lib.Loaded,
  ready: Ready | None = None,
) -> None:
  """Does videos, each unless it is done; notes why those fail that do.

  `ready` has those whose boxes are in a file. Those that another process is at
  work on come last, and are waited for.
  """
  busy: list[sources.Source] = []
  for chunk in _chunks(found):
    busy += _do(chunk, loaded, ready, wait=False)
  for source in busy:
    _do([source], loaded, ready, wait=True)


def _chunks(
  found: Sequence[sources.Source],
) -> Iterator[tuple[sources.Source, ...]]:
  rest = iter(found)
  while chunk := tuple(itertools.islice(rest, _TOGETHER)):
    yield chunk


def _do(
  found: Sequence[sources.Source],
  loaded: request_lib.Loaded,
  ready: Ready | None,
  *,
  wait: bool,
) -> list[sources.Source]:
  """Does some videos together; gives those that others are at work on."""
  out = loaded.request.out
  out.mkdir(parents=True, exist_ok=True)
  busy = []
  with contextlib.ExitStack() as stack:
    videos, failed = [], {}
    for source in found:
      claim = claims.claimed(out / f".{source.name}.claim", wait=wait)
      if not stack.enter_context(claim):
        busy.append(source)
        continue
      summary.forget_failure(source.name, out)
      try:
        videos.append(_opened(source, loaded, ready))
      except (ValueError, OSError) as error:
        logging.error("%s", error)
        failed[source.name] = error
    if videos:
      failed |= run.attempt(
        videos,
        loaded.estimator,
        out,
        way=loaded.request.way,
        wanted=loaded.request.wanted,
        calibrated=loaded.calibrated,
      ).failed
    for name, error in failed.items():
      summary.note_failure(name, out, str(error))
  return busy


def _opened(
  source: sources.Source, loaded: request_lib.Loaded, ready: Ready | None
) -> run.Video:
  if ready is None:
    return loaded.video(source, video.open_video(source))
  found = ready[source.name]
  if isinstance(found, run.Video):
    return found
  raise found
