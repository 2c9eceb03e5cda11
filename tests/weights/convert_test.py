"""The verb `convert`: what it writes and prints, and what it leaves alone."""

import dataclasses
import hashlib
import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from diffpose_jax import main
from diffpose_jax.model import vit
from diffpose_jax.weights import convert, converted, public, source

WIDTH, DEPTH, HEADS, PATCH = 24, 2, 3, 8


@pytest.fixture
def file(make, tmp_path):
  shapes = make["vitpose_shapes"](WIDTH, DEPTH, PATCH, 13, 7)
  path = tmp_path / "vitpose.safetensors"
  safetensors.numpy.save_file(make["random_weights"](shapes, 1), path)
  return path


def backbone(grid):
  images = jax.ShapeDtypeStruct(
    (1, grid[0] * PATCH, grid[1] * PATCH, 3), np.float32
  )
  model = vit.ViT(WIDTH, DEPTH, HEADS, PATCH)
  return jax.eval_shape(model.init, jax.random.key(0), images)["params"]


def test_the_command(file, tmp_path, capsys):
  out = tmp_path / "new" / "out"
  (tmp_path / "x").touch()  # a file like any other
  assert main.main(["convert", f"--source={file}", f"--out={out}"]) == 0
  text = capsys.readouterr().out
  digest = hashlib.sha256(file.read_bytes()).hexdigest()
  lines = dict(line.split("  ", 1) for line in text.splitlines())
  lines = {name.strip(): value.strip() for name, value in lines.items()}
  # 3 of the stem and position, 12 a block, 2 norm; head: 2 x 5 and 2 last.
  assert lines["keys used"] == str(3 + 12 * DEPTH + 2 + 12)
  assert lines["keys unused"] == (
    "2: keypoint_head.deconv_layers.*.num_batches_tracked (2)"
  )
  assert lines["format"] == "ViTPose"
  assert lines["size"] == "width 24, depth 2"
  assert lines["SHA-256"] == digest
  assert lines["position embedding"] == "as it was"
  facts = json.loads((out / "convert.json").read_text())
  assert facts["sha256"] == digest
  assert facts["file"] == "vitpose.safetensors"
  assert facts["grid"] == [4, 3]
  assert facts["patch"] == PATCH
  assert facts["head"] == "classic"
  assert facts["joints"] == 7
  assert sorted(p.name for p in out.iterdir()) == [
    "convert.json",
    "weights.safetensors",
  ]
  modes = {path.stat().st_mode for path in (*out.iterdir(), file.parent / "x")}
  assert len(modes) == 1
  leaves = safetensors.numpy.load_file(out / "weights.safetensors")
  assert "vit/block_01/attention/qkv/kernel" in leaves
  assert "keypoint_head/up_1/bias" in leaves


@pytest.mark.parametrize("grid", [(4, 3), (5, 7)])
def test_a_folder_is_as_good_as_its_file(file, tmp_path, grid):
  convert.convert(file, tmp_path / "out")
  like = backbone(grid)
  first, told = public.load_backbone(file, like, heads=HEADS)
  again, told_again = public.load_backbone(tmp_path / "out", like, heads=HEADS)
  jax.tree.map(np.testing.assert_array_equal, first, again)
  assert told_again == dataclasses.replace(told, source=str(tmp_path / "out"))


def test_what_is_read_is_what_was_written(file, tmp_path):
  weights = source.read(file)
  converted.write(tmp_path / "out", weights)
  again = converted.read(tmp_path / "out")
  for field in dataclasses.fields(weights):
    if field.name != "leaves":
      assert getattr(again, field.name) == getattr(weights, field.name)
  assert again.leaves.keys() == weights.leaves.keys()
  for name, leaf in weights.leaves.items():
    np.testing.assert_array_equal(again.leaves[name], leaf)


