import subprocess

import pytest

from diffpose_jax.evaluation import protocol

SAME = {"data": "posetrack18", "box_threshold": 0.2, "measure": {"ap": "AP"}}


@pytest.mark.parametrize("key", protocol.MUST_AGREE)
def test_what_must_agree_is_told_with_both_values(key):
  assert protocol.differences(SAME | {key: "x"}, SAME | {key: "y"}) == {
    key: ("x", "y")
  }
  missing = {k: v for k, v in SAME.items() if k != key}
  assert protocol.differences(SAME | {key: 1}, missing) == {key: (1, None)}


def test_the_method_may_differ_and_rounding_does_not_count():
  first = SAME | {"steps": 1, "samples": 1, "weights_sha256": "a"}
  second = SAME | {"steps": 4, "box_threshold": 0.1 + 0.1}
  assert protocol.differences(first, second) == {}


def test_the_code_version_names_the_commit_of_a_checkout():
  version = protocol.code_version()
  try:
    head = subprocess.run(
      ["git", "rev-parse", "--short", "HEAD"],
      cwd=protocol.__file__.rpartition("/")[0],
      capture_output=True,
      text=True,
      check=True,
    ).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    pytest.skip("not in a git checkout")
  assert f"({head}" in version


def test_rules_need_to_agree_where_both_measured():
  more = SAME | {"measure": {"ap": "AP", "mota": "MOTA"}}
  assert protocol.differences(SAME, more) == {}
  other = SAME | {"measure": {"ap": "another AP"}}
  assert set(protocol.differences(SAME, other)) == {"measure"}
