"""Preparing checks first, is whole or nothing, and runs once."""

import json

import cv2
import pytest
from tensorflow_datasets.core import shuffle as tfds_shuffle

from diffpose_jax import config as config_lib
from diffpose_jax.data import build, prepare, prepared, records, synthetic
from diffpose_jax.pose import skeleton


def _prepare(tmp_path, out="out"):
  return prepare.prepare(
    dataset="posetrack18", source=tmp_path / "source", out=tmp_path / out
  )


def _names(folder):
  """What lies in a folder, without the lock, which stays."""
  return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


def test_the_table_counts_by_hand(tmp_path, scene, capsys):
  scene.write(
    tmp_path / "source", "train", labelled=lambda f: f in (2, 3), missing=(0,)
  )
  _prepare(tmp_path)
  lines = capsys.readouterr().out.splitlines()
  # 2 videos of 7 frames less one each; 2 x 2 people with 17 joints.
  assert [" ".join(line.split()) for line in lines] == [
    "split videos frames labelled people joints missing labels",
    "train 2 12 4 4 68 2 subset of 2 videos (593 in PoseTrack18)",
  ]
  assert _names(tmp_path) == ["out", "source"]


def test_a_set_of_any_size_is_written_in_order(tmp_path, scene, monkeypatch):
  # TFDS's own way keeps so many bytes in memory, and more with TensorFlow only.
  monkeypatch.setattr(tfds_shuffle, "MAX_MEM_BUFFER_SIZE", 1000)
  monkeypatch.setattr(records, "_SHARD", 5)
  scene.write(tmp_path / "source", "train")
  out = _prepare(tmp_path)
  assert len(list(out.glob("*array_record*"))) == 3
  split = prepared.open_split(out, "train")
  assert split.frames.video.tolist() == [0] * 7 + [1] * 7
  assert split.frames.frame_index.tolist() == [*range(7)] * 2
  for row, name in enumerate(split.frames.file_name):
    assert split.jpeg(row) == (tmp_path / "source" / name).read_bytes()


def test_a_second_time_does_nothing(tmp_path, scene, capsys):
  scene.write(tmp_path / "source", "val", videos=1, frames=2)
  out = _prepare(tmp_path)
  before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
  capsys.readouterr()
  _prepare(tmp_path)
  assert "already prepared" in capsys.readouterr().out
  assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_a_changed_source_is_prepared_again(tmp_path, scene):
  scene.write(tmp_path / "source", "val", videos=1, frames=2)
  out = _prepare(tmp_path)
  scene.write(tmp_path / "source", "train", videos=1, frames=3)
  assert _prepare(tmp_path) == out
  assert prepared.split_names(out) == ["train", "val"]
  assert _names(tmp_path) == ["out", "source"]


def _as_png(path):
  picture = cv2.imread(str(path))
  assert picture is not None
  path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())


@pytest.mark.parametrize(
  ("spoil", "message"),
  [
    (lambda p: p.unlink(), "picture of a labelled frame"),
    (lambda p: p.write_bytes(b""), "empty"),
    (lambda p: p.write_bytes(b"GIF89a"), "neither JPEG nor PNG"),
    (_as_png, "not what its name says"),
    (lambda p: p.write_bytes(p.read_bytes()[:-50]), "truncated"),
  ],
)
def test_a_broken_picture_is_named_and_nothing_is_left(
  tmp_path, scene, spoil, message
):
  scene.write(tmp_path / "source", "val", videos=1, frames=3)
  picture = next((tmp_path / "source").rglob("000001.jpg"))
  spoil(picture)
  with pytest.raises(ValueError, match=rf"000001\.jpg: .*{message}") as caught:
    _prepare(tmp_path)
  assert "\n" not in str(caught.value)
  assert _names(tmp_path) == ["source"]


def test_a_failure_leaves_the_old_set(tmp_path, scene):
  scene.write(tmp_path / "source", "val", videos=1, frames=3)
  out = _prepare(tmp_path)
  next((tmp_path / "source").rglob("000001.jpg")).write_bytes(b"")
  with pytest.raises(ValueError, match="empty"):
    _prepare(tmp_path)
  split = prepared.open_split(out, "val", skeleton=skeleton.POSETRACK)
  assert len(split.jpeg(1)) > 100


def test_json_that_is_none_is_named(tmp_path, scene):
  scene.write(tmp_path / "source", "val", videos=1, frames=1)
  next((tmp_path / "source").rglob("*.json")).write_text("{")
  with pytest.raises(ValueError, match=r"000000_val\.json"):
    _prepare(tmp_path)
  assert _names(tmp_path) == ["source"]


def test_picture_of_another_size_is_refused(tmp_path, scene):
  scene.write(tmp_path / "source", "val", videos=1, frames=1)
  path = next((tmp_path / "source").rglob("*.json"))
  record = json.loads(path.read_text())
  record["images"][0]["width"] += 2
  path.write_text(json.dumps(record))
  with pytest.raises(ValueError, match=r"picture is 211x149 .* says 213x149"):
    _prepare(tmp_path)


