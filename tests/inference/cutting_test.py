"""People are cut out by their own boxes, or by those they share."""

# pyright: reportArgumentType=false, reportOptionalIterable=false
# pyright: reportOptionalSubscript=false

import cv2
import numpy as np
import pytest

from diffpose_jax.data import pyramid, sources, video
from diffpose_jax.inference import boxes_in, cutting, flow, shared_boxes
from diffpose_jax.pose import geometry

BOX = np.array([30.5, 40, 91, 130], np.float32)


@pytest.fixture
def shown(dots):
  """A function that makes a frame with its neighbours."""
  pictures = [dots.frame(i) for i in range(11)]
  job = dots.job([])

  def make(index, boxes, views=None):
    rows = np.clip([index - 1, index, index + 1], 0, 10).tolist()
    window = [(row, row / 10, pictures[row]) for row in rows]
    frame = flow.Shown(
      *(job, index, index / 10, dots.SIZE, pictures[index], window)
    )
    frame.boxes = [boxes_in.Box(box, 0.5, i) for i, box in enumerate(boxes)]
    frame.views = views
    return frame

  return make


def _affine(box, config):
  large = geometry.enlarge(np.asarray(box, np.float64), 1.25)
  return geometry.crop_affine(large, tuple(config.data.size))


def test_by_their_own_boxes(dots, shown):
  config = dots.Estimator().config
  frame = shown(4, [BOX, BOX + 7])
  cutter = cutting.Cutter(frame.job, config)
  asked = cutter(frame)
  for one, box in zip(asked, (BOX, BOX + 7), strict=True):
    affine = _affine(box, config)
    pyramids = [pyramid.Pyramid(picture) for _, _, picture in frame.window]
    wanted = pyramid.cut(pyramids, affine, (64, 48))
    np.testing.assert_array_equal(one.clip, wanted)
    inverse = geometry.invert(affine)
    np.testing.assert_allclose(one.to_picture, inverse, rtol=1e-12)
  assert [one.person for one in asked] == frame.boxes


def test_by_shared_boxes_each_look_is_cut_once(dots, shown, monkeypatch):
  config = dots.Estimator().config
  cuts = []
  cut = pyramid.cut

  def spy(frames, *others):
    cuts.append(len(frames))
    return cut(frames, *others)

  monkeypatch.setattr(pyramid, "cut", spy)
  own = BOX + np.array([3, -2, 3, -2], np.float32)
  still = shared_boxes.View(BOX.astype(np.float64), 5)
  frames = [shown(i, [own], [still]) for i in range(11)]
  cutter = cutting.Cutter(frames[0].job, config)
  affine = _affine(BOX, config)
  for frame in frames:
    [one] = cutter(frame)
    assert one.person.box is own
    np.testing.assert_allclose(
      one.to_picture, geometry.invert(affine), rtol=1e-12
    )
    for look, (index, _, picture) in zip(one.clip, frame.window, strict=True):
      assert look.key == ("walk", 5, index)
      wanted = cut([pyramid.Pyramid(picture)], affine, (64, 48))[0]
      np.testing.assert_array_equal(look.crop, wanted)
    # No more than a window is kept.
    assert len(cutter._seen) <= 3 and len(cutter._pyramids) <= 3
  assert sum(cuts) == 11


def test_jpegs_are_shrunk_as_in_training(dots, tmp_path):
  """Out of the files themselves."""
  for index in range(3):
    picture = np.repeat(dots.frame(index), 3, axis=0)
    cv2.imwrite(str(tmp_path / f"{index}.jpg"), picture)
  [source] = sources.find(tmp_path)
  window = list(video.read(source))
  job = dots.job([])
  job.source = source
  frame = flow.Shown(job, 1, 0.04, (540, 240), window[1][2], window)
  frame.boxes = [boxes_in.Box(np.array([3, 9, 200, 500], np.float32))]
  config = dots.Estimator().config
  [one] = cutting.Cutter(job, config)(frame)
  files = [tmp_path / f"{index}.jpg" for index in range(3)]
  pictures = [picture for _, _, picture in window]
  affine = _affine(frame.boxes[0].box, config)
  wanted = pyramid.cut(
    list(map(pyramid.Pyramid, pictures, files)), affine, (64, 48)
  )
  np.testing.assert_array_equal(one.clip, wanted)
  other = pyramid.cut(list(map(pyramid.Pyramid, pictures)), affine, (64, 48))
  assert np.any(one.clip != other)


def test_another_box_is_another_look(dots, shown):
  views = [
    shared_boxes.View(BOX.astype(np.float64) + shift, shift) for shift in (0, 9)
  ]
  frame = shown(4, [BOX, BOX], views)
  one, other = cutting.Cutter(frame.job, dots.Estimator().config)(frame)
  assert {look.key for look in one.clip} & {
    look.key for look in other.clip
  } == (set())
  assert (one.clip[1].crop != other.clip[1].crop).any()
