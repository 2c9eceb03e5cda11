"""The people of a split, one row each: what a clip is cropped around."""

import dataclasses

import ml_collections
import numpy as np
from jaxtyping import Float, Int

from diffpose_jax.data import annotation_fields as fields
from diffpose_jax.data import annotations, prepared, prepared_tables
from diffpose_jax.data import boxes as boxes_lib
from diffpose_jax.pose import geometry

_JOINT_MARGIN = 1.15  # of the joints' extents, for a person without a box


@dataclasses.dataclass(frozen=True)
class Instances:
  """One row a person to estimate: `n` rows in the order of the frames."""

  row: np.ndarray  # int32 (n,), key frame, row of `Split.frames`
  person: np.ndarray  # int32 (n,), row of `Split.people`; -1 for a detection
  box: np.ndarray  # float32 (n, 4), xyxy edges in the picture, not enlarged
  joints: np.ndarray  # float32 (n, k, 2), picture pixels; 0 for a detection
  labelled: np.ndarray  # bool (n, k)
  score: np.ndarray  # float32 (n,), of the box; 1 for ground truth
  track_id: np.ndarray  # int64 (n,), -1 where there is none
  noise_id: np.ndarray  # uint32 (n,), hash of video and track
  left_out: int = 0  # people with neither box nor extent of joints

  def __len__(self) -> int:
    return len(self.row)

  def take(self, rows: Int[np.ndarray, "m"]) -> "Instances":
    """The given rows, in their order."""
    return dataclasses.replace(
      self,
      **{
        field.name: getattr(self, field.name)[rows]
        for field in dataclasses.fields(self)
        if field.name != "left_out"
      },
    )


def gt_instances(split: prepared.Split, *, need_joints: bool) -> Instances:
  """The people of the labelled frames.

  A person without a box takes the extents of its joints and head box, enlarged
  by 15 %; one without extents is left out and counted.

  Args:
    split: prepared data.
    need_joints: True leaves out people without a labelled joint, as training
      must.

  Raises:
    ValueError: a box without area; names frame and track.
  """
  people = split.people
  use = split.frames.labelled[people.frame]
  if need_joints:
    use &= people.labelled.any(axis=1)
  box = people.box.copy()
  for person in np.flatnonzero(use & np.isnan(box[:, 0])):
    box[person] = _box_of_joints(people, person)
  missing = use & np.isnan(box[:, 0])
  chosen = np.flatnonzero(use & ~missing).astype(np.int32)
  rows, tracks = people.frame[chosen], people.track_id[chosen]
  _check_boxes(split, box[chosen], rows, tracks)
  return Instances(
    row=rows,
    person=chosen,
    box=box[chosen],
    joints=people.joints[chosen],
    labelled=people.labelled[chosen],
    score=np.ones(len(chosen), np.float32),
    track_id=tracks,
    noise_id=_noise_ids(split, rows, tracks),
    left_out=int(missing.sum()),
  )


def box_instances(split: prepared.Split, boxes: boxes_lib.Boxes) -> Instances:
  """People given by boxes only, whose videos and frames are `to_videos`'s.

  Raises:
    ValueError: a box without area, or for a frame that the split does not have.
  """
  starts = video_starts(split)
  counts = np.diff(starts)
  for video, frame in zip(boxes.video, boxes.frame, strict=True):
    if not 0 <= video < len(counts) or not 0 <= frame < counts[video]:
      raise ValueError(
        f"{split.folder} {split.name}: box for frame {frame} of video {video}, "
        f"which it does not have ({len(counts)} videos)"
      )
  rows = (starts[boxes.video] + boxes.frame).astype(np.int32)
  order = np.argsort(rows, kind="stable")
  rows, tracks = rows[order], boxes.track_id[order].astype(np.int64)
  _check_boxes(split, boxes.box[order], rows, tracks)
  joints = len(split.skeleton.joints)
  return Instances(
    row=rows,
    person=np.full(len(rows), -1, np.int32),
    box=boxes.box[order],
    joints=np.zeros((len(rows), joints, 2), np.float32),
    labelled=np.zeros((len(rows), joints), np.bool_),
    score=boxes.score[order],
    track_id=tracks,
    noise_id=_noise_ids(split, rows, tracks),
  )