def test_a_folder_of_something_else_is_not_replaced(tmp_path, scene):
  scene.write(tmp_path / "source", "val", videos=1, frames=1)
  (tmp_path / "out").mkdir()
  (tmp_path / "out" / "thesis.tex").write_text("years of work")
  with pytest.raises(ValueError, match="not empty and not a prepared set"):
    _prepare(tmp_path)
  assert (tmp_path / "out" / "thesis.tex").is_file()


def test_what_an_interruption_left_is_removed(tmp_path, scene):
  scene.write(tmp_path / "source", "val", videos=1, frames=1)
  (tmp_path / ".out.partial").mkdir()
  (tmp_path / ".out.partial" / "junk").write_text("half")
  _prepare(tmp_path)
  assert _names(tmp_path) == ["out", "source"]


def test_configs_take_the_data_sets_that_have_posetracks_joints():
  trained = set(config_lib.CHOICES["data.name"])
  assert set(build.DATASETS) == trained | {"coco", "custom"}


def test_unknown_dataset_is_refused(tmp_path):
  with pytest.raises(ValueError, match=r"'imagenet' is not known.*posetrack18"):
    prepare.prepare(dataset="imagenet", source=tmp_path, out=tmp_path / "o")


def test_unreadable_pictures_are_skipped_within_the_budget(
  tmp_path, scene, capsys
):
  scene.write(tmp_path / "source", "val", videos=1, frames=5)
  pictures = sorted((tmp_path / "source").rglob("*.jpg"))
  pictures[1].write_bytes(b"")
  where = {"dataset": "posetrack18", "source": tmp_path / "source"}
  with pytest.raises(ValueError, match=r"000001\.jpg: .*empty"):
    prepare.main(**where, out=tmp_path / "out", skip=0.19)  # 0.95 of a frame
  prepare.main(**where, out=tmp_path / "out", skip=0.2)
  assert "left out: " + str(pictures[1]) in capsys.readouterr().out
  split = prepared.open_split(tmp_path / "out", "val")
  assert split.frames.frame_index.tolist() == [0, 2, 3, 4]
  pictures[3].write_bytes(b"GIF89a")
  with pytest.raises(ValueError, match=r"000003\.jpg: .*neither JPEG nor PNG"):
    prepare.main(**where, out=tmp_path / "out", skip=0.2)


def test_a_set_that_lacks_pictures_is_not_current_for_a_stricter_call(
  tmp_path, scene, capsys
):
  scene.write(tmp_path / "source", "val", videos=1, frames=5)
  picture = sorted((tmp_path / "source").rglob("*.jpg"))[1]
  picture.write_bytes(b"")
  where = {"dataset": "posetrack18", "source": tmp_path / "source"}
  out = tmp_path / "out"
  prepare.main(**where, out=out, skip=0.2)
  stamp = (out / "prepared.json").stat().st_mtime_ns
  for skip in (0.2, 0.5):
    capsys.readouterr()
    prepare.main(**where, out=out, skip=skip)
    printed = capsys.readouterr().out
    assert "already prepared" in printed
    assert "without 1 pictures that did not decode" in printed
  with pytest.raises(ValueError, match=r"000001\.jpg: .*empty"):
    prepare.main(**where, out=out, skip=0.19)
  printed = capsys.readouterr().out
  assert "was prepared with --skip=0.2 and lacks 1 pictures" in printed
  with pytest.raises(ValueError, match=r"000001\.jpg: .*empty"):
    prepare.main(**where, out=out)
  # What is there stays: a run goes on with what was accepted before.
  assert (out / "prepared.json").stat().st_mtime_ns == stamp
  config = config_lib.default()
  config.data.prepared, config.data.root = str(out), str(tmp_path / "source")
  assert prepare.ensure(config, tmp_path / "run") == out
  assert "without 1 pictures" in capsys.readouterr().out
  # Where nothing was left out, a share that may be makes no difference.
  picture.write_bytes((picture.parent / "000002.jpg").read_bytes())
  prepare.main(**where, out=out, skip=0.2)
  stamp = (out / "prepared.json").stat().st_mtime_ns
  prepare.main(**where, out=out)
  assert (out / "prepared.json").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("skip", [-0.1, 1.0])
def test_a_budget_that_is_no_share_is_refused(tmp_path, skip):
  with pytest.raises(ValueError, match="share, from 0 to below 1"):
    prepare.prepare(
      dataset="posetrack18", source=tmp_path, out=tmp_path / "o", skip=skip
    )


def test_check_prints_the_table_or_names_the_file(tmp_path, scene, capsys):
  scene.write(tmp_path / "source", "val", videos=1, frames=3)
  out = _prepare(tmp_path)
  table = capsys.readouterr().out
  prepare.main(out=out, check=True)
  assert table in capsys.readouterr().out
  shard = next(p for p in out.iterdir() if "array_record" in p.name)
  shard.write_bytes(shard.read_bytes()[::-1])
  with pytest.raises(ValueError, match=shard.name):
    prepare.main(out=out, check=True)
  with pytest.raises(ValueError, match="no prepared.json"):
    prepare.main(out=tmp_path / "source", check=True)


