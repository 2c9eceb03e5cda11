"""What a run refuses before its first step."""

import collections
import os
import subprocess

import jax.numpy as jnp
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax.training import checks


def _message(function, *arguments) -> str:
  with pytest.raises(ValueError) as caught:
    function(*arguments)
  assert "\n" not in str(caught.value)
  return str(caught.value)


def test_a_folder_is_made_and_left_empty(tmp_path):
  checks.check_folder(tmp_path / "a" / "b")
  assert list((tmp_path / "a" / "b").iterdir()) == []
  checks.check_folder(tmp_path / "a" / "b")


def test_what_is_no_folder_is_told(tmp_path):
  (tmp_path / "file").write_text("mine")
  (tmp_path / "loop").symlink_to(tmp_path / "loop")
  for name in ("file", "file/below", "loop", "loop/below"):
    line = _message(checks.check_folder, tmp_path / name)
    assert line.startswith(f"{tmp_path / name}: no folder that can be written")
    assert line.endswith("choose another --workdir, or correct its rights")
  assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_to_read_only_is_told(tmp_path):
  if os.getuid() == 0:  # Who may write anywhere that is not mounted so.
    command = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(tmp_path)]
    if subprocess.run(command, capture_output=True).returncode:
      pytest.skip("a read-only file system cannot be mounted here")
  else:
    tmp_path.chmod(0o500)
  try:
    for folder in (tmp_path, tmp_path / "new"):
      assert "(Read-only file system)" in _message(
        checks.check_folder, folder
      ) or "(Permission denied)" in _message(checks.check_folder, folder)
  finally:
    if os.getuid() == 0:
      subprocess.run(["umount", str(tmp_path)], check=True)
    else:
      tmp_path.chmod(0o700)


def test_there_must_be_room_for_two_checkpoints(tmp_path, monkeypatch):
  usage = collections.namedtuple("usage", ["free"])
  # 4 kB and 8 bytes; twice that and 64 MiB.
  state = {"a": jnp.zeros((10, 100)), "b": jnp.zeros(4, jnp.bfloat16)}
  need = 2 * 4008 + 64 * 2**20
  monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: usage(need))
  checks.check_space(tmp_path, state)
  monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: usage(need - 1))
  assert _message(checks.check_space, tmp_path, state) == (
    f"{tmp_path}: 0.07 GB are free, checkpoints of 0.00 GB each need 0.07 GB; "
    "make room or choose another --workdir"
  )


def test_the_fingerprint_is_of_what_is_learned():
  def digest(**changes):
    config = config_lib.default()
    config.update_from_flattened_dict(
      {key.replace("__", "."): value for key, value in changes.items()}
    )
    return checks.fingerprints(config, [])["config"]

  same = digest()
  assert same == digest(train__steps=7, data__root="/x", train__resume="/y")
  others = [
    digest(seed=1),
    digest(model__patch=8),
    digest(train__learning_rate=1e-3),
    digest(data__size=(128, 96)),
  ]
  assert len({same, *others}) == 5
