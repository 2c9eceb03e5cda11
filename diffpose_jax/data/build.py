"""Running a builder: beside the old data, and in its place only when whole."""

import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import os
import pathlib
import shutil
import types
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow_datasets as tfds

from diffpose_jax.data import (
  custom,
  layout,
  manifest,
  prepared,
  records,
  skeleton_file,
)

# Name of a data set: folder of its builder in datasets/, and its config.
DATASETS = {
  "posetrack17": ("posetrack", "2017"),
  "posetrack18": ("posetrack", "2018"),
  "posetrack21": ("posetrack", "2021"),
  "coco": ("coco_keypoints", None),
  "jhmdb": ("jhmdb", "split1"),
  "jhmdb_2": ("jhmdb", "split2"),
  "jhmdb_3": ("jhmdb", "split3"),
  "sub_jhmdb": ("jhmdb", "sub_split1"),
  "sub_jhmdb_2": ("jhmdb", "sub_split2"),
  "sub_jhmdb_3": ("jhmdb", "sub_split3"),
  "custom": ("custom", None),
  "synthetic": ("posetrack", "layout"),
}

_PACKAGE = pathlib.Path(__file__).resolve().parent.parent
# The code that turns sources into records, beside the builders.
_READERS = (
  "annolist.py",
  "annotation_fields.py",
  "annotations.py",
  "coco.py",
  "custom.py",
  "images.py",
  "jhmdb.py",
  "layout.py",
  "posetrack17.py",
  "records.py",
  "serialize.py",
  "skeleton_file.py",
  "strict_json.py",
  "strict_matlab.py",
)


def builder_file(name: str) -> pathlib.Path:
  """Where a TFDS builder lies, in the checkout or the installed package."""
  file = pathlib.Path(name) / f"{name}_dataset_builder.py"
  folders = (_PACKAGE / "_builders", _PACKAGE.parent / "datasets")
  for folder in folders:
    if (folder / file).is_file():
      return folder / file
  raise ValueError(
    f"no builder {file} in {folders[0]} or {folders[1]}; reinstall the package"
  )


@functools.cache  # TFDS refuses to register a builder twice
def load_builder(name: str) -> types.ModuleType:
  """The module of a TFDS builder, loaded by file.

  `datasets/` is not on the import path: the name belongs to another package.
  """
  path = builder_file(name)
  spec = importlib.util.spec_from_file_location(path.stem, path)
  if spec is None or spec.loader is None:
    raise ValueError(f"{path}: cannot be loaded; reinstall the package")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def label_version(dataset: str, split: str, videos: int) -> str:
  """What the labels of so many videos are called, as `prepare` would."""
  if dataset not in DATASETS:
    raise ValueError(
      f"dataset {dataset!r} is not known; take one of {', '.join(DATASETS)}"
    )
  name, config = DATASETS[dataset]
  published = getattr(load_builder(name), "PUBLISHED", {})
  return records.label_version(videos, published.get(config, {}).get(split, {}))


def builder_of(
  dataset: str, source: pathlib.Path, skip: float
) -> Callable[[str | os.PathLike], records.FramesBuilder]:
  """Makes the data set's builder, given a folder to build in."""
  name, config = DATASETS[dataset]
  module = load_builder(name)
  options = {}
  if dataset == "custom":
    custom.splits(source)  # which says what to write where nothing is there
    options["joints"] = skeleton_file.read(source / custom.SKELETON)
  return lambda folder: module.Builder(
    data_dir=folder,
    config=config,
    file_format="array_record",
    skip=skip,
    **options,
  )