def test_the_verb_without_a_dataset_says_so(tmp_path):
  with pytest.raises(ValueError, match="--dataset is missing"):
    prepare.main(out=tmp_path / "out")


@pytest.mark.parametrize(
  ("config", "split", "videos", "label"),
  [
    ("2018", "val", 74, "PoseTrack18 v0.2"),
    ("2018", "val", 170, "PoseTrack18 v0.45"),
    ("2018", "val", 73, "subset of 73 videos (74 in PoseTrack18 v0.2, "),
    ("2018", "val", 75, "subset of 75 videos (74 in PoseTrack18 v0.2, "),
    ("2018", "val", 172, "172 videos, 2 too many (74 in PoseTrack18 v0.2, "),
    ("2018", "train", 593, "PoseTrack18"),
    ("2018", "test", 375, "PoseTrack18"),
    ("2017", "train", 250, "PoseTrack17"),
    ("2017", "train", 251, "251 videos, 1 too many (250 in PoseTrack17)"),
    ("2017", "val", 50, "PoseTrack17"),
    ("2021", "train", 592, "subset of 592 videos (593 in PoseTrack21)"),
    ("2021", "val", 170, "PoseTrack21"),
    ("layout", "val", 74, "as given"),
  ],
)
def test_labels_are_called_by_their_version(
  tmp_path, config, split, videos, label
):
  module = build.load_builder("posetrack")
  builder = module.Builder(
    data_dir=tmp_path, config=config, file_format="array_record"
  )
  assert builder.label(tmp_path, split, videos).startswith(label)


def test_ensure_without_a_root_says_which_key_to_set(tmp_path, monkeypatch):
  monkeypatch.delenv(prepare.ROOT_VARIABLE, raising=False)
  config = config_lib.default()
  with pytest.raises(ValueError, match=r"config\.data\.root.*posetrack\.net"):
    prepare.ensure(config, tmp_path)


def test_ensure_with_an_absent_root_names_it(tmp_path):
  config = config_lib.default()
  config.data.root = str(tmp_path / "nowhere")
  with pytest.raises(ValueError, match="nowhere does not exist"):
    prepare.ensure(config, tmp_path / "run")


def test_ensure_takes_root_from_key_or_variable(tmp_path, scene, monkeypatch):
  scene.write(tmp_path / "source", "val", videos=1, frames=1)
  config = config_lib.default()
  monkeypatch.setenv(prepare.ROOT_VARIABLE, str(tmp_path / "source"))
  out = prepare.ensure(config, tmp_path / "run")
  assert out == tmp_path / "run" / "data"
  assert prepared.split_names(out) == ["val"]
  # Prepared data needs its source no more.
  monkeypatch.delenv(prepare.ROOT_VARIABLE)
  assert prepare.ensure(config, tmp_path / "run") == out


def test_an_empty_root_is_named(tmp_path):
  (tmp_path / "source").mkdir()
  with pytest.raises(ValueError, match=r"source does not exist or is empty"):
    _prepare(tmp_path)


def test_the_verb_without_a_source_says_so(tmp_path, monkeypatch):
  monkeypatch.delenv(prepare.ROOT_VARIABLE, raising=False)
  with pytest.raises(ValueError, match="--source is missing"):
    prepare.main(dataset="posetrack18", out=tmp_path / "out")


def _synthetic_settings(**changes):
  settings = config_lib.default().data.synthetic
  settings.update(
    {"train_videos": 1, "val_videos": 1, "frames": 2, "workers": 1}
    | {"size": (64, 96)}
    | changes
  )
  return settings


def test_synthetic_people_are_rendered_and_prepared(tmp_path):
  config = config_lib.default()
  config.data.name = "synthetic"
  config.data.synthetic = _synthetic_settings()
  prepare.main(dataset="synthetic", out=tmp_path / "data", config=config)
  out = tmp_path / "data"
  stamp = (out / "prepared.json").stat().st_mtime_ns
  config.data.root = str(tmp_path / "data-source")
  assert prepare.ensure(config, tmp_path) == out
  assert (out / "prepared.json").stat().st_mtime_ns == stamp
  for name in ("train", "val"):
    split = prepared.open_split(out, name, skeleton=skeleton.POSETRACK)
    assert len(split.frames) == 2
    assert set(split.frames.height) == {64}


def test_synthetic_people_stay_out_of_other_data(tmp_path, scene):
  scene.write(tmp_path, "train", videos=1, frames=1)
  with pytest.raises(ValueError, match="did not render"):
    prepare.render(tmp_path, _synthetic_settings())


def test_fewer_synthetic_videos_than_rendered_are_refused(tmp_path):
  for split in ("train", "val"):
    synthetic.render_split(
      tmp_path, split=split, videos=2, frames=2, size=(64, 96)
    )
  with pytest.raises(ValueError, match="2 videos are rendered but 1"):
    prepare.render(tmp_path, _synthetic_settings())


def test_builder_is_found_in_the_checkout():
  assert build.builder_file("posetrack").is_file()
  with pytest.raises(ValueError, match="reinstall"):
    build.builder_file("nothing")