def crop_affines(
  instances: Instances, config: ml_collections.ConfigDict
) -> Float[np.ndarray, "n 2 3"]:
  """Affines from picture to evaluation crop; `geometry.invert` leads back."""
  size = tuple(config.data.size)
  # In float64, where what has an area in float32 keeps one.
  boxes = geometry.enlarge(
    instances.box.astype(np.float64), config.data.enlarge
  )
  affines = [geometry.crop_affine(box, size) for box in boxes]
  return np.array(affines, np.float64).reshape(len(instances), 2, 3)


def video_starts(split: prepared.Split) -> Int[np.ndarray, "v1"]:
  """First row of each video, and one past the last row at the end."""
  videos = np.arange(len(split.videos) + 1)
  return np.searchsorted(split.frames.video, videos)


def clip_rows(
  split: prepared.Split, rows: Int[np.ndarray, "n"], span: int
) -> Int[np.ndarray, "n t"]:
  """Rows of the frames of each clip, key frame in the middle.

  A place before the video's first or after its last frame takes that frame;
  a frame whose picture is missing, the nearest present, at a tie the one that
  is nearer to the key frame.
  """
  frames = split.frames
  starts = video_starts(split)
  video = frames.video[rows].astype(np.int64)
  first = frames.frame_index[starts[video]]
  last = frames.frame_index[starts[video + 1] - 1]
  offsets = np.arange(-span, span + 1)
  wanted = frames.frame_index[rows][:, None] + offsets
  wanted = np.clip(wanted, first[:, None], last[:, None])
  # One increasing number for every row; videos stay apart.
  stride = np.int64(1) << 32
  keys = frames.video * stride + frames.frame_index
  targets = video[:, None] * stride + wanted
  right = np.searchsorted(keys, targets)
  left = np.where(keys[right] == targets, right, right - 1)
  before, after = targets - keys[left], keys[right] - targets
  take_left = (before < after) | ((before == after) & (offsets > 0))
  return np.where(take_left, left, right).astype(np.int32)


def _check_boxes(
  split: prepared.Split,
  boxes: Float[np.ndarray, "n 4"],
  rows: Int[np.ndarray, "n"],
  tracks: Int[np.ndarray, "n"],
) -> None:
  sound = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(1)
  for i in np.flatnonzero(~sound):
    geometry.check_box(boxes[i], f"{split.place(rows[i])}, track {tracks[i]}")


def _box_of_joints(
  people: prepared_tables.People, person: int | np.integer
) -> Float[np.ndarray, "4"]:
  """Enlarged extents of joints and head box; NaN where they have no area."""
  points = people.joints[person][people.labelled[person]]
  head = people.head_box[person].reshape(2, 2)
  points = np.concatenate([points, head[~np.isnan(head).any(axis=1)]])
  nowhere = np.full(4, np.nan, np.float32)
  if not len(points):
    return nowhere
  box = np.concatenate([points.min(axis=0), points.max(axis=0)])
  if np.any(box[2:] - box[:2] < fields.THINNEST):
    return nowhere
  return geometry.enlarge(box, _JOINT_MARGIN).astype(np.float32)


def _noise_ids(
  split: prepared.Split,
  rows: Int[np.ndarray, "n"],
  tracks: Int[np.ndarray, "n"],
) -> np.ndarray:
  """A hash of video and track that no machine or run changes; 0 for no track."""
  hashes = [
    annotations.noise_id(split.videos[video], int(track))
    for video, track in zip(split.frames.video[rows], tracks, strict=True)
  ]
  return np.array(hashes, np.uint32)
