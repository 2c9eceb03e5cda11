"""What a run refuses before it starts: another's folder, data or devices."""

import hashlib
import json
import pathlib
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
import ml_collections

from diffpose_jax import config as config_lib
from diffpose_jax.data import prepared, strict_json
from diffpose_jax.inference import network, shipped
from diffpose_jax.inference import workdir as run_folder
from diffpose_jax.model import sharding
from diffpose_jax.weights import restore

_DATA = "data.json"  # what the run was trained on
_MARGIN = 64 << 20  # bytes for metrics, the report and the like

# What may change between the runs of one workdir: how much, how often, how
# fast; not what is learned.
_FREE = (
  "evaluate.",
  "train.steps",
  "train.epochs",
  "train.log_every",
  "train.evaluate_every",
  "train.checkpoint_every",
  "train.validation_instances",
  "train.max_skipped",
  "train.spike",
  "train.patience",
  "train.min_gain",
  "train.pictures",
  "train.resume",
  "train.init_from",
  "model.init_from",
  "train.start_over",
  "train.grace",
  "train.mesh.",
  "train.cpu_devices",
  "train.accept_new_data",
  "data.root",
  "data.prepared",
  "data.mixture",
  "data.threads",
  "data.cache_bytes",
  "data.synthetic.workers",
)


def check_folder(folder: pathlib.Path) -> None:
  """Raises ValueError where a run could not write to its workdir."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
      file.write(b"\0")
      file.flush()
  except OSError as error:
    raise ValueError(
      f"{folder}: no folder that can be written to ({error.strerror}); choose "
      "another --workdir, or correct its rights"
    ) from error


def check_space(folder: pathlib.Path, state: Any) -> None:
  """Raises ValueError where the disk has no room for checkpoints of `state`.

  Kept are the newest and the best, and one is being written; where some are
  there already, two more will do.
  """
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
  need = 2 * size + _MARGIN
  free = shutil.disk_usage(folder).free
  if free < need:
    raise ValueError(
      f"{folder}: {free / 1e9:.2f} GB are free, checkpoints of {size / 1e9:.2f} "
      f"GB each need {need / 1e9:.2f} GB; make room or choose another --workdir"
    )


def fingerprints(
  config: ml_collections.ConfigDict, splits: Sequence[prepared.Split]
) -> dict[str, Any]:
  """What a checkpoint says of its run: digest of config, names of data."""
  fixed = {k: v for k, v in _flat(config).items() if not k.startswith(_FREE)}
  text = json.dumps(fixed, sort_keys=True, default=repr)
  digest = hashlib.sha256(text.encode()).hexdigest()
  return {"config": digest, **_identities(splits)}


def check_workdir(
  config: ml_collections.ConfigDict, folder: pathlib.Path
) -> None:
  """Raises ValueError if the workdir belongs to a run of another config.

  The message names the keys that differ and may not.
  """
  path = folder / run_folder.CONFIG
  if not path.exists():
    return
  old, new = (_flat(c) for c in (config_lib.load(path), config))
  differing = [
    f"{key} was {old.get(key)!r}, now {new.get(key)!r}"
    for key in sorted(old.keys() | new.keys())
    if old.get(key) != new.get(key) and not key.startswith(_FREE)
  ]
  if differing:
    raise ValueError(
      f"{folder} belongs to another config ({'; '.join(differing)}); "
      "use a new --workdir or the same config"
    )


def check_start(
  config: ml_collections.ConfigDict, folder: pathlib.Path
) -> None:
  """Raises ValueError for a network that cannot be or begin, before any work.

  A run that has begun needs no weights to begin from.
  """
  network.backbone(config)
  if (folder / run_folder.CONFIG).exists():
    return
  for key, also in (("model", "public weights of a ViT, "), ("train", "")):
    source = config[key].init_from
    known = pathlib.Path(source).exists() or source in shipped.names()
    if source and not known:
      raise ValueError(
        f"{key}.init_from {source}: no such file or folder; give {also}a run's "
        f"workdir, packed weights, or shipped ones: {', '.join(shipped.names())}"
      )


def check_source(
  config: ml_collections.ConfigDict,
  folder: pathlib.Path,
  splits: Sequence[prepared.Split],
  start: int,
) -> None:
  """Raises ValueError where a run would go on with other data or joints.

  Or, with `train.resume`, with another config than the run it goes on from.
  Arguments as of `check_data`.
  """
  if start or not config.train.resume:
    check_data(config, folder, splits, start)
    return
  other, step = restore.located(pathlib.Path(config.train.resume))
  run_folder.load(other)  # which says where it is no run's
  check_workdir(config, other)
  check_data(config, other, splits, step or 1)


def check_data(
  config: ml_collections.ConfigDict,
  folder: pathlib.Path,
  splits: Sequence[prepared.Split],
  start: int,
) -> None:
  """Raises ValueError where a run would go on with other data or joints.

  Args:
    config: of the run.
    folder: its workdir.
    splits: what it is to be trained on, all with the same joints.
    start: the step of its checkpoint, 0 for a new run.
  """
  if not start:
    return
  split = splits[0]
  learned = run_folder.load_skeleton(folder)
  if learned.joints != split.skeleton.joints:
    raise ValueError(
      f"{folder}: has learned the joints {', '.join(learned.joints)}, but the "
      f"data have {', '.join(split.skeleton.joints)}; use a new --workdir"
    )
  path = folder / _DATA
  known = strict_json.load(path) if path.is_file() else None
  now = _identities(splits)
  if known == now:
    return
  if config.train.accept_new_data:
    print(f"{folder}: goes on at step {start} with other data than before")
    return
  before = known.get("data", []) if isinstance(known, dict) else []
  changed = [
    f"{split.folder} {split.name}"
    for split, identity in zip(splits, now["data"], strict=True)
    if identity not in before
  ]
  raise ValueError(
    f"{folder}: the data of {' and '.join(changed) or 'fewer folders'} are not "
    f"those that it was trained on until step {start}; give those, use a new "
    "--workdir, or go on with these by --config.train.accept_new_data=true"
  )


def write_data(folder: pathlib.Path, splits: Sequence[prepared.Split]) -> None:
  """Writes down what the run is trained on from now on."""
  folder.mkdir(parents=True, exist_ok=True)
  strict_json.dump(folder / _DATA, _identities(splits))


def _identities(splits: Sequence[prepared.Split]) -> dict[str, list[str]]:
  return {"data": [prepared.identity(split) for split in splits]}


def check_batches(
  config: ml_collections.ConfigDict, mesh: jax.sharding.Mesh
) -> None:
  """Raises ValueError naming the batch that the devices cannot share."""
  parts = config.train.accumulate
  for key, clips in (
    (f"train.batch in {parts} train.accumulate", config.train.batch // parts),
    ("evaluate.batch", config.evaluate.batch),
  ):
    try:
      sharding.check_batch(clips, mesh)
    except ValueError as error:
      raise ValueError(f"{key}: {error}") from error


def _flat(config: ml_collections.ConfigDict, prefix: str = "") -> dict:
  flat = {}
  for key, value in config.items():
    if isinstance(value, ml_collections.ConfigDict):
      flat |= _flat(value, f"{prefix}{key}.")
    else:
      flat[prefix + key] = value
  return flat
