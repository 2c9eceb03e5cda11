"""JHMDB as it was released: MATLAB joints and masks, pictures, lists of clips.

Under the root, for each clip of an action:

  joint_positions/<action>/<clip>/joint_positions.mat  pos_img, scale
  puppet_mask/<action>/<clip>/puppet_mask.mat          part_mask
  Rename_Images/<action>/<clip>/00001.png ...
  splits/<action>_test_split<n>.txt                    `<clip>.avi 1` or 2
  sub_splits/<action>_test_split_<n>.txt               sub-JHMDB: whole bodies

MATLAB puts the centre of the first pixel at (1, 1), this program at (0, 0): a
joint of the file lies at pos_img − 1 here.

Source: H. Jhuang, J. Gall, S. Zuffi, C. Schmid, M. J. Black, Towards
understanding action recognition, ICCV 2013, and the files themselves.
"""

import dataclasses
import pathlib
import re
import zlib

import numpy as np
from jaxtyping import Float64

from diffpose_jax.data import annotation_fields as fields
from diffpose_jax.data import annotations, images, strict_matlab
from diffpose_jax.pose import skeleton as skeleton_lib

# The order of pos_img, and what PoseTrack calls the joints of another name.
JOINTS = (
  "neck",
  "belly",
  "face",
  "right_shoulder",
  "left_shoulder",
  "right_hip",
  "left_hip",
  "right_elbow",
  "left_elbow",
  "right_knee",
  "left_knee",
  "right_wrist",
  "left_wrist",
  "right_ankle",
  "left_ankle",
)
_FACE = JOINTS.index("face")
_ALIASES = {"neck": "head_bottom", "face": "nose"}

# Sizes in puppets: `scale` times the picture's height.
_HEAD = np.array([0.16, 0.20])  # width and height of the derived head box
# How far bodies reach beyond their joints: the medians over the 6083 frames of
# 214 clips in which all joints are inside are 0.05, 0.09, 0.05 and 0.10.
_MARGIN = np.array([0.05, 0.10])

_ROUNDING = 1e-3  # pixels: labels at the very edge of the picture are inside
_FAR = 1e4  # pixels: a joint farther out is no label
_SCALES = (1e-3, 1e3)

_LISTS = {"": "splits", "sub_": "sub_splits"}  # prefix of the split: folder
_LIST = re.compile(r"([A-Za-z0-9_]+)_test_split_?([1-9])\.txt")
# No clip's name begins with a dot or has a separator: none leaves its folder.
_LINE = re.compile(r"([^./\\\0][^/\\\0]*)\.avi\s+([12])")
_PARTS = {"1": "train", "2": "val"}
_PICTURE = re.compile(r"[0-9]{5}\.png")
_GET = (
  "JHMDB is at http://jhmdb.is.tue.mpg.de; give the folder that holds "
  "joint_positions/, puppet_mask/, Rename_Images/ and splits/"
)


@dataclasses.dataclass(frozen=True)
class _Clip:
  """A line of a list."""

  action: str
  name: str
  part: str  # train or val
  place: str


@dataclasses.dataclass(frozen=True)
class _Labels:
  """What joint_positions.mat says."""

  points: np.ndarray  # float64 (t, 15, 2), (x, y) in this program's pixels
  scale: np.ndarray  # float64 (t,)


def splits(root: pathlib.Path) -> list[str]:
  """Names of the splits that have clips.

  JHMDB has three ways to split the same clips. "train" and "val" are those of
  the first, so that a command that is told nothing else finds them; "train_2"
  and "val_2", "train_3" and "val_3" are the others.
  "sub_train", "sub_val", "sub_train_2", ... are those of sub-JHMDB, the clips
  that show whole bodies. Splits of different numbers share clips: train on
  one, judge on its own "val".

  Raises ValueError where a list is unsound, or there is none (it says what was
  looked for).
  """
  return list(_clips(root))


def read_split(
  root: pathlib.Path, split: str, *, skeleton: skeleton_lib.Skeleton
) -> list[annotations.Video]:
  """The clips of a split by name, each with its one person.

  Joints go by name: neck is PoseTrack's head_bottom, face its nose; belly, and
  what the skeleton alone has (head_top, ears), is left out. A joint outside
  the picture, beyond the centres of its outermost pixels, is not labelled.
  JHMDB does not say what is occluded: occluded joints are labelled.

  A box reaches to the outer edges of the outermost pixels of the puppet's
  mask. Where the mask's file is absent, has fewer frames than are labelled, or
  is empty in a frame, the box is the extent of the joints inside the picture,
  grown by 0.05 (sides) and 0.10 (top and bottom) of scale × picture height, cut
  at the picture's edges. A frame with neither mask nor joint has no person.

  The head box is derived, for measures that are normalised by it: 0.16 × 0.20
  of scale × picture height, around the face.

  Frame n is picture n. The first ones are labelled, as many as pos_img has;
  pictures beyond are frames without labels. `image_id` is the same in every
  split.

  Raises:
    ValueError: no such split; a file is absent, damaged or of MATLAB 7.3; an
      array has another shape than the other files ask for, or a value that is
      none; a labelled frame has no picture. Names file and record.
  """
  fields.joint_names([{"keypoints": _names(skeleton)}], skeleton, "JHMDB")
  clips = _clips(root)
  if split not in clips:
    raise ValueError(f"{root}: no split {split!r}; there is {', '.join(clips)}")
  return [
    annotations.Video(clip.name, _frames(root, clip, skeleton))
    for clip in sorted(clips[split], key=lambda clip: clip.name)
  ]


