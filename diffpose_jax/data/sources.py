"""What `--input` means: which videos, under which names they are written."""

import collections
import dataclasses
import glob
import os
import pathlib
from collections.abc import Iterable, Sequence

from diffpose_jax.data import annotations, video_times

PICTURES = (".jpg", ".jpeg", ".png")
VIDEOS = (
  *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts"),
  *(".mts", ".m2ts", ".wmv", ".flv", ".3gp", ".ogv"),
)
CAMERA = "camera:"
_WILD = "*?["


@dataclasses.dataclass(frozen=True)
class Source:
  """One video: a file, pictures in order, or a camera; one of the three."""

  name: str  # of its outputs; different for each source of one call
  path: pathlib.Path  # the file, or what to call the pictures or the camera
  pictures: tuple[pathlib.Path, ...] = ()
  camera: int | None = None
  fps: float = video_times.DEFAULT_FPS  # of pictures

  @property
  def is_file(self) -> bool:
    """Whether it is a video file."""
    return not self.pictures and self.camera is None


def find(
  given: str | os.PathLike | Sequence[str | os.PathLike],
  *,
  fps: float = video_times.DEFAULT_FPS,
) -> list[Source]:
  """The videos of an input, in natural order, each with a name of its own.

  A video is named by its file without the suffix, or by its folder of pictures.
  Those that would get the same name (letters' case aside) are named with the
  suffix, then with their folders.

  Args:
    given: a video; a picture; a folder of pictures, of videos, or of folders of
      pictures; a pattern with * or ? for any of these; a text file (.txt) that
      lists pictures, a path a line, from its own folder; `camera:0`; or a
      sequence of paths of pictures (one video) or of videos.
    fps: pictures a second.

  Raises:
    ValueError: there is nothing, or pictures and videos both.
  """
  if not 0 < fps < float("inf"):
    raise ValueError(f"fps is {fps}; give the pictures a second, above 0")
  if not isinstance(given, str | os.PathLike):
    listed = [pathlib.Path(one) for one in given]
    return _of_paths(listed, f"a list of {len(listed)} paths", fps)
  text = os.fspath(given)
  if text.startswith(CAMERA):
    return [_camera(text)]
  path = pathlib.Path(text)
  if path.is_dir():
    return _of_folder(path, fps)
  if path.suffix.lower() == ".txt" and path.is_file():
    return [_listed(path, fps)]
  if not path.exists() and any(letter in text for letter in _WILD):
    matches = sorted(glob.glob(text, recursive=True), key=_natural)
    return _of_paths(map(pathlib.Path, matches), text, fps)
  return _of_paths([path], text, fps)


def of(path: pathlib.Path) -> Source:
  """The one source that a path is: a file or a folder of pictures.

  Raises ValueError where there is nothing there, or a folder has no pictures.
  """
  if path.is_dir():
    files = tuple(f for f in _visible(path) if _is_picture(f))
    if not files:
      raise ValueError(
        f"{path}: no pictures ({', '.join(PICTURES)}) in this folder"
      )
    return Source(path.resolve().name or "pictures", path, files)
  if not path.is_file():
    raise ValueError(
      f"{path}: no such file or folder; give a video or a folder of pictures"
    )
  return Source(path.stem, path, (path,) if _is_picture(path) else ())


def _camera(text: str) -> Source:
  number = text.removeprefix(CAMERA)
  if not number.isdecimal():
    raise ValueError(f"{text}: no camera; the first is {CAMERA}0")
  return Source(f"camera{number}", pathlib.Path(text), camera=int(number))


def _listed(path: pathlib.Path, fps: float) -> Source:
  try:
    lines = path.read_text(encoding="utf-8").splitlines()
  except UnicodeDecodeError as error:
    raise ValueError(f"{path}: not a text file; list a path a line") from error
  files = [path.parent / line.strip() for line in lines if line.strip()]
  for number, file in enumerate(files):
    if not (_is_picture(file) and file.is_file()):
      raise ValueError(
        f"{path}: path {number} ({file}) is no picture there; list "
        f"{', '.join(PICTURES)} files, a path a line"
      )
  if not files:
    raise ValueError(f"{path}: lists no pictures; list a path a line")
  return Source(path.stem, path, tuple(files), fps=fps)


