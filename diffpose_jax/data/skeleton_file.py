"""Skeleton files: joints, left-right pairs and limbs as JSON, by name."""

import difflib
import os
from collections.abc import Sequence
from typing import Any

from diffpose_jax.data import strict_json
from diffpose_jax.pose import skeleton as skeleton_lib

# Of a joint without a sigma of its own.
MEAN_SIGMA = sum(skeleton_lib.COCO.sigmas) / len(skeleton_lib.COCO.sigmas)

REQUIRED = ("name", "joints", "pairs", "limbs")
_OPTIONAL = ("sigmas", "upper", "lower", "groups", "evaluated")
_TOTAL = "total"  # what result tables call the mean over all joints


def read(path: str | os.PathLike) -> skeleton_lib.Skeleton:
  """The skeleton that a JSON file describes, joints by name throughout.

  Its keys, of which the first four are required:
    name: what to call it.
    joints: names, in the order of heatmaps; annotation files may have another.
    pairs: [left, right] names that a mirrored picture exchanges; [] for none.
      Where joints are called left_x and right_x, they must be a pair.
    limbs: [name, name] of bones to draw; [] for none.
    sigmas: OKS falloff of each joint in COCO's convention, or one number for
      all. Default: the mean of COCO's own.
    upper, lower: names, for half-body augmentation. Default of `upper`: none,
      so that there is no such augmentation; of `lower`: all joints that are
      not in `upper`, if that has any.
    groups: {row of result tables: names}, each evaluated joint once. Default:
      a row for each pair and for each joint that is in none.
    evaluated: names that are scored, in that order. Default: all.

  Raises:
    ValueError: anything else than the above; names the file and the entry.
  """
  return of_record(strict_json.load(path), str(path))


def write(path: str | os.PathLike, skeleton: skeleton_lib.Skeleton) -> None:
  """Writes a skeleton as JSON that `read` reads back alike.

  Raises ValueError where that could not be.
  """
  strict_json.dump(path, record_of(skeleton, str(path)))


def record_of(skeleton: skeleton_lib.Skeleton, place: str) -> dict[str, Any]:
  """What `write` writes; `place` names in errors where it would be written."""

  def names(indices: Sequence[int]) -> list[str]:
    return [skeleton.joints[index] for index in indices]

  record = {
    "name": skeleton.name,
    "joints": list(skeleton.joints),
    "pairs": [names(pair) for pair in skeleton.pairs],
    "limbs": [names(limb) for limb in skeleton.limbs],
    "sigmas": list(skeleton.sigmas),
    "upper": names(skeleton.upper),
    "lower": names(skeleton.lower),
    "groups": {name: names(joints) for name, joints in skeleton.groups},
    "evaluated": names(skeleton.evaluated),
  }
  if of_record(record, f"{place}: not written") != skeleton:
    raise ValueError(
      f"{place}: not written: skeleton {skeleton.name} would not be read back "
      "alike; give every group a name of its own"
    )
  return record


def of_record(record: Any, place: str) -> skeleton_lib.Skeleton:
  """The skeleton of a value as JSON gives it; see `read`."""
  if isinstance(record, dict):
    _check_keys(record, place)
  strict_json.require(record, REQUIRED, place)
  joints = _joints(record["joints"], f"{place}: joints")
  pairs = _couples(record["pairs"], joints, f"{place}: pairs")
  _check_pairs(pairs, joints, f"{place}: pairs")
  limbs = _couples(record["limbs"], joints, f"{place}: limbs")
  _check_limbs(limbs, joints, f"{place}: limbs")

  def given(key: str, default: Sequence[int]) -> tuple[int, ...]:
    if record.get(key) is None:
      return tuple(default)
    return _indices(record[key], joints, f"{place}: {key}")

  everything = range(len(joints))
  upper = given("upper", ())
  rest = [joint for joint in everything if joint not in upper]
  evaluated = given("evaluated", everything)
  if not evaluated:
    raise ValueError(f"{place}: evaluated is empty; name at least one joint")
  return skeleton_lib.Skeleton(
    name=_name(record["name"], f"{place}: name"),
    joints=joints,
    pairs=pairs,
    limbs=limbs,
    upper=upper,
    lower=given("lower", rest if upper else ()),
    evaluated=evaluated,
    groups=_groups(record.get("groups"), joints, pairs, evaluated, place),
    sigmas=_sigmas(record.get("sigmas"), len(joints), f"{place}: sigmas"),
  )


def _check_keys(record: dict[str, Any], place: str) -> None:
  known = (*REQUIRED, *_OPTIONAL)
  for key in record:
    if key not in known:
      raise ValueError(
        f"{place}: key {strict_json.describe(key)} is not known; "
        f"{_hint(key, known)}"
      )


def _hint(name: str, known: Sequence[str]) -> str:
  close = difflib.get_close_matches(name, known, n=1)
  return f"did you mean {close[0]!r}?" if close else f"take {', '.join(known)}"


def _name(value: Any, place: str) -> str:
  """A name that can stand in a line of a table or of an error."""
  good = isinstance(value, str) and value.isprintable()
  if not good or not value or value != value.strip():
    raise ValueError(
      f"{place}: {strict_json.describe(value)} is no name; take text without "
      "line breaks, and without spaces around it"
    )
  return value


