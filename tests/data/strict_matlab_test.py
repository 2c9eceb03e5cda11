"""SciPy writes what is read here; damaged files are made byte by byte."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
import scipy.io

from diffpose_jax.data import strict_matlab

POINTS = np.arange(2 * 3 * 5, dtype=np.float64).reshape(2, 3, 5) / 7


def saved(variables, **options) -> bytes:
  file = io.BytesIO()
  scipy.io.savemat(file, variables, **options)
  return file.getvalue()


def element(kind: int, content: bytes, order: str = "<") -> bytes:
  padded = content + bytes(-len(content) % 8)
  return struct.pack(f"{order}II", kind, len(content)) + padded


def matrix(
  values, *, flags=6, shape=(1, 3), name=b"scale", kind=9, order="<"
) -> bytes:
  """A variable, element by element as the format's description has it."""
  return element(
    14,
    element(6, struct.pack(f"{order}II", flags, 0), order)
    + element(5, struct.pack(f"{order}{len(shape)}i", *shape), order)
    + element(1, name, order)
    + element(kind, values, order),
    order,
  )


def header(version=0x0100, order="<") -> bytes:
  text = b"MATLAB 5.0 MAT-file".ljust(116) + bytes(8)
  return text + struct.pack(f"{order}HH", version, 0x4D49)


@pytest.fixture
def write(tmp_path):
  def write(data: bytes):
    path = tmp_path / "some.mat"
    path.write_bytes(data)
    return path

  return write


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
  "array",
  [
    POINTS,
    POINTS.astype(np.float32),
    (POINTS > 2).astype(np.uint8),
    np.array([[True, False, True]]),
    np.array([[-3, 70000]], np.int32),
    np.array([[2**63 + 5]], np.uint64),
    np.array([[7]], np.uint8),  # fits the short form
  ],
)
def test_arrays_come_as_they_were_saved(write, array, packed):
  path = write(saved({"text": "NNW", "pos_img": array}, do_compression=packed))
  got = strict_matlab.load(path, ("pos_img",))
  assert list(got) == ["pos_img"]
  np.testing.assert_array_equal(got["pos_img"], array)
  assert got["pos_img"].shape == array.shape
  same = np.uint8 if array.dtype == bool else array.dtype
  assert got["pos_img"].dtype == same


@pytest.mark.parametrize("order", ["<", ">"])
def test_either_byte_order_and_values_in_a_smaller_type(write, order):
  # Doubles that are whole numbers are stored by MATLAB as small integers.
  values = struct.pack(f"{order}3h", 2, -3, 500)
  data = header(order=order) + matrix(values, kind=3, order=order)
  got = strict_matlab.load(write(data), ("scale",))["scale"]
  assert got.dtype == np.float64
  np.testing.assert_array_equal(got, [[2, -3, 500]])


def test_values_are_column_major(write):
  values = np.arange(6.0).tobytes()
  data = header() + matrix(values, shape=(2, 3))
  got = strict_matlab.load(write(data), ("scale",))["scale"]
  np.testing.assert_array_equal(got, [[0, 2, 4], [1, 3, 5]])


def test_other_variables_are_passed_over(write):
  opaque = element(14, element(6, struct.pack("<II", 17, 0)) + b"\xff" * 64)
  data = header() + opaque + element(14, b"") + matrix(np.ones(3).tobytes())
  got = strict_matlab.load(write(data), ("scale",))
  np.testing.assert_array_equal(got["scale"], [[1, 1, 1]])


def test_hdf5_is_refused_with_the_remedy(write):
  data = header(version=0x0200) + bytes(384) + b"\x89HDF\r\n\x1a\n"
  with pytest.raises(ValueError, match=r"some\.mat: .*7\.3.*HDF5.*save -v7"):
    strict_matlab.load(write(data), ("scale",))


def test_an_absent_file_is_named(tmp_path):
  with pytest.raises(ValueError, match=r"a\.mat: no such file"):
    strict_matlab.load(tmp_path / "a.mat", ("scale",))
  with pytest.raises(ValueError, match=r"cannot be read \(Is a directory\)"):
    strict_matlab.load(tmp_path, ("scale",))