def _clips(root: pathlib.Path) -> dict[str, list[_Clip]]:
  """The clips of each split; a split that has none is not there."""
  found: dict[str, list[_Clip]] = {}
  for prefix, folder in _LISTS.items():
    lists: dict[str, list[_Clip]] = {}
    paths = (root / folder).iterdir() if (root / folder).is_dir() else ()
    for path in sorted(paths):
      match = _LIST.fullmatch(path.name)
      if match:
        lists.setdefault(match[2], []).extend(_read_list(path, match[1]))
    for number, clips in sorted(lists.items()):
      _check_once(clips)
      for part in _PARTS.values():
        chosen = [clip for clip in clips if clip.part == part]
        if chosen:
          suffix = "" if number == "1" else f"_{number}"
          found[f"{prefix}{part}{suffix}"] = chosen
  if not found:
    state = "has no list of clips" if root.is_dir() else "does not exist"
    raise ValueError(
      f"data root {root} {state}: looked for "
      f"{root}/splits/<action>_test_split<n>.txt and in sub_splits/; {_GET}"
    )
  return found


def _read_list(path: pathlib.Path, action: str) -> list[_Clip]:
  try:
    lines = path.read_text(encoding="utf-8-sig").splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(
      f"{path}: cannot be read as text ({error}); restore it"
    ) from None
  clips = []
  for number, line in enumerate(lines, 1):
    if not line.strip():
      continue
    place = f"{path}: line {number}"
    match = _LINE.fullmatch(line.strip())
    if not match:
      raise ValueError(
        f"{place}: {line.strip()[:80]!r} is not `<clip>.avi 1` (train) or "
        "`<clip>.avi 2` (test), the clip a plain name; correct it"
      )
    clips.append(_Clip(action, match[1], _PARTS[match[2]], place))
  return clips


def _check_once(clips: list[_Clip]) -> None:
  """Raises ValueError for a clip that one split has twice, or on both sides."""
  seen: dict[str, _Clip] = {}
  for clip in clips:
    first = seen.setdefault(clip.name, clip)
    if first is not clip:
      raise ValueError(
        f"{clip.place}: clip {clip.name} ({clip.part}) is listed already "
        f"({first.part}, {first.place}); keep one of the lines"
      )


def _frames(
  root: pathlib.Path,
  clip: _Clip,
  skeleton: skeleton_lib.Skeleton,
) -> tuple[annotations.Frame, ...]:
  inner = pathlib.PurePosixPath(clip.action, clip.name)
  labels = _labels(root / "joint_positions" / inner / "joint_positions.mat")
  folder = root / "Rename_Images" / inner
  count = _count_pictures(folder, len(labels.points), clip)
  first = folder / "00001.png"
  size = images.size(first.read_bytes(), place=str(first))
  mask = root / "puppet_mask" / inner / "puppet_mask.mat"
  boxes = _mask_boxes(mask, count, size)
  identity = zlib.crc32(str(inner).encode()) * 10**5
  frames = []
  for number in range(1, count + 1):
    labelled = number <= len(labels.points)
    people = ()
    if labelled:
      people = _people(
        labels.points[number - 1],
        float(labels.scale[number - 1]) * size[0],
        boxes[number - 1],
        size,
        skeleton,
      )
    frames.append(
      annotations.Frame(
        file_name=f"Rename_Images/{inner}/{number:05d}.png",
        image_id=identity + number,
        labelled=labelled,
        people=people,
        height=size[0],
        width=size[1],
      )
    )
  return tuple(frames)


def _count_pictures(folder: pathlib.Path, labelled: int, clip: _Clip) -> int:
  """The highest number of a picture, once all labelled frames have theirs."""
  if not folder.is_dir():
    raise ValueError(
      f"{folder}: no pictures of clip {clip.name} ({clip.place}); restore the "
      "folder, or take the clip off the list"
    )
  numbers = {
    int(path.stem) for path in folder.iterdir() if _PICTURE.fullmatch(path.name)
  }
  if 0 in numbers:
    raise ValueError(
      f"{folder}/00000.png: JHMDB's pictures begin at 00001.png, by which "
      "labels find them; rename them"
    )
  missing = sorted(set(range(1, labelled + 1)) - numbers)
  if missing:
    raise ValueError(
      f"{folder}/{missing[0]:05d}.png: picture of a labelled frame is missing "
      f"({len(missing)} of {labelled} are); restore it"
    )
  return max(numbers)


