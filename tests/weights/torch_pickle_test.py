"""The machine that reads pickles: what tensors need, and nothing else."""

import io
import pathlib
import pickle
import random
import zipfile
from typing import Any

import numpy as np
import pytest

from diffpose_jax.weights import torch_pickle

FILE = pathlib.Path(__file__).with_name("torch_files") / "training.pth"


def find(dtype, key, count):
  """The only storage there is: 0 to 5, as float32."""
  if (dtype, key, count) != (np.float32, "0", 6):
    raise ValueError(f"no storage of {count} of {dtype} named {key}")
  return np.arange(6, dtype=np.float32)


def load(data):
  return torch_pickle.load(io.BytesIO(data), find)


def refused(data, says="."):
  with pytest.raises(ValueError, match=says) as caught:
    load(data)
  assert "\n" not in str(caught.value)


class Storage:
  """Stands for a storage when a test pickles it."""

  def __init__(self, kind="FloatStorage", key="0", count=6, form=()):
    self.id = ("storage", Global("torch", kind), key, "cpu", count, *form)


class Global:
  """Stands for a name in a pickle, which need not exist."""

  def __init__(self, module, name):
    self.module, self.name = module, name


class Call:
  """Stands for a call of a name, with attributes set on what it makes."""

  def __init__(self, module, name, arguments, state=None):
    self.function, self.arguments = Global(module, name), arguments
    self.state = state


Base: Any = pickle._Pickler


class Pickler(Base):
  """Writes the three above as PyTorch's pickles have them."""

  def persistent_id(self, obj):
    return obj.id if isinstance(obj, Storage) else None

  def save(self, obj, save_persistent_id=True):
    if isinstance(obj, Global):
      text = f"{obj.module}\n{obj.name}\n"
      self.write(pickle.GLOBAL + text.encode())
    elif isinstance(obj, Call):
      self.save(obj.function)
      self.save(obj.arguments)
      self.write(pickle.REDUCE)
      if obj.state is not None:
        self.save(obj.state)
        self.write(pickle.BUILD)
    else:
      super().save(obj, save_persistent_id)


def pickled(content, protocol=2):
  stream = io.BytesIO()
  Pickler(stream, protocol).dump(content)
  return stream.getvalue()


def rebuilt(offset=0, size=(2, 3), stride=(3, 1), **storage):
  return Call(
    "torch._utils",
    "_rebuild_tensor_v2",
    (Storage(**storage), offset, size, stride, False, {}),
  )


def test_what_tensors_need():
  size = Call("torch", "Size", ((2, 3),))
  state = Call("collections", "OrderedDict", (), {"keys": 1, "get": None})
  plain = {"a": [1, -2.5, "ü", None, True, False, 1 << 70], "b": ((), {})}
  content = {"w": rebuilt(), "size": size, "state": state, "plain": plain}
  for protocol in (2, 3, 4):
    read = load(pickled(content, protocol))
    expected = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(read.pop("w"), expected)
    assert read == {"size": (2, 3), "state": {}, "plain": plain}


def test_the_stream_stands_behind_the_pickle():
  stream = io.BytesIO(pickled([1]) + b"more")
  assert torch_pickle.load(stream, find) == [1]
  assert stream.read() == b"more"


def test_a_view_cannot_be_written_to():
  array = load(pickled(rebuilt()))
  with pytest.raises(ValueError, match="read-only"):
    array[0] = 1


CODE = {
  "os.system": ("os", "system"),
  "posix.system": ("posix", "system"),
  "builtins.eval": ("builtins", "eval"),
  "builtins.exec": ("builtins", "exec"),
  "builtins.getattr": ("builtins", "getattr"),
  "__builtin__.eval": ("__builtin__", "eval"),
  "argparse.Namespace": ("argparse", "Namespace"),
  "numpy.core.multiarray._reconstruct": (
    "numpy.core.multiarray",
    "_reconstruct",
  ),
  "torch.load": ("torch", "load"),
  "torch._utils.os.system": ("torch._utils", "os.system"),
  "collections.OrderedDict.__class__": (
    "collections",
    "OrderedDict.__class__",
  ),
}


@pytest.mark.parametrize("name", CODE)
def test_code_is_named_and_never_run(tmp_path, monkeypatch, name):
  canary = tmp_path / "canary"
  monkeypatch.chdir(tmp_path)
  for text in (f"touch {canary}", f"open({str(canary)!r}, 'w').close()"):
    data = pickled({"w": rebuilt(), "x": [Call(*CODE[name], (text,))]})
    refused(data, f"holds {name}, which is not a tensor; nothing of it was run")
  assert not canary.exists()


def test_a_name_that_would_break_the_message():
  name = "x" * 70 + "\x1b[2J" + "y" * 70
  refused(pickled(Global("os", name)), r"holds '?os\.x{70}.{0,9}.*\.\.\.")


ONE = b"\x80\x02"
INSTRUCTIONS = {
  "INST": b"(S'touch x'\nios\nsystem\n.",
  "OBJ": b"(cos\nsystem\nX\x01\x00\x00\x00xo.",
  "NEWOBJ": b"ctorch\nSize\n)\x81.",
  "NEWOBJ_EX": b"ctorch\nSize\n)}\x92.",
  "EXT1": b"\x82\x01.",
  "PERSID": b"Pfile\n.",
  "BYTEARRAY8": b"\x96\x01\x00\x00\x00\x00\x00\x00\x00x.",
  "DUP": b"}0.",
  "LONG4": b"\x8b\x01\x00\x00\x00\x01.",
  "FLOAT": b"F1\n.",
}


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_other_instructions(name):
  refused(ONE + INSTRUCTIONS[name], "pickle|holds")


