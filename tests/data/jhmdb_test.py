"""Small faithful copies of the release; expected values by hand."""

import dataclasses
import json
import pathlib

import cv2
import numpy as np
import pytest
import scipy.io

from diffpose_jax.data import annotations, jhmdb, layout
from diffpose_jax.pose import skeleton

H, W, T = 53, 71, 3
ACTION, CLIP = "catch", "Torwart_(1)@_catch_f_cm_np1_ri_med_0"
SCALE = 0.5  # puppets of 26.5 pixels here
POSETRACK = skeleton.POSETRACK


def positions(frames: int = T) -> np.ndarray:
  """pos_img: joint k of frame t at (10 + 2k + t, 40 − k − t) in MATLAB."""
  k, t = np.mgrid[:15, :frames]
  return np.stack([10 + 2.0 * k + t, 40.0 - k - t])


def mask(frames: int = T) -> np.ndarray:
  """part_mask: rows 7 to 45, columns 5 + t to 60, with a hole in it."""
  result = np.zeros((H, W, frames), np.uint8)
  for t in range(frames):
    result[7:46, 5 + t : 61, t] = 1
    result[20:30, 20:30, t] = 0
  return result


@dataclasses.dataclass(frozen=True)
class Root:
  """A data root that clips are written into."""

  path: pathlib.Path

  def file(self, folder: str, *, clip: str = CLIP) -> pathlib.Path:
    """The one annotation file, or the pictures' folder, of the clip."""
    inner = self.path / folder / ACTION / clip
    return inner if folder == "Rename_Images" else inner / f"{NAMES[folder]}"

  def clip(self, *, clip: str = CLIP, pictures: int = T, masks=None, **joints):
    arrays = {
      "pos_img": positions(),
      "pos_world": positions(),
      "scale": np.full((1, T), SCALE),
      "viewpoint": "NNW",
    } | joints
    self.save("joint_positions", arrays, clip=clip)
    masks = mask() if masks is None else masks
    self.save("puppet_mask", {"part_mask": masks}, clip=clip)
    folder = self.file("Rename_Images", clip=clip)
    folder.mkdir(parents=True)
    for number in range(1, pictures + 1):
      picture = np.full((H, W, 3), number, np.uint8)
      assert cv2.imwrite(str(folder / f"{number:05d}.png"), picture)

  def save(self, folder: str, arrays: dict, *, clip: str = CLIP):
    path = self.file(folder, clip=clip)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {k: v for k, v in arrays.items() if v is not None}
    scipy.io.savemat(path, arrays, do_compression=True)

  def write_list(
    self, text: str, *, name: str = f"splits/{ACTION}_test_split1.txt"
  ):
    path = self.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())

  def read(self, split: str = "train") -> list[annotations.Video]:
    return jhmdb.read_split(self.path, split, skeleton=POSETRACK)

  def frames(self) -> tuple[annotations.Frame, ...]:
    (video,) = self.read()
    return video.frames


def edges(frame: annotations.Frame) -> list[float]:
  """The box of the only person."""
  (person,) = frame.people
  assert person.box is not None
  return person.box.tolist()


NAMES = {
  "joint_positions": "joint_positions.mat",
  "puppet_mask": "puppet_mask.mat",
}


@pytest.fixture
def root(tmp_path):
  root = Root(tmp_path)
  root.write_list(f"{CLIP}.avi 1\n")
  return root


