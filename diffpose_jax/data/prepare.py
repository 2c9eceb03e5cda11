"""Source folders to prepared TFDS data: checked first, written whole or not."""

import os
import pathlib
from typing import Any

import cv2
import ml_collections
import tqdm

from diffpose_jax import config as config_lib
from diffpose_jax.data import (
  box_files,
  build,
  images,
  manifest,
  prepared,
  stored_boxes,
  synthetic,
)

ROOT_VARIABLE = "DIFFPOSE_DATA_ROOT"

_RENDERED = "synthetic.json"  # what synthetic.render_split leaves


def main(
  *,
  out: str | os.PathLike,
  dataset: str = "",
  source: str | os.PathLike | None = None,
  config: ml_collections.ConfigDict | None = None,
  skip: float = 0.0,
  boxes: str | os.PathLike | None = None,
  check: bool = False,
) -> None:
  """Prepares a data set, as `prepare --dataset=NAME --source=DIR --out=DIR`.

  Without `source`, synthetic people are rendered to a folder beside `out`, and
  other sets are taken from DIFFPOSE_DATA_ROOT. `config` says what to render.
  With `check`, a set that was prepared before is verified instead.
  """
  if check:
    verify(pathlib.Path(out))
    return
  if not dataset:
    raise ValueError(
      f"--dataset is missing: give one of {', '.join(build.DATASETS)}, or "
      "--check to verify what lies in --out"
    )
  if not source and dataset == "synthetic":
    source = f"{out}-source"
  source = source or os.environ.get(ROOT_VARIABLE)
  if not source:
    raise ValueError(
      f"--source is missing: give the root of {dataset}, or set {ROOT_VARIABLE}"
    )
  settings = config.data.synthetic if config else None
  prepare(
    dataset=dataset,
    source=source,
    out=out,
    settings=settings,
    skip=skip,
    boxes=boxes,
  )


def prepare(
  *,
  dataset: str,
  source: str | os.PathLike,
  out: str | os.PathLike,
  settings: ml_collections.ConfigDict | None = None,
  skip: float | None = 0.0,
  boxes: str | os.PathLike | None = None,
) -> pathlib.Path:
  """The prepared folder, built from `source` unless it is there and current.

  The set is built beside `out` and moved there when it is whole, so that an
  interruption leaves the old state. `boxes` are stored after that in the same
  way, in the place of others; without `boxes` those of a current set stay.

  Args:
    dataset: one of `build.DATASETS`; its README in datasets/ says how to get it.
    source: root of the data; for synthetic, where to render.
    out: folder to make; replaced only if it is an older prepared set.
    settings: `data.synthetic` of a config, for synthetic; default()'s if None.
    skip: share of a split's pictures, below 1, that may be left out because
      they do not decode. They are listed. At 0 the first one is an error, and
      a set that lacks some is prepared again. None takes a set that is there as
      it is.
    boxes: file of detections to store, or folder of such files; see
      `boxes.read_boxes` and `stored_boxes`.

  Raises:
    ValueError: the source is not sound, or `out` is something else; or the
      boxes are not, or none is of the set's pictures: then the set is whole,
      with the boxes that it had.
  """
  if dataset not in build.DATASETS:
    raise ValueError(
      f"dataset {dataset!r} is not known; take one of {', '.join(build.DATASETS)}"
    )
  if skip is not None and not 0 <= skip < 1:
    raise ValueError(f"--skip is {skip:g}; it is a share, from 0 to below 1")
  source = pathlib.Path(source).absolute()
  out = pathlib.Path(out).absolute()
  out.parent.mkdir(parents=True, exist_ok=True)
  with build.lock(out):
    if dataset == "synthetic":
      render(source, settings or config_lib.default().data.synthetic)
    if not source.is_dir() or not any(source.iterdir()):
      raise ValueError(
        f"data root {source} does not exist or is empty; give the folder that "
        f"holds the data of {dataset}, as the README of its builder says"
      )
    make = build.builder_of(dataset, source, skip or 0.0)
    now = build.fingerprint(dataset, source)
    changed = not build.is_current(out, dataset, now, skip)
    if changed:
      if boxes:
        box_files.read(boxes)  # a mistake is said before the long work
      had = _stored(out)
      build.check_replaceable(out)
      build.build(source, out, make, {"dataset": dataset, "source": now})
      if had and not boxes:
        print(
          f"{out}: the boxes of {had['name']} were stored for the older "
          "records and are gone; store them again with --boxes=FILE"
        )
    if boxes:
      changed |= stored_boxes.store(out, boxes)
  if changed:
    print(summary(out))
  else:
    print(f"{out}: already prepared from {source}{_notes(out)}")
  return out


