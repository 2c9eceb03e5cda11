"""Source folders to prepared TFDS data: checked first, written whole or not."""

import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import io
import json
import os
import pathlib
import shutil
import types
from collections.abc import Iterator

import cv2
import ml_collections
import tensorflow_datasets as tfds

from diffpose_jax import config as config_lib
from diffpose_jax.data import layout, prepared, synthetic
from diffpose_jax.pose import skeleton as skeletons

DATASETS = ("posetrack18", "jhmdb", "synthetic")
ROOT_VARIABLE = "DIFFPOSE_DATA_ROOT"

_STAMP = "prepared.json"  # its presence says that the folder is whole
_RENDERED = "synthetic.json"  # what synthetic.render_split leaves
_PACKAGE = pathlib.Path(__file__).resolve().parent.parent


def main(
  *,
  dataset: str,
  out: str | os.PathLike,
  source: str | os.PathLike | None = None,
  config: ml_collections.ConfigDict | None = None,
) -> None:
  """Prepares a data set, as `prepare --dataset=NAME --source=DIR --out=DIR`.

  Without `source`, synthetic people are rendered to a folder beside `out`, and
  other sets are taken from DIFFPOSE_DATA_ROOT. `config` says what to render.
  """
  if not source and dataset == "synthetic":
    source = f"{out}-source"
  source = source or os.environ.get(ROOT_VARIABLE)
  if not source:
    raise ValueError(
      f"--source is missing: give the root of {dataset}, or set {ROOT_VARIABLE}"
    )
  settings = config.data.synthetic if config else None
  prepare(dataset=dataset, source=source, out=out, settings=settings)


def prepare(
  *,
  dataset: str,
  source: str | os.PathLike,
  out: str | os.PathLike,
  settings: ml_collections.ConfigDict | None = None,
) -> pathlib.Path:
  """The prepared folder, built from `source` unless it is there and current.

  The set is built beside `out` and moved there when it is whole, so that an
  interruption leaves the old state.

  Args:
    dataset: posetrack18, jhmdb (both PoseTrack18's layout) or synthetic.
    source: root of the data; for synthetic, where to render.
    out: folder to make; replaced only if it is an older prepared set.
    settings: `data.synthetic` of a config, for synthetic; default()'s if None.

  Raises:
    ValueError: the source is not sound, or `out` is something else.
  """
  if dataset not in DATASETS:
    raise ValueError(
      f"dataset {dataset!r} is not known; take one of {', '.join(DATASETS)}"
    )
  source = pathlib.Path(source).absolute()
  out = pathlib.Path(out).absolute()
  out.parent.mkdir(parents=True, exist_ok=True)
  with _lock(out):
    if dataset == "synthetic":
      render(source, settings or config_lib.default().data.synthetic)
    layout.splits(source)  # refuses a root without annotations
    stamp = {"dataset": dataset, "source": _fingerprint(source)}
    if _stamp(out / _STAMP) == stamp:
      print(f"{out}: already prepared from {source}")
      return out
    _check_replaceable(out)
    _build(source, out, stamp)
  print(table(out))
  return out


def ensure(
  config: ml_collections.ConfigDict, workdir: str | os.PathLike
) -> pathlib.Path:
  """The prepared folder that a run reads, made first where it must be.

  It is `data.prepared` or WORKDIR/data. The source is `data.root` or the
  environment variable DIFFPOSE_DATA_ROOT; synthetic people are rendered to
  WORKDIR/source. Without a source, a folder prepared before is taken as it is.

  Raises:
    ValueError: there is neither; says which key to set and how to get data.
  """
  workdir = pathlib.Path(workdir)
  out = pathlib.Path(config.data.prepared or workdir / "data")
  name = config.data.name
  if name == "synthetic":
    root = pathlib.Path(config.data.root or workdir / "source")
  else:
    given = config.data.root or os.environ.get(ROOT_VARIABLE, "")
    if not given and _stamp(out / _STAMP) is not None:
      return out
    if not given:
      raise ValueError(
        f"no data for {name}: set --config.data.root (or {ROOT_VARIABLE}) to "
        "the folder that holds annotations/ and images/ in PoseTrack18's "
        "layout, or --config.data.prepared to a prepared one. PoseTrack18 is "
        "on application at https://posetrack.net"
      )
    root = pathlib.Path(given)
  folder = prepare(
    dataset=name, source=root, out=out, settings=config.data.synthetic
  )
  if name == "synthetic":
    _write_contact_sheet(root, config.data.train_split, workdir)
  return folder


