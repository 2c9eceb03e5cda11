import json
import math
import os
import resource
import stat
import time

import numpy as np
import pytest

from diffpose_jax.data import strict_json


def write(tmp_path, text):
  path = tmp_path / "file.json"
  path.write_text(text, encoding="utf-8")
  return path


def test_load_reads_what_json_writes(tmp_path):
  path = write(tmp_path, '{"a": [1, 2.5, null, true, "ü"]}')
  assert strict_json.load(path) == {"a": [1, 2.5, None, True, "ü"]}


def test_load_without_a_key_still_checks_what_stands_there(tmp_path):
  path = write(tmp_path, '[{"a": 1, "b": {"a": 2}}, {"b": 3}]')
  assert strict_json.load(path, without=("b",)) == [{"a": 1}, {}]
  for text in ('{"b": {"c": 1, "c": 2}}', '{"b": [NaN]}', '{"b": 1, "b": 2}'):
    with pytest.raises(ValueError, match=r"file\.json"):
      strict_json.load(write(tmp_path, text), without=("b",))


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ('{"a": 1,\n "b": ]}', "line 2 column 7"),
    ("", "not JSON at line 1 column 1"),
    ('{"a": NaN}', "NaN is not finite"),
    ('{"a": -Infinity}', "-Infinity is not finite"),
    ('{"a": 1e999}', "1e999 is not finite"),
    ('{"a": {"b": 1, "c": 2, "b": 3}}', "key 'b' is given twice"),
    ("[" * 200_000, "nested too deeply"),
    ('{"a":' * 200_000, "nested too deeply"),
    ("1" * 5000, "correct the file"),
    ('{"a": -' + "1" * 5000 + "}", "value has 5000 digits"),
    ("\ufeff[]", "line 1 column 1 (Unexpected UTF-8 BOM"),
    ('{"images": [{"id": 1}, {"i', "line 1 column 25"),
    (
      '{"' + "k" * 999 + '": 1, "' + "k" * 999 + '": 2}',
      "kk... is given twice",
    ),
    ("[1] [2]", "line 1 column 5"),
  ],
)
def test_load_names_file_and_fault(tmp_path, text, message):
  path = write(tmp_path, text)
  with pytest.raises(ValueError) as caught:
    strict_json.load(path)
  assert str(caught.value).startswith(str(path))
  assert message in str(caught.value)
  assert "\n" not in str(caught.value)


def test_load_names_a_file_that_is_not_there_or_not_text(tmp_path):
  with pytest.raises(ValueError, match=r"absent\.json: no such file"):
    strict_json.load(tmp_path / "absent.json")
  with pytest.raises(ValueError, match="cannot be read"):
    strict_json.load(tmp_path)
  (tmp_path / "latin.json").write_bytes('{"a": "ü"}'.encode("latin-1"))
  with pytest.raises(ValueError, match=r"latin\.json: .*0xfc in position 7"):
    strict_json.load(tmp_path / "latin.json")
  (tmp_path / "picture.json").write_bytes(b"\xff\xd8\xff\xe0")
  with pytest.raises(ValueError, match=r"picture\.json: .*utf-8"):
    strict_json.load(tmp_path / "picture.json")


def test_a_file_larger_than_the_cap_is_refused_unread(tmp_path, monkeypatch):
  path = write(tmp_path, "[]")
  os.truncate(path, strict_json.MAX_BYTES + 1)  # takes no room on disk
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  began = time.perf_counter()
  with pytest.raises(ValueError, match=r"file\.json: 1073741825 bytes .*split"):
    strict_json.load(path)
  assert time.perf_counter() - began < 0.1  # seconds; it takes longer to read
  after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  assert after - before < 50_000  # kB
  path = write(tmp_path, "[12345]")
  monkeypatch.setattr(strict_json, "MAX_BYTES", 7)
  assert strict_json.load(path) == [12345]  # at the cap
  monkeypatch.setattr(strict_json, "MAX_BYTES", 6)
  with pytest.raises(ValueError, match="7 bytes are more than 6"):
    strict_json.load(path)


def test_dump_makes_folders_replaces_and_leaves_nothing_else(tmp_path):
  path = tmp_path / "a" / "b.json"
  strict_json.dump(path, [1])
  strict_json.dump(path, {"x": [0.1, None]})
  assert strict_json.load(path) == {"x": [0.1, None]}
  assert os.listdir(path.parent) == ["b.json"]
  umask = os.umask(0)
  os.umask(umask)
  assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_dump_of_what_cannot_be_written_keeps_the_old_file(tmp_path):
  path = tmp_path / "a.json"
  strict_json.dump(path, 1)
  with pytest.raises(ValueError, match=r"a\.json: not written"):
    strict_json.dump(path, float("nan"))
  assert strict_json.load(path) == 1
  assert os.listdir(tmp_path) == ["a.json"]


