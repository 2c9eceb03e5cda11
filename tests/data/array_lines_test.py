"""What is read back is what was written, or nothing."""

import io
import json
import math
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from diffpose_jax.data import array_lines


def test_a_line_by_hand():
  line = array_lines.dump({"a": [1, None], "b": np.array([[1.5], [-2]], "f4")})
  text = line[9:-1]
  assert line[:9] == b"%08x " % zlib.crc32(text) and line[-1:] == b"\n"
  content = json.loads(text)
  assert content["a"] == [1, None]
  dtype, shape, data = content["b"]["array"]
  assert (dtype, shape) == ("<f4", [2, 1])
  # 1.5 and -2 are 3fc00000 and c0000000 in hex.
  assert data == "AADAPwAAAMA="


@given(
  st.dictionaries(
    st.text(max_size=5).filter(lambda key: key != "array"),
    st.one_of(
      st.integers(-(2**60), 2**60),
      st.floats(allow_nan=False, allow_infinity=False),
      st.text(max_size=7),
      st.none(),
    ),
  )
)
def test_plain_records(record):
  line = array_lines.dump(record)
  assert line.count(b"\n") == 1
  assert array_lines.load(line) == record


@given(
  arrays.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.bool_, np.uint8]),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
  )
)
def test_arrays_to_the_last_bit(array):
  """NaN of any kind, infinities and -0 included."""
  found = array_lines.load(array_lines.dump({"x": array, "y": [array]}))
  for one in (found["x"], found["y"][0]):
    assert one.dtype == array.dtype and one.shape == array.shape
    assert one.tobytes() == array.tobytes()


def test_numbers_of_numpy_and_strided_arrays():
  array = np.arange(30, dtype=np.float64).reshape(5, 6)[::2, ::-3]
  found = array_lines.load(
    array_lines.dump([np.float32(0.1), np.int64(7), array, np.bool_(True)])
  )
  assert found[0] == struct.unpack("<f", struct.pack("<f", 0.1))[0]
  assert found[1] == 7 and found[3] is True
  np.testing.assert_array_equal(found[2], array)


@pytest.mark.parametrize("value", [np.array(["a"]), np.complex64(1), {1, 2}])
def test_what_is_not_stored_is_refused(value):
  with pytest.raises(TypeError, match="not stored"):
    array_lines.dump({"x": value})


def test_every_change_of_a_byte_and_every_cut_is_seen():
  line = array_lines.dump({"i": 7, "x": np.array([math.pi, 3], np.float32)})
  for place in range(len(line)):
    for change in (1, 0x20, 0x80):
      damaged = bytearray(line)
      damaged[place] ^= change
      with pytest.raises(ValueError, match="damaged or cut off"):
        array_lines.load(bytes(damaged))
    with pytest.raises(ValueError, match="damaged or cut off"):
      array_lines.load(line[:place])


def test_an_array_of_another_kind_is_refused():
  text = json.dumps({"array": ["|O8", [1], "AAAAAAAAAAA="]}).encode()
  with pytest.raises(ValueError, match="an array of .O8"):
    array_lines.load(b"%08x %s\n" % (zlib.crc32(text), text))


@pytest.mark.parametrize("chunk", [1, 5, 7, 1000])
def test_lines_of_a_file(tmp_path, monkeypatch, chunk):
  monkeypatch.setattr(array_lines, "_CHUNK", chunk)
  path = tmp_path / "file"
  path.write_bytes(b"one\n\nthree\nfour")
  with path.open("r+b") as file:
    file.seek(0, io.SEEK_END)
    found = list(array_lines.lines(file))
    assert found == [
      *((4, b"one\n"), (5, b"\n"), (11, b"three\n"), (15, b"four"))
    ]
    assert list(array_lines.lines(file, 5)) == found[2:]
    # It may grow in between, where it was.
    file.write(b"th\n")
    file.flush()
    assert list(array_lines.lines(file, 11)) == [(18, b"fourth\n")]
