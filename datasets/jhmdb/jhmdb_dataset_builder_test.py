"""JHMDB as released becomes an open split; each list is a data set."""

import cv2
import numpy as np
import pytest
import scipy.io

from diffpose_jax.data import prepare, prepared


@pytest.fixture
def root(tmp_path):
  """Two clips of two frames each; split 2 swaps train and val."""
  folder = tmp_path / "jhmdb"
  for c, clip in enumerate(("a_clip", "b_clip")):
    points = np.full((2, 15, 2), 11.0 + c)
    for name, arrays in (
      ("joint_positions", {"pos_img": points, "scale": np.ones((1, 2))}),
      ("puppet_mask", {"part_mask": np.ones((23, 29, 2), np.uint8)}),
    ):
      path = folder / name / "catch" / clip / f"{name}.mat"
      path.parent.mkdir(parents=True)
      scipy.io.savemat(path, arrays)
    pictures = folder / "Rename_Images" / "catch" / clip
    pictures.mkdir(parents=True)
    for i in (1, 2):
      picture = np.full((23, 29, 3), 50 * i, np.uint8)
      cv2.imwrite(str(pictures / f"{i:05d}.png"), picture)
  (folder / "splits").mkdir()
  for number, (a, b) in ((1, (1, 2)), (2, (2, 1))):
    text = f"a_clip.avi {a}\nb_clip.avi {b}\n"
    path = folder / "splits" / f"catch_test_split{number}.txt"
    path.write_text(text)
  return folder


@pytest.mark.parametrize(
  ("dataset", "value"), [("jhmdb", 10.0), ("jhmdb_2", 11.0)]
)
def test_train_is_that_of_the_list(root, tmp_path, dataset, value):
  out = prepare.prepare(dataset=dataset, source=root, out=tmp_path / "out")
  assert prepared.split_names(out) == ["train", "val"]
  split = prepared.open_split(out, "train")
  joints = split.people.joints[split.people.labelled]
  assert np.all(joints == value)
  assert len(joints) == 2 * 14  # belly has no slot
  np.testing.assert_array_equal(split.people.box[0], [-0.5, -0.5, 28.5, 22.5])


def test_lists_that_are_not_there_are_named(root, tmp_path):
  with pytest.raises(ValueError, match=r"sub_split1.*there is train"):
    prepare.prepare(dataset="sub_jhmdb", source=root, out=tmp_path / "out")


def test_a_rewritten_set_has_one_division(tmp_path):
  (tmp_path / "rewritten" / "annotations").mkdir(parents=True)
  with pytest.raises(ValueError, match="--dataset=jhmdb"):
    prepare.prepare(
      dataset="jhmdb_3", source=tmp_path / "rewritten", out=tmp_path / "out"
    )