def test_dump_interrupted_keeps_the_old_file(tmp_path, monkeypatch):
  path = tmp_path / "a.json"
  strict_json.dump(path, 1)

  def fail(*_):
    raise OSError("disk is full")

  monkeypatch.setattr(os, "replace", fail)
  with pytest.raises(OSError, match="disk is full"):
    strict_json.dump(path, 2)
  assert strict_json.load(path) == 1
  assert os.listdir(tmp_path) == ["a.json"]


def test_listed_is_the_inside_of_a_list():
  values = [{"a": 1}, [0.5, None], "é"]
  assert "".join(strict_json.listed(values)) == json.dumps(values)[1:-1]
  assert list(strict_json.listed([])) == []
  with pytest.raises(ValueError, match="not JSON compliant"):
    list(strict_json.listed([float("inf")]))


def test_plain_numbers_are_the_shortest_that_come_back_to_the_last_bit():
  few = np.array([[0.1, 3e7], [-0.0, 1 / 3]], np.float32)
  assert strict_json.plain(few) == [[0.1, 3e7], [-0.0, 0.33333334]]
  bits = np.random.default_rng(0).integers(0, 0x7F80_0000, 997, np.uint32)
  values = bits.view(np.float32)
  again = json.loads(json.dumps(strict_json.plain(values)))
  np.testing.assert_array_equal(np.float32(again).view(np.uint32), bits)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_plain_numbers_are_those_that_numpy_prints(dtype):
  rng = np.random.default_rng(1)
  sizes = 10.0 ** rng.uniform(-12, 4.8, (997, 3))
  values = (sizes * rng.choice([-1, 1], sizes.shape)).astype(dtype)
  rounded = np.round(values.astype(np.float64), 2).astype(dtype)
  for some in (values, rounded, np.array([0.0, -0.0, 1e4, 0.25], dtype)):
    printed = [float(str(value)) for value in some.ravel()]
    assert np.ravel(strict_json.plain(some)).tolist() == printed
  [unknown] = strict_json.plain(np.array([np.nan], dtype))
  assert math.isnan(unknown)
  assert strict_json.plain(np.zeros((0, 2), dtype)) == []


def test_require_names_what_is_missing_and_what_is_there():
  assert strict_json.require({"a": 1, "b": 2}, ("a",), "f") == {"a": 1, "b": 2}
  with pytest.raises(ValueError, match="f: no key 'c', 'd'; it has 'a', 'b'"):
    strict_json.require({"a": 1, "b": 2}, ("a", "c", "d"), "f")
  with pytest.raises(ValueError, match="found a list of 3"):
    strict_json.require([1, 2, 3], ("a",), "f")
  with pytest.raises(ValueError) as caught:
    strict_json.require({str(i): i for i in range(10**5)}, ("a",), "f")
  assert len(str(caught.value)) < 300


def test_integer_takes_whole_numbers_only():
  assert strict_json.integer(10128340000, "f") == 10128340000
  assert strict_json.integer(7.0, "f") == 7
  for value in (True, 7.5, "7", None, 2**63, 1e300):
    with pytest.raises(ValueError, match="f: expected a whole number"):
      strict_json.integer(value, "f")


def test_numbers_takes_finite_numbers_only():
  got = strict_json.numbers([1, 2.5], "f", 2)
  np.testing.assert_array_equal(got, [1, 2.5])
  assert got.dtype == np.float64
  for value in (
    [True],
    ["1"],
    [None],
    [[1]],
    [float("inf")],
    [1e39],
    [10**400],
  ):
    with pytest.raises(ValueError, match="f: expected finite numbers"):
      strict_json.numbers(value, "f")
  with pytest.raises(ValueError, match="f: expected 3 numbers, found 2"):
    strict_json.numbers([1, 2], "f", 3)
  with pytest.raises(ValueError, match="f: expected a list, found 'text'"):
    strict_json.numbers("text", "f")


def test_describe_is_short():
  assert strict_json.describe({"a": 1}) == "an object with 1 keys"
  assert len(strict_json.describe("x" * 1000)) == 60