def test_a_clip_is_read_as_the_release_has_it(root):
  root.clip()
  (video,) = root.read()
  assert video.name == CLIP
  assert [f.file_name for f in video.frames] == [
    f"Rename_Images/{ACTION}/{CLIP}/0000{n}.png" for n in (1, 2, 3)
  ]
  for t, frame in enumerate(video.frames):
    assert frame.labelled and (frame.height, frame.width) == (H, W)
    (person,) = frame.people
    # MATLAB's 10 is the program's 9: the first pixel's centre is 1 there.
    for joint, k in (
      ("head_bottom", 0),  # neck
      ("nose", 2),  # face
      ("right_shoulder", 3),
      ("left_shoulder", 4),
      ("right_hip", 5),
      ("left_hip", 6),
      ("right_elbow", 7),
      ("left_elbow", 8),
      ("right_knee", 9),
      ("left_knee", 10),
      ("right_wrist", 11),
      ("left_wrist", 12),
      ("right_ankle", 13),
      ("left_ankle", 14),
    ):
      index = POSETRACK.index(joint)
      assert person.labelled[index], joint
      assert person.joints[index].tolist() == [9 + 2 * k + t, 39 - k - t]
    for joint in ("head_top", "left_ear", "right_ear"):
      index = POSETRACK.index(joint)
      assert not person.labelled[index]
      assert person.joints[index].tolist() == [0, 0]
    # Columns 5 + t to 60 and rows 7 to 45, to their outer edges.
    assert edges(frame) == [4.5 + t, 6.5, 60.5, 45.5]
    # 0.16 and 0.20 of 26.5 pixels around the face, (13 + t, 37 − t).
    assert person.head_box is not None
    np.testing.assert_allclose(
      person.head_box,
      [13 + t - 2.12, 37 - t - 2.65, 13 + t + 2.12, 37 - t + 2.65],
      rtol=1e-6,
    )
    assert person.box is not None and person.box.dtype == np.float32
    assert person.joints.dtype == np.float32
    assert person.track_id == 0 and person.occluded is None


def test_pictures_are_where_frames_say(root):
  root.clip()
  (video,) = root.read()
  assert layout.present(root.path, video) == [0, 1, 2]


def test_other_skeletons_take_the_joints_that_they_have(root):
  root.clip()
  own = dataclasses.replace(
    POSETRACK, name="own", joints=("belly", "neck", "tail", "face")
  )
  (video,) = jhmdb.read_split(root.path, "train", skeleton=own)
  (person,) = video.frames[0].people
  assert person.joints.tolist() == [[11, 38], [9, 39], [0, 0], [13, 37]]
  assert person.labelled.tolist() == [True, True, False, True]
  none = dataclasses.replace(POSETRACK, name="fish", joints=("tail", "fin"))
  with pytest.raises(ValueError, match="none of its joints .* fish's"):
    jhmdb.read_split(root.path, "train", skeleton=none)


def test_joints_are_inside_up_to_the_outermost_centres(root):
  points = positions()
  # left_ankle: the last pixel's centre, MATLAB's (W, H), is inside.
  points[:, 14, 0] = W, H
  points[:, 14, 1] = W + 0.5, H
  points[:, 14, 2] = 1, 0.9
  # right_ankle: the first pixel's centre, (1, 1), is inside.
  points[:, 13, 0] = 1, 1
  points[:, 13, 1] = -200, 30
  points[:, 13, 2] = 30, H + 1e-6  # rounding of the file's numbers
  root.clip(pos_img=points)
  left, right = POSETRACK.index("left_ankle"), POSETRACK.index("right_ankle")
  people = [frame.people[0] for frame in root.frames()]
  assert [p.labelled[left] for p in people] == [True, False, False]
  assert [p.labelled[right] for p in people] == [True, False, True]
  assert people[0].joints[left].tolist() == [W - 1, H - 1]
  assert people[0].joints[right].tolist() == [0, 0]
  assert people[1].joints[left].tolist() == [0, 0]
  assert sum(p.labelled.sum() for p in people) == 3 * 14 - 3


@pytest.mark.parametrize("why", ["no file", "empty", "too short"])
def test_without_a_mask_the_box_is_the_grown_extent_of_the_joints(root, why):
  masks = mask()
  masks[..., 2] = 0
  root.clip(masks=masks[..., :2] if why == "too short" else masks)
  if why == "no file":
    root.file("puppet_mask").unlink()
  frames = root.frames()
  # Frame 3: x from 11 to 39, y from 23 to 37; 26.5 × (0.05, 0.10) around it.
  np.testing.assert_allclose(
    edges(frames[2]),
    [11 - 1.325, 23 - 2.65, 39 + 1.325, 37 + 2.65],
    rtol=1e-6,
  )
  is_masked = edges(frames[0]) == [4.5, 6.5, 60.5, 45.5]
  assert is_masked == (why != "no file")