GOOD = np.ones(3).tobytes()


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (b"", r"no file of MATLAB 5 to 7 \(0 bytes"),
    (b"\x89PNG" + bytes(200), r"no file of MATLAB 5 to 7 \(204 bytes"),
    (header(version=0x0300) + bytes(8), "no file of MATLAB 5 to 7"),
    (header(), "0 variables 'scale' .*; it has nothing"),
    (header() + matrix(GOOD)[:-1], "cut off: an element"),
    (header() + matrix(GOOD) + b"abc", "cut off: 3 bytes"),
    (header() + matrix(GOOD) * 2, "2 variables 'scale'"),
    (header() + matrix(GOOD, name=b"Scale"), r"has 'Scale'"),
    (header() + matrix(GOOD, name=b"a\nb"), r"has 'a\\nb'"),
    (header() + matrix(GOOD, shape=(1, 2)), "1 x 2, but has 24 bytes of 8"),
    (header() + matrix(GOOD, shape=(-1, -3)), "scale is -1 x -3; it must have"),
    (header() + matrix(b"", shape=(1, 0)), "scale is 1 x 0; it must have"),
    (header() + matrix(b"", shape=(1 << 30, 1 << 30)), "must have from 1 to"),
    (header() + matrix(GOOD, flags=1), "scale is cells; it must be an array"),
    (header() + matrix(GOOD, flags=2), "scale is a structure"),
    (header() + matrix(GOOD, flags=4), "scale is text"),
    (header() + matrix(GOOD, flags=0x0806), "scale is complex"),
    (header() + matrix(GOOD, kind=14), "values of scale are of type 14"),
    (header() + matrix(GOOD, flags=9), "values of scale are of type 9"),
    (header() + element(9, GOOD), "element of type 9 is no variable"),
    (header() + element(14, element(9, GOOD)), "without flags"),
    (header() + element(15, b"abc"), "does not unpack"),
    (header() + struct.pack("<HH4x", 1, 5), "short element of 5 bytes"),
  ],
)  # fmt: skip
def test_damage_is_one_line_that_names_the_file(write, data, message):
  with pytest.raises(ValueError, match=rf"some\.mat: .*{message}") as error:
    strict_matlab.load(write(data), ("scale",))
  assert "\n" not in str(error.value)


def test_a_packed_variable_is_whole_and_not_endless(write, monkeypatch):
  packed = zlib.compress(matrix(GOOD))
  data = header() + struct.pack("<II", 15, len(packed)) + packed
  assert strict_matlab.load(write(data), ("scale",))["scale"].sum() == 3
  cut = header() + struct.pack("<II", 15, len(packed) - 2) + packed[:-2]
  with pytest.raises(ValueError, match="packed variable is cut off"):
    strict_matlab.load(write(cut), ("scale",))
  monkeypatch.setattr(strict_matlab, "_MOST", 50)
  with pytest.raises(ValueError, match="packed variable is more than 50 bytes"):
    strict_matlab.load(write(data), ("scale",))


@pytest.mark.parametrize("packed", [False, True])
def test_random_damage_gives_arrays_or_one_line(write, packed):
  """SciPy's own reader ends with a segmentation fault here."""
  whole = saved(
    {"viewpoint": "NNW", "pos_img": POINTS, "other": {"a": [1, 2]}},
    do_compression=packed,
  )
  rng = random.Random(3)
  refused = []
  for trial in range(600):
    damaged = bytearray(whole)
    for _ in range(rng.choice([1, 2, 8])):
      damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    if trial % 3 == 0:
      del damaged[rng.randrange(len(damaged)) :]
    try:
      got = strict_matlab.load(write(bytes(damaged)), ("pos_img",))
    except ValueError as error:
      refused.append(str(error))
    else:
      assert got["pos_img"].dtype.kind in "biuf"
  assert len(refused) > 150
  assert all("some.mat: " in line and "\n" not in line for line in refused)