def _joints(value: Any, place: str) -> tuple[str, ...]:
  names = [
    _name(item, f"{place}[{i}]")
    for i, item in enumerate(strict_json.listing(value, place))
  ]
  if not names:
    raise ValueError(f"{place} is empty; name at least one joint")
  for name in names:
    if names.count(name) > 1:
      raise ValueError(f"{place}: {name!r} is there twice; remove one")
  if _TOTAL in names:
    raise ValueError(f"{place}: {_TOTAL!r} is the mean in tables; rename it")
  return tuple(names)


def _indices(
  value: Any, joints: tuple[str, ...], place: str
) -> tuple[int, ...]:
  """Positions of the named joints, each of which is there once."""
  indices = []
  for name in strict_json.listing(value, place):
    if name not in joints:
      raise ValueError(
        f"{place}: {strict_json.describe(name)} is no joint; "
        f"{_hint(str(name), joints)}"
      )
    if joints.index(name) in indices:
      raise ValueError(f"{place}: {name!r} is there twice; remove one")
    indices.append(joints.index(name))
  return tuple(indices)


def _couples(
  value: Any, joints: tuple[str, ...], place: str
) -> tuple[tuple[int, int], ...]:
  couples = []
  for i, item in enumerate(strict_json.listing(value, place)):
    indices = _indices(item, joints, f"{place}[{i}]")
    if len(indices) != 2:
      raise ValueError(
        f"{place}[{i}]: {len(indices)} joints; give the names of two"
      )
    couples.append((indices[0], indices[1]))
  return tuple(couples)


def _check_pairs(
  pairs: Sequence[tuple[int, int]], joints: tuple[str, ...], place: str
) -> None:
  """Raises ValueError where mirroring would exchange wrong joints."""
  used = [joint for pair in pairs for joint in pair]
  for joint in used:
    if used.count(joint) > 1:
      raise ValueError(f"{place}: {joints[joint]!r} is in two pairs; keep one")
  for left, name in enumerate(joints):
    other = name.replace("left_", "right_", 1)
    if not name.startswith("left_") or other not in joints:
      continue
    if (left, joints.index(other)) not in pairs:
      raise ValueError(
        f"{place}: [{name!r}, {other!r}] is not there; a mirrored picture "
        "exchanges these joints, so make them a pair"
      )


def _check_limbs(
  limbs: Sequence[tuple[int, int]], joints: tuple[str, ...], place: str
) -> None:
  for i, (a, b) in enumerate(limbs):
    if (a, b) in limbs[:i] or (b, a) in limbs[:i]:
      raise ValueError(
        f"{place}[{i}]: the limb from {joints[a]!r} to {joints[b]!r} is there "
        "twice; remove one"
      )


def _sigmas(value: Any, count: int, place: str) -> tuple[float, ...]:
  if value is None:
    return (MEAN_SIGMA,) * count
  if isinstance(value, list):
    sigmas = strict_json.numbers(value, place, count).tolist()
  else:
    sigmas = strict_json.numbers([value], place).tolist() * count
  for i, sigma in enumerate(sigmas):
    if sigma <= 0:
      raise ValueError(f"{place}[{i}] is {sigma:g}; it must be above 0")
  return tuple(sigmas)


def _groups(
  value: Any,
  joints: tuple[str, ...],
  pairs: Sequence[tuple[int, int]],
  evaluated: tuple[int, ...],
  place: str,
) -> tuple[tuple[str, tuple[int, ...]], ...]:
  if value is None:
    return _default_groups(joints, pairs, evaluated)
  place = f"{place}: groups"
  strict_json.require(value, (), place)
  groups = []
  grouped: list[int] = []
  for name, members in value.items():
    _name(name, place)
    indices = _indices(members, joints, f"{place}: {name}")
    if name == _TOTAL or not indices:
      raise ValueError(
        f"{place}: {name!r}: give it joints, and another name than {_TOTAL!r}"
      )
    groups.append((name, indices))
    grouped += indices
  for joint, name in enumerate(joints):
    times = grouped.count(joint)
    if times != (joint in evaluated):
      wanted = (
        "once, as it is" if joint in evaluated else "in none, as it is not"
      )
      raise ValueError(
        f"{place}: {name!r} is there {times} times; it must be {wanted} evaluated"
      )
  return tuple(groups)


def _default_groups(
  joints: tuple[str, ...],
  pairs: Sequence[tuple[int, int]],
  evaluated: tuple[int, ...],
) -> tuple[tuple[str, tuple[int, ...]], ...]:
  """A group for each pair and for each other joint, in the joints' order."""
  partner = {joint: pair for pair in pairs for joint in pair}
  groups: dict[tuple[int, ...], str] = {}
  for joint, name in enumerate(joints):
    if joint not in evaluated:
      continue
    pair = partner.get(joint, (joint,))
    if not set(pair) <= set(evaluated):
      pair = (joint,)
    if len(pair) == 2:
      name = _pair_name(joints[pair[0]], joints[pair[1]], joints)
    groups[pair] = name
  return tuple((name, pair) for pair, name in groups.items())


def _pair_name(left: str, right: str, joints: tuple[str, ...]) -> str:
  """`wrist` for left_wrist and right_wrist, if that is not a joint itself."""
  common = left.removeprefix("left_")
  if f"right_{common}" == right and common not in (*joints, _TOTAL):
    return common
  return f"{left}/{right}"