def test_a_box_of_joints_ends_at_the_picture(root):
  points = positions()
  points[:, 0, 0] = 1.5, 1.5
  points[:, 1, 0] = W, H
  points[:, 2, 0] = 3 * W, H  # outside: does not count
  root.clip(pos_img=points)
  root.file("puppet_mask").unlink()
  assert edges(root.frames()[0]) == [
    -0.5,
    -0.5,
    W - 0.5,
    H - 0.5,
  ]


def test_who_left_the_picture_is_no_person(root):
  points, masks = positions(), mask()
  points[0, :, 1:] += 500
  masks[..., 2] = 0
  root.clip(pos_img=points, masks=masks)
  frames = root.frames()
  assert [len(frame.people) for frame in frames] == [1, 1, 0]
  assert all(frame.labelled for frame in frames)
  # What the mask alone shows is a person without a joint.
  assert not frames[1].people[0].labelled.any()
  assert edges(frames[1]) == [5.5, 6.5, 60.5, 45.5]


def test_one_frame_has_lost_its_last_axis(root):
  root.clip(
    pos_img=positions()[..., 0],
    scale=np.array([[SCALE]]),
    masks=mask()[..., 0],
    pictures=1,
  )
  (frame,) = root.frames()
  nose = POSETRACK.index("nose")
  assert frame.people[0].joints[nose].tolist() == [13, 37]
  assert edges(frame) == [4.5, 6.5, 60.5, 45.5]


def test_pictures_beyond_the_labels_are_neighbours(root):
  root.clip(pictures=7)
  (root.file("Rename_Images") / "00005.png").unlink()
  (root.file("Rename_Images") / "._00009.png").write_bytes(b"a Mac's")
  (root.file("Rename_Images") / "Thumbs.db").write_bytes(b"a PC's")
  frames = root.frames()
  assert [frame.labelled for frame in frames] == [True] * 3 + [False] * 4
  assert all(not frame.people for frame in frames[3:])
  # Frame n stays the n-th; what is not there is passed over when pictures are
  # looked for.
  assert frames[4].file_name.endswith("/00005.png")
  (video,) = root.read()
  assert layout.present(root.path, video) == [0, 1, 2, 3, 5, 6]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_labelled_frame_without_a_picture_is_refused(root, number):
  root.clip()
  (root.file("Rename_Images") / f"0000{number}.png").unlink()
  with pytest.raises(
    ValueError, match=rf"0000{number}\.png: picture .* \(1 of 3 are\)"
  ):
    root.read()


def test_splits_are_named_by_part_and_number(tmp_path):
  root = Root(tmp_path)
  root.write_list("a_catch.avi 1\r\n\r\nb_catch.avi 2 \r\n")
  root.write_list("d_run.avi 2\n", name="splits/run_test_split1.txt")
  root.write_list("a_catch.avi 2\n", name="splits/catch_test_split2.txt")
  root.write_list("b_catch.avi\t1\n", name="splits/catch_test_split3.txt")
  root.write_list("a_catch.avi 1\n", name="sub_splits/catch_test_split_1.txt")
  root.write_list("a_catch.avi 2\n", name="sub_splits/catch_test_split_2.txt")
  root.write_list("\0\0", name="splits/._catch_test_split1.txt")
  root.write_list("How to split.", name="splits/README.txt")
  assert jhmdb.splits(tmp_path) == [
    "train", "val", "val_2", "train_3", "sub_train", "sub_val_2"
  ]  # fmt: skip


def test_clips_go_to_their_split_by_name(root):
  names = ["b_catch", "a_catch", "c_catch"]
  root.write_list("b_catch.avi 1\nc_catch.avi 2\na_catch.avi 1\n")
  root.write_list(
    "a_catch.avi 2\n", name=f"sub_splits/{ACTION}_test_split_1.txt"
  )
  for name in names:
    root.clip(clip=name)
  train, val, sub = root.read("train"), root.read("val"), root.read("sub_val")
  assert [video.name for video in train] == ["a_catch", "b_catch"]
  assert [video.name for video in val] == ["c_catch"]
  ids = [f.image_id for v in train + val for f in v.frames]
  assert len(set(ids)) == 9 and max(ids) < 2**53
  # A picture has one id, whatever the split.
  assert [f.image_id for f in sub[0].frames] == ids[:3]
  with pytest.raises(ValueError, match="no split 'test'; there is train, val"):
    root.read("test")


