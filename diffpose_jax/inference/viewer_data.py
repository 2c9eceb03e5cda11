"""The numbers of a viewer page: rounded, compressed, and bounded in size.

Positions and radii are rounded to 0.01 pixels, probabilities to 0.001. What is
more than a page can hold is thinned out evenly, and how is said: first the
samples of frames, then frames.
"""

import base64
import dataclasses
import itertools
import math
import zlib
from collections.abc import Iterable, Sequence

import numpy as np

from diffpose_jax.data import annotations, poses

MOST = 64_000_000  # bytes of numbers in a page, before they are compressed
_HUNDREDTHS, _THOUSANDTHS = 100, 1000
_UNKNOWN = {"i4": -(2**31), "i2": -(2**15), "u2": 2**16 - 1}  # as NaN
_TICKS = 10_000  # a second, of times

# What there is of each frame; of each person, of each joint; of each sample.
_OF_FRAME = {"time": "i4", "count": "u2"}
_OF_PERSON = {"track": "i4", "box": "i4", "box_score": "u2"}
_OF_JOINT = {"joint": "i4", "score": "u2", "scale": "i4", "within": "u2"}
_OF_SAMPLES = {"sample": "i2", "modes": "u1"}
_OF_MODE = {"mode": "i2", "mode_share": "u2", "mode_spread": "i2"}
KINDS = (
  _OF_FRAME | _OF_PERSON | _OF_JOINT | _OF_SAMPLES | _OF_MODE | {"shown": "i4"}
)
_FRAME_BYTES, _PERSON_BYTES, _JOINT_BYTES, _SAMPLE_BYTES = 6, 22, 24, 4
_TOGETHER = 1 << 14  # numbers that are compressed at once
_SAMPLES_EVERY = (1, 2, 3, 5, 10)  # frame, the last before frames are left out


@dataclasses.dataclass(frozen=True)
class Survey:
  """What poses hold, as far as it must be known before they are packed."""

  frames: int
  people: int  # over all frames
  joints: tuple[int, ...]  # channels that are known of anybody
  members: int  # of the ensemble, 0 where there are no samples
  reach: float  # pixels from a joint to the farthest of its samples
  calibrated: bool  # whether P(within) is known of anybody
  tracks: int  # different identities


@dataclasses.dataclass(frozen=True)
class Kept:
  """Which frames a page holds, and of which of these the samples."""

  every: int  # frame
  samples_every: int  # of the frames that are held


def survey(head: poses.Head, frames: Iterable[annotations.Frame]) -> Survey:
  """What the poses hold.

  Raises ValueError where there are no frames, where people have not the
  skeleton's joints, or times that go back.
  """
  count, people, members, reach = 0, 0, 0, 0.0
  known = np.zeros(len(head.skeleton.joints), bool)
  calibrated, tracks, before = False, set(), -math.inf
  for count, frame in enumerate(frames, 1):
    place = f"{head.source}: frame {count - 1}"
    time = _time(head, frame, count - 1)
    if time < before:
      raise ValueError(
        f"{place} is at {time:g} s, the one before it at {before:g} s; give "
        "frames in their order"
      )
    before = time
    for person in frame.people:
      if person.joints.shape != (len(known), 2):
        raise ValueError(
          f"{place}: a person has joints of shape {person.joints.shape}, "
          f"{head.skeleton.name} has {len(known)} joints"
        )
      people += 1
      tracks.add(person.track_id)
      known |= person.labelled
      calibrated |= person.within is not None
      if person.samples is not None:
        members = max(members, len(person.samples))
        away = np.abs(person.samples - person.joints)[:, person.labelled]
        reach = max(reach, float(away[np.isfinite(away)].max(initial=0)))
  if not count:
    raise ValueError(f"{head.source}: no frames, so no page to view them")
  if not known.any():
    known[:] = True
  channels = tuple(np.flatnonzero(known).tolist())
  tracks = len({track for track in tracks if track >= 0})
  return Survey(count, people, channels, members, reach, calibrated, tracks)


def thin(found: Survey, most: int) -> Kept:
  """What of so many poses a page of about `most` bytes can hold."""
  joints = len(found.joints)
  plain = found.frames * _FRAME_BYTES
  plain += found.people * (_PERSON_BYTES + joints * _JOINT_BYTES)
  samples = found.people * joints * found.members * _SAMPLE_BYTES
  for every in _SAMPLES_EVERY:
    if plain + samples / every <= most:
      return Kept(1, every)
  least = plain + samples / _SAMPLES_EVERY[-1]
  return Kept(math.ceil(least / most), _SAMPLES_EVERY[-1])