def _labels(path: pathlib.Path) -> _Labels:
  arrays = strict_matlab.load(path, ("pos_img", "scale"))
  points, scale = arrays["pos_img"], arrays["scale"]
  if points.ndim == 2:
    points = points[..., None]  # MATLAB drops a last axis of one frame
  if points.shape[:2] != (2, len(JOINTS)) or points.ndim != 3:
    raise ValueError(
      f"{path}: pos_img is {_shape(arrays['pos_img'])}; it must be "
      f"2 x {len(JOINTS)} x frames"
    )
  if scale.size != points.shape[2] or max(scale.shape) != scale.size:
    raise ValueError(
      f"{path}: scale is {_shape(scale)}, but pos_img has {points.shape[2]} "
      "frames; there must be one scale a frame"
    )
  points = points.astype(np.float64).transpose(2, 1, 0)
  scale = scale.astype(np.float64).reshape(-1)
  wrong = np.argwhere(~(np.abs(points) <= _FAR).all(axis=2))
  if len(wrong):
    frame, joint = wrong[0]
    raise ValueError(
      f"{path}: pos_img: {JOINTS[joint]} of frame {frame + 1} is "
      f"{tuple(points[frame, joint].tolist())}; it must be finite and within "
      f"{_FAR:g} pixels"
    )
  wrong = np.flatnonzero(~((scale >= _SCALES[0]) & (scale <= _SCALES[1])))
  if len(wrong):
    raise ValueError(
      f"{path}: scale of frame {wrong[0] + 1} is {scale[wrong[0]]:g}; it must "
      f"be from {_SCALES[0]:g} to {_SCALES[1]:g}"
    )
  return _Labels(points - 1, scale)


def _mask_boxes(
  path: pathlib.Path, count: int, size: tuple[int, int]
) -> list[Float64[np.ndarray, "4"] | None]:
  """The extent of each frame's mask; None where there is no mask."""
  boxes: list[np.ndarray | None] = [None] * count
  if not path.exists():
    return boxes
  mask = strict_matlab.load(path, ("part_mask",))["part_mask"]
  if mask.ndim == 2:
    mask = mask[..., None]  # MATLAB drops a last axis of one frame
  if mask.ndim != 3 or mask.shape[:2] != size or mask.shape[2] > count:
    raise ValueError(
      f"{path}: part_mask is {_shape(mask)}, but there are {count} pictures of "
      f"{size[0]} x {size[1]}; one of them belongs to another clip"
    )
  if mask.dtype.kind == "f" and not np.all(np.isfinite(mask)):
    raise ValueError(f"{path}: part_mask is not finite; restore the file")
  mask = mask != 0
  rows, columns = mask.any(axis=1), mask.any(axis=0)
  for frame in np.flatnonzero(rows.any(axis=0)):
    y, x = np.flatnonzero(rows[:, frame]), np.flatnonzero(columns[:, frame])
    boxes[frame] = np.array([x[0] - 0.5, y[0] - 0.5, x[-1] + 0.5, y[-1] + 0.5])
  return boxes


def _people(
  points: Float64[np.ndarray, "15 2"],
  puppet: float,
  box: Float64[np.ndarray, "4"] | None,
  size: tuple[int, int],
  skeleton: skeleton_lib.Skeleton,
) -> tuple[annotations.Person, ...]:
  """The one person of a frame, or () where nothing of it is in the picture.

  Args:
    points: joints in the file's order.
    puppet: scale × picture height, pixels.
    box: extent of the mask; None where there is no mask.
    size: (height, width) of the picture.
    skeleton: the joint order of the result.
  """
  last = np.array(size[::-1]) - 1.0  # the centre of the last pixel
  inside = np.all((points >= -_ROUNDING) & (points <= last + _ROUNDING), axis=1)
  if box is None and not inside.any():
    return ()
  if box is None:
    seen = points[inside]
    low = np.maximum(seen.min(axis=0) - _MARGIN * puppet, -0.5)
    high = np.minimum(seen.max(axis=0) + _MARGIN * puppet, last + 0.5)
    box = np.concatenate([low, high])
  face = points[_FACE]
  head = np.concatenate([face - _HEAD * puppet / 2, face + _HEAD * puppet / 2])
  joints = np.where(inside[:, None], points, 0)
  names = _names(skeleton)
  return (
    annotations.Person(
      box=box.astype(np.float32),
      joints=fields.reorder(joints, names, skeleton).astype(np.float32),
      labelled=fields.reorder(inside, names, skeleton),
      track_id=0,
      head_box=head.astype(np.float32),
    ),
  )


def _names(skeleton: skeleton_lib.Skeleton) -> list[str]:
  """What the skeleton calls each of JHMDB's joints, where it has them."""
  return [n if n in skeleton.joints else _ALIASES.get(n, n) for n in JOINTS]


def _shape(array: np.ndarray) -> str:
  return " x ".join(map(str, array.shape))