def test_a_root_without_lists_is_told_what_was_looked_for(tmp_path):
  with pytest.raises(
    ValueError, match=r"has no list of clips: looked for .*_test_split<n>\.txt"
  ):
    jhmdb.splits(tmp_path)
  with pytest.raises(ValueError, match="no_such does not exist: looked for"):
    jhmdb.splits(tmp_path / "no_such")


@pytest.mark.parametrize(
  "line",
  [
    "a.avi",
    "a.avi 3",
    "a.avi 0",
    "a 1",
    ".avi 1",
    "../../etc/a.avi 1",
    "..\\a.avi 1",
    ".a.avi 1",
    "a\0.avi 1",
    "a.avi 1 2",
  ],
)
def test_a_bad_line_of_a_list_is_named(root, line):
  root.write_list(f"b_catch.avi 1\n{line}\n")
  with pytest.raises(
    ValueError, match=r"catch_test_split1\.txt: line 2: .* is not `<clip>"
  ):
    jhmdb.splits(root.path)


@pytest.mark.parametrize("part", [1, 2])
def test_a_clip_that_is_listed_twice_is_refused(root, part):
  root.write_list(f"a_catch.avi 1\nb_catch.avi 2\na_catch.avi {part}\n")
  with pytest.raises(ValueError, match=r"line 3: clip a_catch .* line 1\)"):
    jhmdb.splits(root.path)


def test_a_list_that_is_no_text_is_refused(root):
  path = root.path / "splits" / "run_test_split1.txt"
  path.write_bytes(b"a_run.avi 1\n\xff\xfe")
  with pytest.raises(ValueError, match=r"run_test_split1\.txt: cannot be read"):
    jhmdb.splits(root.path)


def changed(points, joint, frame, value):
  points = points.copy()
  points[0, joint, frame] = value
  return points


@pytest.mark.parametrize(
  ("arrays", "message"),
  [
    ({"pos_img": positions()[:, :14]}, "pos_img is 2 x 14 x 3; it must be"),
    ({"pos_img": positions().transpose(1, 0, 2)}, "pos_img is 15 x 2 x 3"),
    ({"pos_img": positions()[..., None]}, "pos_img is 2 x 15 x 3 x 1"),
    ({"pos_img": positions()[..., :0]}, "pos_img is 2 x 15 x 0"),
    ({"pos_img": None}, "0 variables 'pos_img'"),
    ({"scale": None}, "0 variables 'scale'"),
    ({"scale": np.full((1, 2), SCALE)}, "scale is 1 x 2, but pos_img has 3"),
    ({"scale": np.array([[1, 0, 1.0]])}, "scale of frame 2 is 0; it must"),
    ({"scale": np.array([[1, 1, np.nan]])}, "scale of frame 3 is nan"),
    (
      {"pos_img": changed(positions(), 9, 1, np.nan)},
      r"pos_img: right_knee of frame 2 is \(nan, 30\.0\)",
    ),
    (
      {"pos_img": changed(positions(), 0, 0, -np.inf)},
      r"pos_img: neck of frame 1 is \(-inf, 40\.0\)",
    ),
    (
      {"pos_img": changed(positions(), 0, 2, 1e30)},
      "pos_img: neck of frame 3 is",
    ),
    ({"pos_img": np.array([{"a": 1}], object)}, "pos_img is cells"),
  ],
)
def test_unsound_joints_are_named(root, arrays, message):
  root.clip(**arrays)
  with pytest.raises(
    ValueError, match=rf"{ACTION}/.*/joint_positions\.mat: {message}"
  ) as error:
    root.read()
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("masks", "message"),
  [
    (np.ones((H, W - 1, T)), f"{H} x {W - 1} x 3, but .* 3 pictures of {H} x"),
    (np.ones((H, W, T + 1)), f"part_mask is {H} x {W} x 4"),
    (np.ones((T, H, W, 1)), f"part_mask is 3 x {H} x {W} x 1"),
    (np.full((H, W, T), np.nan), "part_mask is not finite"),
  ],
)
def test_unsound_masks_are_named(root, masks, message):
  root.clip(masks=masks)
  with pytest.raises(ValueError, match=rf"puppet_mask\.mat: .*{message}"):
    root.read()


