"""Writes torch_files/*: small files by PyTorch itself, in its two forms.

`python tests/weights/make_torch_files.py`, where PyTorch is installed. What
they hold is said once more in torch_file_test.py, without it.
"""

import collections
import pathlib
import sys

import torch  # pyright: ignore[reportMissingImports]

FOLDER = pathlib.Path(__file__).with_name("torch_files")


def tensors():
  whole = torch.arange(30, dtype=torch.float32).reshape(5, 6) / 8
  row = torch.arange(7)
  return collections.OrderedDict(
    whole=whole,
    transposed=whole.t(),  # these three share one storage
    part=whole[1:4, 2:5],
    parameter=torch.nn.Parameter(-whole.clone()),
    half=row.half() / 4,
    bfloat16=row.bfloat16() / 4,
    double=row.double() / 3,
    int64=row - 3,
    int32=(row - 3).int(),
    int16=(row - 3).short(),
    int8=(row - 3).char(),
    uint8=row.byte(),
    bool=row % 2 == 0,
    scalar=torch.tensor(11),
    empty=torch.zeros(0, 3),
    every_third=torch.arange(20.0)[1::3],
  )


def training_state():
  return {
    "state_dict": tensors(),
    "meta": {"epoch": 3, "names": ["a", "ü"], "lr": 1e-3, "none": None},
    "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "on": True},
    "shape": torch.Size([2, 3]),
  }


def module():
  model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm2d(2))
  with torch.no_grad():
    for i, value in enumerate(model.state_dict().values()):
      value.fill_(i + 1)
  return model.state_dict()


def main(folder: pathlib.Path) -> None:
  folder.mkdir(exist_ok=True)
  torch.save(training_state(), folder / "training.pth")
  torch.save(training_state(), folder / "protocol4.pth", pickle_protocol=4)
  torch.save(module(), folder / "module.pth")
  for name, content in (
    ("training_old.pth", training_state()),
    ("module_old.pth", module()),
  ):
    torch.save(content, folder / name, _use_new_zipfile_serialization=False)


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