BROKEN = {
  "no end": b"}",
  "nothing": b".",
  "two objects": b"}}.",
  "an open mark": b"(.",
  "no mark": b"}u.",
  "no objects": b"\x85.",
  "an object under a mark": b"}(s.",
  "an unknown memo": b"h\x07.",
  "a key alone": b"}(K\x01u.",
  "a list as key": b"}(]K\x01u.",
  "attributes of a list": b"]}b.",
  "attributes of a number": b"K\x01}b.",
  "append to a dict": b"}K\x01a.",
  "a call of a number": b"K\x01)R.",
  "a call without a tuple": b"ctorch\nSize\n]R.",
  "a call of a storage": b"ctorch\nFloatStorage\n)R.",
  "too few arguments": b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
  "a parameter of nothing": b"ctorch._utils\n_rebuild_parameter\n)\x85R.",
  "a tensor of nothing": (
    b"ctorch._utils\n_rebuild_tensor_v2\n(K\x00K\x00))tR."
  ),
  "a storage that is none": b"K\x01Q.",
  "a storage of six": b"(K\x01K\x01K\x01K\x01K\x01K\x01tQ.",
  "a dict of pairs": b"ccollections\nOrderedDict\n]\x85R.",
  "a size of a number": b"ctorch\nSize\nK\x01\x85R.",
  "text that is none": b"X\x01\x00\x00\x00\xff.",
  "text to nowhere": b"X\xff\xff\xff\xff.",
  "bytes to nowhere": b"B\xff\xff\xff\xff.",
  "long text to nowhere": b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fx.",
  "names of numbers": b"K\x01K\x02\x93.",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_pickle_of_another_thing(name):
  refused(ONE + BROKEN[name])


def test_a_memo_with_large_numbers_costs_nothing():
  assert load(ONE + b"}r\xff\xff\xff\xff.") == {}


@pytest.mark.parametrize(
  "data",
  [
    ONE + b"]" * 60_000 + b"a" * 59_999 + b".",
    ONE + b")" + b"\x85" * 60_000 + b".",
    ONE + b"}" + b")" + b"\x85" * 60_000 + b"K\x01s.",  # as a key
    ONE + b"(" * 60_000 + b"t" * 60_000 + b".",
    ONE + b"}K\x01" * 30_000 + b"}" + b"s" * 30_000 + b".",
  ],
)
def test_deep_nesting(data):
  """An object or ValueError, but no end of the process."""
  try:
    load(data)
  except ValueError as error:
    assert "\n" not in str(error)  # noqa: PT017


def test_a_list_of_lists_doubled_thirty_times():
  data = ONE + b"(]q\x00" + b"h\x00h\x00\x86q\x00" * 30 + b"t."
  assert len(load(data)) == 31


@pytest.mark.parametrize(
  ("tensor", "says"),
  [
    (dict(offset=1), "reaches to element 6 of a storage of 6"),
    (dict(offset=-1), "cannot be"),
    (dict(size=(3, 3)), "reaches to element 8"),
    (dict(size=(2, 3), stride=(4, 1)), "reaches to element 6"),
    (dict(size=(2, 3), stride=(0, 1)), "elements of its storage twice"),
    (dict(size=(1 << 40,), stride=(0,)), "elements of its storage twice"),
    (dict(size=(2, 3), stride=(2, 1)), "elements of its storage twice"),
    (dict(size=(2, 2), stride=(1, 1)), "elements of its storage twice"),
    (dict(size=(2, -3)), "cannot be"),
    (dict(size=(2, 3), stride=(-3, 1)), "cannot be"),
    (dict(size=(2, 3), stride=(3,)), "cannot be"),
    (dict(size=(2, 3.0)), "cannot be"),
    (dict(size=(2, True)), "cannot be"),
    (dict(size=(1 << 62,), stride=(1,)), "cannot be"),
    (dict(size=(1,) * 65, stride=(1,) * 65), "cannot be"),
    (dict(size=(0, 1 << 41), stride=(1, 1)), "cannot be"),
    (dict(size=[2, 3]), "no size"),
    (dict(key=0), "a storage that cannot be"),
    (dict(count="6"), "a storage that cannot be"),
    (dict(kind="Size"), "a storage that cannot be"),
    (dict(form=("view",)), "no storage"),
  ],
)
def test_a_tensor_that_cannot_be(tensor, says):
  refused(pickled({"w": rebuilt(**tensor)}), says)


def test_attributes_of_a_size():
  data = pickled(Call("torch", "Size", ((1,),), {"__class__": 1}))
  refused(data, "no container")


def test_flipped_bits():
  """Without checksums in the way: the pickle itself, flipped."""
  with zipfile.ZipFile(FILE) as file:
    data = file.read("training/data.pkl")
  rng = random.Random(5)
  refusals = 0
  for _ in range(600):
    damaged = bytearray(data)
    damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    try:
      torch_pickle.load(io.BytesIO(damaged), lambda t, _, n: np.zeros(30, t))
    except ValueError:
      refusals += 1
  assert 100 < refusals < 600