@pytest.mark.parametrize("folder", ["joint_positions", "puppet_mask"])
def test_cut_files_are_named(root, folder):
  root.clip()
  path = root.file(folder)
  path.write_bytes(path.read_bytes()[:-20])
  with pytest.raises(ValueError, match=rf"{folder}\.mat: .*(cut off|damaged)"):
    root.read()


def test_absent_files_are_named(root):
  with pytest.raises(ValueError, match=r"joint_positions\.mat: no such file"):
    root.read()
  root.save(
    "joint_positions",
    {"pos_img": positions(), "scale": np.full((1, T), SCALE)},
  )
  with pytest.raises(
    ValueError, match=r": no pictures of clip Torwart.*line 1"
  ):
    root.read()


def test_pictures_from_zero_and_no_pictures_at_all_are_refused(root):
  root.clip()
  first = root.file("Rename_Images") / "00001.png"
  first.write_bytes(b"")
  with pytest.raises(ValueError, match=r"00001\.png: picture is empty"):
    root.read()
  first.rename(first.with_name("00000.png"))
  with pytest.raises(ValueError, match=r"00000\.png: JHMDB's pictures begin"):
    root.read()


def test_both_layouts_give_the_same_people(tmp_path, shared_data):
  """A real clip in PoseTrack18's layout, taken back to the release's."""
  source = shared_data / "jhmdb"
  manifest = json.loads((source / "manifest_val.json").read_text())
  clip = next(clip for clip in manifest if not clip["full_body"])
  path = source / "annotations" / "val" / f"{clip['vid']}.json"
  expected = annotations.read_video(path, skeleton=POSETRACK).frames
  names = [
    {"neck": "head_bottom", "face": "nose"}.get(n, n) for n in jhmdb.JOINTS
  ]
  count = len(expected)
  points = np.full((2, 15, count), 400.0)  # outside; so is the belly
  masks = np.zeros((240, 320, count), np.uint8)
  for t, frame in enumerate(expected):
    (person,) = frame.people
    for k, name in enumerate(names):
      if name in POSETRACK.joints and person.labelled[POSETRACK.index(name)]:
        points[:, k, t] = person.joints[POSETRACK.index(name)] + 1
    left, top, right, bottom = map(int, edges(frame))
    masks[top:bottom, left:right, t] = 1
  root = Root(tmp_path)
  root.write_list(f"{CLIP}.avi 2\n")
  root.clip(
    pos_img=points,
    scale=np.full((1, count), clip["puppet_scale"]),
    masks=masks,
    pictures=0,
  )
  for n in range(1, count + 1):
    picture = np.zeros((240, 320, 3), np.uint8)
    cv2.imwrite(str(root.file("Rename_Images") / f"{n:05d}.png"), picture)
  (video,) = root.read("val")
  assert len(video.frames) == count
  unlabelled = 0
  for got, want in zip(video.frames, expected, strict=True):
    (a,), (b,) = got.people, want.people
    np.testing.assert_array_equal(a.labelled, b.labelled)
    np.testing.assert_allclose(a.joints, b.joints, atol=1e-4)
    # That layout's x + w counts pixels: edges lie half a pixel farther on.
    np.testing.assert_array_equal(np.add(edges(got), 0.5), edges(want))
    if a.labelled[POSETRACK.index("nose")]:
      assert a.head_box is not None and b.head_box is not None
      np.testing.assert_allclose(a.head_box, b.head_box, atol=0.01)
    unlabelled += int((~a.labelled).sum())
  assert unlabelled > 3 * count