def _of_folder(folder: pathlib.Path, fps: float) -> list[Source]:
  inside = _visible(folder)
  files = [f for f in inside if _is_picture(f) or _is_video(f)]
  if files:
    return _of_paths(files, str(folder), fps, folder=folder)
  deeper = [f for f in inside if f.is_dir() and _has_pictures(f)]
  if deeper:
    return _of_paths(deeper, str(folder), fps)
  kinds = sorted({f.suffix.lower() or f.name for f in inside})[:8]
  raise ValueError(
    f"{folder}: neither pictures ({', '.join(PICTURES)}) nor videos "
    f"({', '.join(VIDEOS)}) in this folder, "
    + (f"but {', '.join(kinds)}; convert them" if kinds else "which is empty")
  )


def _of_paths(
  paths: Iterable[pathlib.Path],
  place: str,
  fps: float,
  *,
  folder: pathlib.Path | None = None,
) -> list[Source]:
  """One source of pictures, or one of each video or folder."""
  paths = list(paths)
  pictures = [path for path in paths if _is_picture(path)]
  others = [path for path in paths if not _is_picture(path)]
  if not paths:
    raise ValueError(f"{place}: no files; give videos or pictures")
  if pictures and others:
    raise ValueError(
      f"{place}: has both pictures ({len(pictures)}, such as "
      f"{pictures[0].name}) and videos ({len(others)}, such as "
      f"{others[0].name}); give a pattern, such as '*{pictures[0].suffix}' or "
      f"'*{others[0].suffix}' in it"
    )
  for path in paths:
    of(path)  # is there, and a folder has pictures
  if not pictures:
    sources = [dataclasses.replace(of(path), fps=fps) for path in others]
    return _named(sources)
  if len(pictures) == 1 and folder is None:
    return [dataclasses.replace(of(pictures[0]), fps=fps)]
  common = folder or pathlib.Path(
    os.path.commonpath([path.resolve().parent for path in pictures])
  )
  name = common.resolve().name or "pictures"
  return [Source(name, common, tuple(pictures), fps=fps)]


def _named(sources: list[Source]) -> list[Source]:
  """The sources, renamed where two have one name."""
  names = [source.name for source in sources]
  for better in (_with_suffix, _with_folders, _with_number):
    counts = collections.Counter(name.casefold() for name in names)
    names = [
      name if counts[name.casefold()] == 1 else better(sources, index)
      for index, name in enumerate(names)
    ]
  return [
    dataclasses.replace(source, name=name)
    for source, name in zip(sources, names, strict=True)
  ]


def _with_suffix(sources: list[Source], index: int) -> str:
  return sources[index].path.name


def _with_folders(sources: list[Source], index: int) -> str:
  paths = [os.path.abspath(source.path) for source in sources]
  below = os.path.relpath(paths[index], os.path.commonpath(paths))
  return "-".join(pathlib.Path(below).parts)


def _with_number(sources: list[Source], index: int) -> str:
  return f"{_with_folders(sources, index)}-{index}"


def _natural(text: str) -> list:
  """By folder first, then by name, numbers by their value."""
  return [annotations.natural_key(part) for part in pathlib.Path(text).parts]


def _visible(folder: pathlib.Path) -> list[pathlib.Path]:
  inside = [f for f in folder.iterdir() if not f.name.startswith(".")]
  return sorted(inside, key=lambda file: annotations.natural_key(file.name))


def _has_pictures(folder: pathlib.Path) -> bool:
  return any(_is_picture(file) for file in _visible(folder))


def _is_picture(path: pathlib.Path) -> bool:
  return path.suffix.lower() in PICTURES and not path.is_dir()


def _is_video(path: pathlib.Path) -> bool:
  return path.suffix.lower() in VIDEOS and not path.is_dir()