def build(
  source: pathlib.Path,
  out: pathlib.Path,
  make: Callable[[str | os.PathLike], records.FramesBuilder],
  about: dict[str, Any],
) -> None:
  """Runs the builder in a folder beside `out`, then moves the result there.

  `about` is what the manifest says of the source.
  """
  partial = _partial(out)
  try:
    tfds.disable_progress_bar()  # the builder shows a better one
    builder = make(partial)
    builder.write(source)
    built = pathlib.Path(builder.data_dir)
    skeleton_file.write(built / prepared.SKELETON, builder.skeleton)
    manifest.write(
      built,
      known=builder.sums,
      **about,
      labels=builder.labels,
      missing=builder.missing,
      pictures=builder.pictures,
      skipped=builder.skipped,
      skip=builder.skip,
    )
    _move(built, out)
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def fingerprint(dataset: str, source: pathlib.Path) -> str:
  """Hash of the source and of the code that turns it into records."""
  code = [builder_file(DATASETS[dataset][0])]
  code += [_PACKAGE / "data" / name for name in _READERS]
  whole = [layout.fingerprint(source).encode()]
  whole += [path.read_bytes() for path in code]
  return hashlib.sha256(b"".join(whole)).hexdigest()


def is_current(
  out: pathlib.Path,
  dataset: str,
  fingerprint: str,
  skip: float | None = None,
) -> bool:
  """Whether `out` holds this data set, whole and from this source.

  Where pictures were left out, not unless the share `skip` that may be is at
  least what it was then; None takes the set as it was made.
  """
  try:
    about = manifest.read(out)
    manifest.check_sizes(out)
  except ValueError as error:
    print(f"{error}: preparing it again")
    return False
  if about is None:
    return False
  if (about["dataset"], about["source"]) != (dataset, fingerprint):
    return False
  if skip is None or not about["skipped"] or skip >= about.get("skip", 1.0):
    return True
  print(
    f"{out}: was prepared with --skip={about.get('skip')} and lacks "
    f"{len(about['skipped'])} pictures; preparing it again with --skip={skip:g}"
  )
  return False


def check_replaceable(out: pathlib.Path) -> None:
  """Raises ValueError where `out` is anything but an older prepared set."""
  if out.is_file():
    raise ValueError(f"{out}: is a file; give a folder to prepare into")
  if (
    out.is_dir() and any(out.iterdir()) and not (out / manifest.NAME).is_file()
  ):
    raise ValueError(
      f"{out}: is not empty and not a prepared set; give another folder, or "
      "remove it if it may go"
    )


@contextlib.contextmanager
def changed(out: pathlib.Path, *, without: str) -> Iterator[pathlib.Path]:
  """A folder to change that takes the place of `out` at the end of the block.

  It begins with the files of `out`, of which no byte is copied where links are
  possible, but its manifest and those that match `without`. After an error or
  an interruption `out` is as it was.
  """
  partial = _partial(out)
  try:
    for path in out.iterdir():
      if path.name != manifest.NAME and not path.match(without):
        _link(path, partial / path.name)
    yield partial
    _move(partial, out)
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def _link(path: pathlib.Path, copy: pathlib.Path) -> None:
  try:
    copy.hardlink_to(path)
  except OSError:  # not on this file system
    shutil.copy2(path, copy)


def _partial(out: pathlib.Path) -> pathlib.Path:
  """An empty folder beside `out`; what an interruption left is removed."""
  partial = out.parent / f".{out.name}.partial"
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir(parents=True)
  return partial


def _move(built: pathlib.Path, out: pathlib.Path) -> None:
  """Puts a finished folder in the place of `out`."""
  old = _old(out)
  shutil.rmtree(old, ignore_errors=True)
  if out.exists():
    out.rename(old)
  built.rename(out)
  shutil.rmtree(old, ignore_errors=True)


def _old(out: pathlib.Path) -> pathlib.Path:
  return out.parent / f".{out.name}.old"


@contextlib.contextmanager
def lock(out: pathlib.Path) -> Iterator[None]:
  """Lets one process at a time prepare `out`; others say that they wait.

  The lock ends with its process, however that ends. One that ended between the
  two moves of `_move` left the old set under another name: it is put back.
  """
  with open(out.parent / f".{out.name}.lock", "w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      print(f"{out}: waiting for another process that prepares it")
      fcntl.flock(file, fcntl.LOCK_EX)
    if not out.exists() and _old(out).is_dir():
      _old(out).rename(out)
    shutil.rmtree(_old(out), ignore_errors=True)
    yield