def _stored(out: pathlib.Path) -> dict[str, Any] | None:
  """What boxes are stored, if the manifest can be read."""
  try:
    return stored_boxes.about(out)
  except ValueError:
    return None


def _notes(out: pathlib.Path) -> str:
  """What the line on a set that is there should not hide."""
  about = manifest.read(out) or {"skipped": []}
  boxes = stored_boxes.about(out)
  notes = f", with the boxes of {boxes['name']}" if boxes else ""
  if about["skipped"]:
    notes += f", without {len(about['skipped'])} pictures that did not decode"
  return notes


def verify(out: pathlib.Path) -> None:
  """Reads every byte and record of a prepared set; prints its table.

  Raises ValueError naming what is not as it was written.
  """
  manifest.check(out, progress=lambda name: print(f"checking {name}"))
  for name in prepared.split_names(out):
    split = prepared.open_split(out, name)
    for row in tqdm.trange(len(split.frames), desc=name, unit=" frames"):
      images.size(split.jpeg(row), place=split.place(row))
  print(summary(out))


def ensure(
  config: ml_collections.ConfigDict, workdir: str | os.PathLike
) -> pathlib.Path:
  """The prepared folder that a run reads, made first where it must be.

  It is `data.prepared` or WORKDIR/data. The source is `data.root` or the
  environment variable DIFFPOSE_DATA_ROOT; synthetic people are rendered to
  WORKDIR/source. Without a source, a folder prepared before is taken as it is;
  so are pictures that were allowed to be left out when it was prepared.

  Raises:
    ValueError: there is neither; says which key to set and how to get data. Or
      stored boxes are to be evaluated and there are none.
  """
  folder = _ensure(config, pathlib.Path(workdir))
  if config.evaluate.boxes == stored_boxes.PREPARED:
    stored_boxes.check(folder)  # now, rather than at the end of training
  return folder


def _ensure(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> pathlib.Path:
  out = pathlib.Path(config.data.prepared or workdir / "data")
  name = config.data.name
  if name == "synthetic":
    root = pathlib.Path(config.data.root or workdir / "source")
  else:
    given = config.data.root or os.environ.get(ROOT_VARIABLE, "")
    if not given and manifest.read(out) is not None:
      return out
    if not given:
      folder = build.DATASETS[name][0]
      raise ValueError(
        f"no data for {name}: set --config.data.root (or {ROOT_VARIABLE}) to "
        "its folder, or --config.data.prepared to a prepared one; how to get "
        f"and lay it out is told in datasets/{folder}/README.md (PoseTrack is "
        "on application at https://posetrack.net)"
      )
    root = pathlib.Path(given)
  folder = prepare(
    dataset=name,
    source=root,
    out=out,
    settings=config.data.synthetic,
    skip=None,
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


def summary(folder: pathlib.Path) -> str:
  """Text that counts the splits, and says what their labels are called.

  `missing` counts unlabelled frames without a picture, whose neighbours stand
  for them in clips. Where boxes are stored, `boxes` counts those of the split,
  and `other boxes` those of the same file that are of other images.
  """
  heads = ["split", "videos", "frames", "labelled", "people", "joints"]
  heads += ["missing"]
  about = manifest.read(folder) or {"missing": {}, "labels": {}, "skipped": []}
  stored = about.get("boxes")
  heads += ["boxes", "other boxes"] if stored else []
  rows: list[tuple[str, ...]] = [(*heads, "labels")]
  for name in prepared.split_names(folder):
    split = prepared.open_split(folder, name)
    people, frames = split.people, split.frames
    counts = (
      len(split.videos),
      len(frames),
      int(frames.labelled.sum()),
      len(people),
      int(people.labelled.sum()),
      about["missing"].get(name, 0),
      *(_box_counts(stored, name) if stored else ()),
    )
    label = about["labels"].get(name, "")
    rows.append((name, *(str(count) for count in counts), label))
  widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
  lines = [
    "  ".join(
      cell.rjust(width) for cell, width in zip(row, widths, strict=True)
    )
    for row in rows
  ]
  lines += [f"left out: {message}" for message in about["skipped"]]
  if stored:
    lines += [f"boxes: {stored['name']}, sha256 {stored['sha256']}"]
  return "\n".join(lines)


def _box_counts(stored: dict[str, Any], split: str) -> tuple[int, int]:
  """Numbers of boxes that are stored for a split, and of other images'."""
  said = stored["splits"].get(split)
  if said is None:  # none is of its images
    return 0, stored["people"]
  return said["boxes"], said["unknown_images"]


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
