"""What lies in a folder of PoseTrack18's layout: splits and pictures."""

import dataclasses
import hashlib
import os
import pathlib

from diffpose_jax.data import annotations, images

_FOLDERS = ("annotations", "posetrack_data")  # PoseTrack18's, PoseTrack21's
_PICTURES = {".jpg": images.JPEG, ".jpeg": images.JPEG, ".png": images.PNG}
# Where any data set has its labels, and in what files.
_LABELS = {
  "annotations",
  "posetrack_data",
  "posetrack17_annotation_dirs",
  "posetrack17_json_files",
  "joint_positions",
  "puppet_mask",
  "splits",
  "sub_splits",
}
_LABEL_FILES = (".json", ".mat", ".txt")
# What 16 bits, four channels and no compression would take, and some more.
_MAX_BYTES = 10 * images.MAX_PIXELS
_NO_LABELS = ("synthetic.json",)  # what rendering remembers of itself


@dataclasses.dataclass(frozen=True)
class Picture:
  """A JPEG or PNG file that is known to decode."""

  data: bytes
  height: int
  width: int


def splits(root: pathlib.Path) -> list[str]:
  """Names of the splits with annotation files, sorted.

  Raises ValueError saying what was looked for where there are none.
  """
  found = {
    folder.name
    for parent in _FOLDERS
    if (root / parent).is_dir()
    for folder in (root / parent).iterdir()
    if folder.is_dir() and any(folder.glob("*.json"))
  }
  if not found:
    state = "is empty of annotations" if root.is_dir() else "does not exist"
    raise ValueError(
      f"data root {root} {state}: looked for {root}/annotations/<split>/*.json;"
      " give the folder that holds annotations/ and images/. PoseTrack18 is on "
      "application at https://posetrack.net"
    )
  return sorted(found)


def present(root: pathlib.Path, video: annotations.Video) -> list[int]:
  """Positions in the video of the frames whose pictures exist.

  Raises ValueError where a labelled frame's picture is missing, or all are; or
  a link leads to one outside of the root.
  """
  positions = []
  real = os.path.realpath(root)
  for position, frame in enumerate(video.frames):
    path = root / frame.file_name
    if os.path.isfile(path):  # False for names that no file can have
      _check_inside(real, path, video)
      positions.append(position)
    elif frame.labelled:
      raise ValueError(
        f"{path}: picture of a labelled frame of video {video.name} is "
        "missing; restore it, or take the frame out of the annotations"
      )
  if not positions:
    raise ValueError(
      f"{root}: none of the {len(video.frames)} pictures of video {video.name} "
      f"is there, not even {video.frames[0].file_name}; restore them or remove "
      "the annotation file"
    )
  return positions


def read_picture(root: pathlib.Path, frame: annotations.Frame) -> Picture:
  """The bytes of a frame's picture, once they are known to decode.

  Raises ValueError naming the file where it cannot be read, does not decode, is
  of another format than its name says, or of another size than the annotation
  says.
  """
  path = root / frame.file_name
  data = _read(path)
  height, width = images.size(data, place=str(path))
  # Shrunk, the same damage is found in half the time.
  images.decode_scaled(data, place=str(path), factor=max(images.FACTORS))
  if not data.startswith(_PICTURES.get(path.suffix.lower(), b"\0")):
    raise ValueError(
      f"{path}: its content is not what its name says; name JPEG files .jpg "
      "and PNG files .png"
    )
  said = (frame.height or height, frame.width or width)
  if said != (height, width):
    raise ValueError(
      f"{path}: picture is {width}x{height} but the annotation says "
      f"{said[1]}x{said[0]}; one of them belongs to other data"
    )
  return Picture(data, height, width)


def _check_inside(
  root: str, path: pathlib.Path, video: annotations.Video
) -> None:
  """Raises ValueError unless a picture lies below the root, links resolved."""
  real = os.path.realpath(path)
  if not real.startswith(os.path.join(root, "")):
    raise ValueError(
      f"{path}: picture of video {video.name} is a link to {real}, outside of "
      f"the data root; put the pictures below {root}, or link the annotations "
      "into a folder that holds the pictures, and give that as the root"
    )


def _read(path: pathlib.Path) -> bytes:
  try:
    size = path.stat().st_size
    if size > _MAX_BYTES:
      raise ValueError(
        f"{path}: {size} bytes, more than any picture of "
        f"{images.MAX_PIXELS} pixels has; restore or replace it"
      )
    return path.read_bytes()
  except OSError as error:
    raise ValueError(
      f"{path}: cannot be read ({error.strerror}); restore it"
    ) from None


def fingerprint(root: pathlib.Path) -> str:
  """Hash of names, sizes and times of all label files and pictures."""
  digest = hashlib.sha256()
  for folder, subfolders, names in os.walk(root):
    subfolders.sort()
    labels = _LABELS.intersection(pathlib.Path(folder).relative_to(root).parts)
    for name in sorted(names):
      # Other JSON beside the data (what tools leave) is not read.
      read = _LABEL_FILES if labels or name == "skeleton.json" else ()
      if name in _NO_LABELS:
        continue
      if name.lower().endswith((*_PICTURES, *read)):
        path = os.path.join(folder, name)
        stat = os.stat(path)
        line = (os.path.relpath(path, root), stat.st_size, stat.st_mtime_ns)
        digest.update(repr(line).encode())
  return digest.hexdigest()