def test_a_second_time_overwrites(file, tmp_path):
  out = tmp_path / "out"
  convert.convert(file, out)
  first = (out / "weights.safetensors").read_bytes()
  (out / "convert.json").unlink()  # As an interrupted one would leave it.
  (out / "weights.safetensors.part").write_bytes(b"half")
  convert.convert(file, out)
  assert (out / "weights.safetensors").read_bytes() == first
  assert len(list(out.iterdir())) == 2


def test_a_folder_of_something_else(file, tmp_path):
  out = tmp_path / "out"
  out.mkdir()
  (out / "config.json").write_text("{}")
  with pytest.raises(ValueError, match="holds 'config.json', so it is not"):
    convert.convert(file, out)
  assert [p.name for p in out.iterdir()] == ["config.json"]


def test_a_refused_file_writes_nothing(tmp_path, capsys):
  path = tmp_path / "a.pth"
  path.write_bytes(b"\x80\x02cos\nsystem\n.")
  out = tmp_path / "out"
  assert main.main(["convert", f"--source={path}", f"--out={out}"]) == 2
  error = capsys.readouterr().err
  assert error.startswith(f"diffpose_jax: error: {path}: holds os.system")
  assert len(error.splitlines()) == 1
  assert not out.exists()


def test_a_full_disk_leaves_the_old_weights_or_none(
  file, tmp_path, monkeypatch
):
  out = tmp_path / "out"
  convert.convert(file, out)

  def full(*_):
    raise OSError("No space left on device")

  monkeypatch.setattr(safetensors.numpy, "save_file", full)
  with pytest.raises(OSError, match="No space"):
    convert.convert(file, out)
  assert [p.name for p in out.iterdir()] == ["weights.safetensors"]
  with pytest.raises(ValueError, match="not a folder of converted weights"):
    converted.read(out)


def change(path, **facts):
  path.write_text(json.dumps(json.loads(path.read_text()) | facts))


@pytest.mark.parametrize(
  ("facts", "says"),
  [
    ({"version": 2}, "not of version 1"),
    ({"extra": 1}, "missing or unknown: extra"),
    ({"width": "24"}, "width is no whole number"),
    ({"grid": [4]}, "grid is not two whole numbers"),
    ({"weights_sha256": "0"}, "not the bytes that convert.json tells of"),
  ],
)
def test_changed_facts(file, tmp_path, facts, says):
  out = tmp_path / "out"
  convert.convert(file, out)
  change(out / "convert.json", **facts)
  with pytest.raises(ValueError, match=says):
    converted.read(out)


def test_facts_that_are_not_json(file, tmp_path):
  convert.convert(file, tmp_path / "out")
  (tmp_path / "out" / "convert.json").write_text("{")
  with pytest.raises(ValueError, match="not JSON"):
    converted.read(tmp_path / "out")


def test_a_flipped_bit_of_the_weights(file, tmp_path):
  path = tmp_path / "out" / "weights.safetensors"
  convert.convert(file, tmp_path / "out")
  data = bytearray(path.read_bytes())
  data[-7] ^= 1
  path.write_bytes(data)
  with pytest.raises(ValueError, match="not the bytes that"):
    converted.read(tmp_path / "out")


def test_a_folder_without_weights(tmp_path):
  with pytest.raises(ValueError, match="not a folder of converted weights"):
    public.load_backbone(tmp_path, backbone((4, 3)), heads=HEADS)


def test_leaves_of_another_type_or_name(file, tmp_path):
  weights = source.read(file)
  half = {
    name: leaf.astype(np.float16) if name == "vit/norm/bias" else leaf
    for name, leaf in weights.leaves.items()
  }
  half["vit/block_07/mlp/out/bias"] = np.zeros(WIDTH, np.float32)
  converted.write(tmp_path / "out", dataclasses.replace(weights, leaves=half))
  says = "vit/norm/bias is of float16; vit/block_07/mlp/out/bias has no place"
  with pytest.raises(ValueError, match=says):
    public.load_backbone(tmp_path / "out", backbone((4, 3)), heads=HEADS)