def pack(
  head: poses.Head,
  frames: Iterable[annotations.Frame],
  found: Survey,
  kept: Kept,
) -> tuple[dict[str, list[str]], float]:
  """The numbers of a page, and the step of samples in pixels.

  For each kind of number there are the bytes of all, lowest bytes first:
  compressed, as base64. Samples are steps away from their joint.
  """
  columns = {
    name: _Column(kind) for name, kind in KINDS.items() if name != "shown"
  }
  step = max(1 / _HUNDREDTHS, found.reach / (2**15 - 2))
  chosen = itertools.islice(enumerate(frames), 0, None, kept.every)
  for number, (index, frame) in enumerate(chosen):
    columns["time"].add(_time(head, frame, index) * _TICKS)
    columns["count"].add(len(frame.people))
    for person in frame.people:
      _add_person(columns, person, found.joints)
      if found.members and number % kept.samples_every == 0:
        _add_samples(columns, person, found, step)
  return {name: column.texts() for name, column in columns.items()}, step


def times(seconds: Sequence[float]) -> list[str]:
  """Times as `pack` gives those of the frames."""
  column = _Column(KINDS["shown"])
  column.add(np.array(seconds) * _TICKS)
  return column.texts()


def _time(head: poses.Head, frame: annotations.Frame, index: int) -> float:
  """Seconds since the first frame; by the rate where it is not said."""
  return index / head.fps if math.isnan(frame.time) else frame.time


class _Column:
  """Numbers of one kind, compressed as they come.

  The lowest bytes of all stand together, then the next ones: so they compress
  to about two thirds of what they do as they are.
  """

  def __init__(self, kind: str):
    self._kind = kind
    bounds = np.iinfo(kind)
    self._unknown = _UNKNOWN.get(kind)
    self._low = bounds.min + (self._unknown == bounds.min)
    self._high = bounds.max - (self._unknown == bounds.max)
    self._streams = [zlib.compressobj(6) for _ in range(bounds.bits // 8)]
    self._parts: list[list[bytes]] = [[] for _ in self._streams]
    self._waiting: list[np.ndarray] = []
    self._many = 0

  def add(self, values: np.ndarray | float | int) -> None:
    """Appends numbers, rounded; those not finite become the unknown one."""
    values = np.asarray(values, np.float64).reshape(-1)
    self._waiting.append(values)
    self._many += len(values)
    if self._many >= _TOGETHER:
      self._compress()

  def _compress(self) -> None:
    values = np.concatenate([np.zeros(0), *self._waiting])
    self._waiting, self._many = [], 0
    whole = np.rint(np.clip(values, self._low, self._high))
    if self._unknown is not None:
      whole[~np.isfinite(values)] = self._unknown
    data = whole.astype(f"<{self._kind}").view(np.uint8)
    planes = data.reshape(-1, len(self._streams)).T
    for stream, parts, plane in zip(
      self._streams, self._parts, planes, strict=True
    ):
      parts.append(stream.compress(plane.tobytes()))

  def texts(self) -> list[str]:
    """The bytes of each place, as base64; ends the column."""
    self._compress()
    return [
      base64.b64encode(b"".join([*parts, stream.flush()])).decode()
      for stream, parts in zip(self._streams, self._parts, strict=True)
    ]


def _add_person(
  columns: dict[str, _Column],
  person: annotations.Person,
  joints: Sequence[int],
) -> None:
  rows = list(joints)
  box = np.full(4, np.nan) if person.box is None else person.box
  columns["track"].add(max(person.track_id, -1))
  columns["box"].add(box * _HUNDREDTHS)
  columns["box_score"].add(person.box_score * _THOUSANDTHS)
  scale = person.scale
  if scale is not None:
    scale = scale[:, (0, 0, 1), (0, 1, 1)]
  # Of a joint that is not predicted nothing is known.
  known = person.labelled[rows]
  for name, values, shape, digits in (
    ("joint", person.joints, (2,), _HUNDREDTHS),
    ("score", person.scores, (), _THOUSANDTHS),
    ("scale", scale, (3,), _HUNDREDTHS),
    ("within", person.within, (), _THOUSANDTHS),
  ):
    found = np.full((len(rows), *shape), np.nan)
    if values is not None:
      found[known] = values[rows][known]
    columns[name].add(found * digits)


def _add_samples(
  columns: dict[str, _Column],
  person: annotations.Person,
  found: Survey,
  step: float,
) -> None:
  """Samples, and the modes of joints that have several."""
  rows = list(found.joints)
  samples = np.full((found.members, len(rows), 2), np.nan)
  if person.samples is None:
    columns["sample"].add(samples)
    columns["modes"].add(np.zeros(len(rows)))
    return
  samples[: len(person.samples)] = person.samples[:, rows]
  samples[:, ~person.labelled[rows]] = np.nan
  columns["sample"].add((samples - person.joints[rows]) / step)
  places = poses.found_modes(person) or [[]] * len(person.joints)
  for k in rows:
    several = places[k] if len(places[k]) > 1 else []
    columns["modes"].add(len(several))
    for mode in several:
      columns["mode"].add((mode.point - person.joints[k]) / step)
      columns["mode_share"].add(mode.share * _THOUSANDTHS)
      columns["mode_spread"].add(mode.spread / step)