def _write_contact_sheet(
  source: pathlib.Path, split: str, workdir: pathlib.Path
) -> None:
  """A picture of some of the people, to look at before training on them."""
  sheet = synthetic.contact_sheet(source, split, rows=6, columns=8)
  workdir.mkdir(parents=True, exist_ok=True)
  cv2.imwrite(str(workdir / "contact_sheet.png"), sheet[..., ::-1])


def table(folder: pathlib.Path) -> str:
  """Text that counts videos, frames, people and joints of each split."""
  heads = ("split", "videos", "frames", "labelled", "people", "joints")
  rows: list[tuple[str, ...]] = [heads]
  for name in prepared.split_names(folder):
    split = prepared.open_split(folder, name, skeleton=skeletons.POSETRACK)
    people, frames = split.people, split.frames
    counts = (
      len(split.videos),
      len(frames),
      int(frames.labelled.sum()),
      len(people),
      int(people.labelled.sum()),
    )
    rows.append((name, *(str(count) for count in counts)))
  widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
  return "\n".join(
    "  ".join(
      cell.rjust(width) for cell, width in zip(row, widths, strict=True)
    )
    for row in rows
  )


def render(source: pathlib.Path, settings: ml_collections.ConfigDict) -> None:
  """Renders what is missing of the synthetic splits to `source`.

  Raises ValueError where it holds other data, or more videos than asked for.
  """
  wanted = {"train": settings.train_videos, "val": settings.val_videos}
  for split, videos in wanted.items():
    folder = source / "annotations" / split
    there = len(list(folder.glob("*.json")))
    if there and not (folder.parent / _RENDERED).is_file():
      raise ValueError(
        f"{folder}: holds annotations that this program did not render; give "
        "another folder for the synthetic people"
      )
    if there > videos:
      raise ValueError(
        f"{folder}: {there} videos are rendered but {videos} are asked for; "
        f"remove {source} or give another folder"
      )
    synthetic.render_split(
      source,
      split=split,
      videos=videos,
      frames=settings.frames,
      size=tuple(settings.size),
      seed=settings.seed,
      difficulty=settings.difficulty,
      workers=settings.workers,
      progress=there < videos,
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


def _build(source: pathlib.Path, out: pathlib.Path, stamp: dict) -> None:
  """Runs the builder in a folder beside `out`, then moves the result there."""
  module = load_builder("posetrack")
  partial = _partial(out)
  try:
    tfds.disable_progress_bar()  # the builder shows a better one
    builder = module.Builder(data_dir=partial, file_format="array_record")
    # TFDS prints that the set is ready, and where: neither is true yet.
    with contextlib.redirect_stdout(io.StringIO()):
      builder.download_and_prepare(
        download_dir=partial / "downloads",
        download_config=tfds.download.DownloadConfig(manual_dir=source),
      )
    built = pathlib.Path(builder.data_dir)
    for split in prepared.split_names(built):
      prepared.write_tables(built, split)
    (built / _STAMP).write_text(json.dumps(stamp))
    _move(built, out)
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def _fingerprint(source: pathlib.Path) -> str:
  """Hash of the source and of the code that turns it into records."""
  builder = builder_file("posetrack").read_bytes()
  whole = layout.fingerprint(source).encode() + builder
  return hashlib.sha256(whole).hexdigest()


def _stamp(path: pathlib.Path) -> dict | None:
  try:
    return json.loads(path.read_text())
  except (OSError, json.JSONDecodeError):
    return None


def _check_replaceable(out: pathlib.Path) -> None:
  if out.is_file():
    raise ValueError(f"{out}: is a file; give a folder to prepare into")
  if out.is_dir() and any(out.iterdir()) and not (out / _STAMP).is_file():
    raise ValueError(
      f"{out}: is not empty and not a prepared set; give another folder, or "
      "remove it if it may go"
    )


def _partial(out: pathlib.Path) -> pathlib.Path:
  """An empty folder beside `out`; what an interruption left is removed."""
  partial = out.parent / f".{out.name}.partial"
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir(parents=True)
  return partial


def _move(built: pathlib.Path, out: pathlib.Path) -> None:
  """Puts a finished folder in the place of `out`."""
  old = out.parent / f".{out.name}.old"
  shutil.rmtree(old, ignore_errors=True)
  if out.exists():
    out.rename(old)
  built.rename(out)
  shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _lock(out: pathlib.Path) -> Iterator[None]:
  """Lets one process at a time prepare `out`; others wait for it."""
  with open(out.parent / f".{out.name}.lock", "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield
