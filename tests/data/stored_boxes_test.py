"""Stored boxes are those of the file, in every format, and change as one."""

import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pytest

from diffpose_jax import main
from diffpose_jax.data import (
  boxes,
  manifest,
  pipeline,
  prepare,
  prepared,
  stored_boxes,
)
from diffpose_jax.evaluation import evaluate
from diffpose_jax.pose import skeleton

SCORES = (0.7, 0.31, 0.9, 0.2, 0.69999)


def _rows():
  """(video, frame, x, y, w, h, score, track) of val, two people in a frame."""
  places = [(v, f) for v in (1, 0) for f in (2, 0, 1)]
  return [
    (v, f, 11 + 37 * p + f, 13 + v, 53.5, 71, SCORES[(3 * v + f + p) % 5], p)
    for v, f in places
    for p in (0, 1)
  ]


def _image(video, frame, split="val"):
  return f"images/{split}/{video:06d}_{split}/{frame:06d}.jpg"


def _coco(folder, rows):
  path = folder / "coco.json"
  records = [
    {
      "image_name": _image(v, f),
      "bbox": box,
      "score": score,
      "category_id": 1,
      "track_id": track,
    }
    for v, f, *box, score, track in rows
  ]
  path.write_text(json.dumps(records))
  return path


def _posetrack(folder, rows):
  path = folder / "posetrack.json"
  ids = {(v, f): 100 * v + f + 7 for v, f, *_ in rows}
  images = [{"id": i, "file_name": _image(*p)} for p, i in ids.items()]
  people = [
    {"image_id": ids[v, f], "bbox": box, "score": score, "track_id": track}
    for v, f, *box, score, track in rows
  ]
  record = {"images": images, "annotations": people, "categories": []}
  path.write_text(json.dumps(record))
  return path


def _csv(folder, rows):
  path = folder / "boxes.csv"
  lines = ["image,x,y,width,height,score,track_id"]
  lines += [f"{_image(v, f)},{','.join(map(str, r))}" for v, f, *r in rows]
  path.write_text("\n".join(lines) + "\n")
  return path


def _mot(folder, rows):
  path = folder / "mot"
  path.mkdir()
  for video in (0, 1):
    lines = [
      f"{f + 1},{track},{x + 1},{y + 1},{w},{h},{score},-1,-1,-1"
      for v, f, x, y, w, h, score, track in rows
      if v == video
    ]
    (path / f"{video:06d}_val.txt").write_text("\n".join(lines) + "\n")
  return path


FORMATS = {"coco": _coco, "posetrack": _posetrack, "csv": _csv, "mot": _mot}


@pytest.fixture
def source(tmp_path, scene):
  """Train of one video and val of two, three frames each."""
  scene.write(tmp_path / "source", "train", videos=1, frames=3)
  scene.write(tmp_path / "source", "val", videos=2, frames=3)
  return tmp_path / "source"


def _prepare(source, out, path=None):
  return prepare.prepare(
    dataset="posetrack18", source=source, out=out, boxes=path
  )


def _split(out, name="val"):
  return prepared.open_split(out, name, skeleton=skeleton.POSETRACK)


def _same(one, other):
  for field in dataclasses.fields(one):
    a, b = getattr(one, field.name), getattr(other, field.name)
    assert np.asarray(a).dtype == np.asarray(b).dtype, field.name
    np.testing.assert_array_equal(a, b, err_msg=field.name)


@pytest.mark.parametrize("kind", FORMATS)
def test_stored_boxes_are_those_of_the_file(
  source, tmp_path, kind, small_config
):
  rows = [*_rows(), (7, 0, 3, 5, 23, 29, 0.5, 0)]  # no picture of the set
  rows += [(0, 0, 900, 5, 23, 29, 0.5, 9)]  # beyond its picture
  path = FORMATS[kind](tmp_path, rows)
  out = _prepare(source, tmp_path / "out", path)
  split = _split(out)
  truth = prepared.to_videos(split)
  for threshold, kept in (
    (0.0, 12),
    (0.2, 12),
    (0.69999, 7),
    (0.7, 5),
    (1.0, 0),
  ):
    name, found = stored_boxes.read(split, threshold=threshold)
    assert name == path.name
    assert len(found.score) == kept
    assert (found.outside, found.below_threshold) == (1, 12 - kept)
    _same(found, boxes.read_boxes(path, truth, threshold=threshold))
  small_config.evaluate.box_threshold = 0.31
  people, clips = {}, {}
  for given in (str(path), "prepared"):
    small_config.evaluate.boxes = given
    chosen = evaluate.choose_people(split, truth, small_config)
    people[given] = chosen
    batches = pipeline.eval_batches(split, chosen[0], small_config, batch=5)
    clips[given] = list(batches)
  (one, said), (other, also) = people.values()
  assert said == also
  assert said["boxes"] == f"detections of {path.name}"
  assert len(one) == 10
  _same(one, other)
  for a, b in zip(*clips.values(), strict=True):
    assert a.keys() == b.keys()
    for key in a:
      np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def test_the_table_counts_boxes_by_split(source, tmp_path, capsys):
  rows = [(*row[:7], -1) for row in _rows()]
  path = _coco(tmp_path, rows)
  records = json.loads(path.read_text())
  records += [dict(records[0], image_name=_image(0, 1, "train"))] * 3
  records += [dict(records[0], image_name="images/test/x/000000.jpg")] * 5
  records += [dict(records[0], category_id=2)]
  path.write_text(json.dumps(records))
  out = _prepare(source, tmp_path / "out", path)
  lines = capsys.readouterr().out.splitlines()
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  assert lines[-1] == f"boxes: coco.json, sha256 {digest}"
  table = [line.split(None, 10) for line in lines[-4:-1]]
  assert table[0][7:] == ["boxes", "other", "boxes", "labels"]
  assert table[1][:1] + table[1][7:9] == ["train", "3", "17"]
  assert table[2][:1] + table[2][7:9] == ["val", "12", "8"]
  said = json.loads((out / "prepared.json").read_text())["boxes"]
  assert said["splits"]["val"] == {
    "boxes": 12,
    "unknown_images": 8,
    "other_categories": 1,
    "outside": 0,
  }
  assert (said["name"], said["sha256"]) == ("coco.json", digest)
  prepare.main(out=out, check=True)
  printed = capsys.readouterr().out
  assert "checking boxes-val.npz" in printed
  assert "\n".join(lines) in printed


def test_a_split_without_boxes_says_so(source, tmp_path, capsys):
  out = _prepare(source, tmp_path / "out", _coco(tmp_path, _rows()))
  table = capsys.readouterr().out.splitlines()
  train = next(line for line in table if line.split()[0] == "train")
  assert train.split()[7:9] == ["0", "12"]
  with pytest.raises(
    ValueError, match="are of val, none of split 'train'.*--b"
  ):
    stored_boxes.read(_split(out, "train"), threshold=0.0)


def test_none_stored_is_an_error_with_the_remedy(
  source, tmp_path, small_config
):
  out = _prepare(source, tmp_path / "out")
  small_config.evaluate.boxes = "prepared"
  split = _split(out)
  match = "out: no boxes are stored here; store them with: prepare .*--boxes="
  with pytest.raises(ValueError, match=match) as caught:
    evaluate.choose_people(split, prepared.to_videos(split), small_config)
  assert "\n" not in str(caught.value)
  # Known when a run begins, not when it ends.
  small_config.data.prepared = str(out)
  for root in ("", str(source)):
    small_config.data.root = root
    with pytest.raises(ValueError, match=match):
      prepare.ensure(small_config, tmp_path / "run")


def _state(out):
  return {
    p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in out.iterdir()
  }


def test_the_same_boxes_are_already_prepared(source, tmp_path, capsys):
  path = _coco(tmp_path, _rows())
  out = _prepare(source, tmp_path / "out", path)
  before = _state(out)
  for given in (path, None):
    capsys.readouterr()
    _prepare(source, out, given)
    printed = capsys.readouterr().out
    assert printed.endswith("with the boxes of coco.json\n")
    assert "already prepared" in printed
  assert _state(out) == before


def test_other_boxes_replace_them_and_leave_the_records(source, tmp_path):
  out = _prepare(source, tmp_path / "out")
  before = _state(out)
  _prepare(source, out, _coco(tmp_path, _rows()))
  added = _state(out)
  assert set(added) - set(before) == {"boxes-val.npz"}
  rows = [(0, 1, 3, 5, 23, 29, 0.5, 4)]
  records = json.loads(_coco(tmp_path, rows).read_text())
  records[0]["image_name"] = _image(0, 1, "train")
  other = tmp_path / "other.json"
  other.write_text(json.dumps(records))
  _prepare(source, out, other)
  after = _state(out)
  assert set(after) - set(before) == {"boxes-train.npz"}
  for name in set(before) - {"prepared.json"}:
    assert before[name] == added[name] == after[name]
  prepare.verify(out)
  name, found = stored_boxes.read(_split(out, "train"), threshold=0.0)
  assert (name, found.frame.tolist()) == ("other.json", [1])
  assert found.track_id.tolist() == [4]
  assert sorted(p.name for p in tmp_path.iterdir()) == [
    ".out.lock",
    "coco.json",
    "other.json",
    "out",
    "source",
  ]


def test_files_are_copied_where_they_cannot_be_linked(
  source, tmp_path, monkeypatch
):
  out = _prepare(source, tmp_path / "out")

  def refuse(path, target):
    raise PermissionError("no links here")

  monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
  _prepare(source, out, _coco(tmp_path, _rows()))
  prepare.verify(out)


def test_text_of_the_same_bytes_may_be_of_another_video(source, tmp_path):
  line = "frame_index,x,y,width,height\n1,3,5,23,29\n"
  out = tmp_path / "out"
  for video in (0, 1):
    path = tmp_path / f"{video:06d}_val" / "boxes.csv"
    path.parent.mkdir()
    path.write_text(line)
    _prepare(source, out, path)
    _, found = stored_boxes.read(_split(out), threshold=0.0)
    assert found.video.tolist() == [video]


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"image_name": "images/test/x/000000.jpg"}, "is of a known image"),
    ({"bbox": [1, 2, 3]}, "bbox"),
    ({"score": 90}, r"must be in \[0, 1\]"),
    ({"category_id": 3}, "no boxes of people"),
    # The id of two frames, one in each split.
    ({"image_name": None, "image_id": 2}, "is in 2 frames"),
  ],
)
def test_boxes_that_cannot_be_used_change_nothing(
  source, tmp_path, change, message
):
  out = _prepare(source, tmp_path / "out", _coco(tmp_path, _rows()))
  before = _state(out)
  record = json.loads(_coco(tmp_path, _rows()[:1]).read_text())[0] | change
  record = {key: v for key, v in record.items() if v is not None}
  wrong = tmp_path / "wrong.json"
  wrong.write_text(json.dumps([record]))
  with pytest.raises(ValueError, match=f"wrong.json.*{message}") as caught:
    _prepare(source, out, wrong)
  assert "\n" not in str(caught.value)
  assert _state(out) == before
  # Nor are records written for a file that cannot be read.
  if "bbox" in change:
    with pytest.raises(ValueError, match=message):
      _prepare(source, tmp_path / "new", wrong)
    assert not (tmp_path / "new").exists()


def test_a_file_that_is_not_there(source, tmp_path):
  for out in ("new", "new"):
    with pytest.raises(ValueError, match=r"absent\.json: no such file"):
      _prepare(source, tmp_path / out, tmp_path / "absent.json")
  assert not (tmp_path / "new").exists()
  out = _prepare(source, tmp_path / "out")
  with pytest.raises(ValueError, match=r"absent\.json: no such file"):
    _prepare(source, out, tmp_path / "absent.json")
  with pytest.raises(ValueError, match=r"no prepared\.json here"):
    stored_boxes.store(source, _coco(tmp_path, _rows()))


def test_records_made_anew_have_no_boxes(source, tmp_path, scene, capsys):
  path = _coco(tmp_path, _rows())
  out = _prepare(source, tmp_path / "out", path)
  scene.write(source, "test", videos=1, frames=2)
  capsys.readouterr()
  _prepare(source, out)
  printed = capsys.readouterr().out
  assert "the boxes of coco.json were stored for the older records" in printed
  assert stored_boxes.about(out) is None
  assert not list(out.glob("boxes-*"))
  _prepare(source, out, path)
  scene.write(source, "more", videos=1, frames=2)
  _prepare(source, out, path)
  _, found = stored_boxes.read(_split(out), threshold=0.0)
  assert len(found.score) == 12


def test_damaged_boxes_are_named(source, tmp_path):
  out = _prepare(source, tmp_path / "out", _coco(tmp_path, _rows()))
  path = out / "boxes-val.npz"
  whole = path.read_bytes()
  path.write_bytes(whole[:-1])
  with pytest.raises(ValueError, match=r"boxes-val\.npz: has .* bytes instead"):
    _split(out)
  path.write_bytes(whole[:80] + bytes([whole[80] ^ 1]) + whole[81:])
  with pytest.raises(ValueError, match=r"boxes-val\.npz: its bytes changed"):
    manifest.check(out)
  path.write_bytes(bytes(len(whole)))
  with pytest.raises(ValueError, match=r"boxes-val\.npz: is damaged"):
    stored_boxes.read(_split(out), threshold=0.0)


def test_rows_of_other_records_are_refused(source, tmp_path):
  out = _prepare(source, tmp_path / "out", _coco(tmp_path, _rows()))
  split = _split(out)
  with np.load(out / "boxes-val.npz") as file:
    columns = dict(file)
  for wrong in (
    columns | {"row": columns["row"] + 1},
    columns | {"row": columns["row"] - 1},
    columns | {"score": columns["score"][1:]},
    {"row": columns["row"]},
  ):
    np.savez_compressed(out / "boxes-val.npz", allow_pickle=False, **wrong)
    with pytest.raises(ValueError, match=r"boxes-val\.npz: does not belong"):
      stored_boxes.read(split, threshold=0.0)


def test_the_command_line_takes_boxes(source, tmp_path, capsys):
  path = _coco(tmp_path, _rows())
  flags = ["prepare", "--dataset=posetrack18", f"--source={source}"]
  flags += [f"--out={tmp_path / 'out'}", f"--boxes={path}"]
  assert main.main(flags) == 0
  assert "boxes: coco.json" in capsys.readouterr().out
  shutil.copy(path, tmp_path / "copy.txt")
  assert main.main([*flags[:-1], f"--boxes={tmp_path / 'copy.txt'}"]) == 2
  line = capsys.readouterr().err
  assert line.startswith("diffpose_jax: error: ") and line.count("\n") == 1


def test_real_detections_are_stored(shared_data, tmp_path, capsys):
  source = shared_data / "posetrack18_mini"
  path = source / "annotations" / "test_posetrack18_human_detections.json"
  out = _prepare(source, tmp_path / "out", path)
  assert " 278 " in capsys.readouterr().out
  split = _split(out)
  truth = prepared.to_videos(split)
  _, found = stored_boxes.read(split, threshold=0.2)
  _same(found, boxes.read_boxes(path, truth, threshold=0.2))
  assert len(found.score) + found.below_threshold == 278
