"""Writes docs/benchmarks.md from the JSON files in benchmarks/results.

  python benchmarks/write_page.py

The same files always give the same page; a test holds that the page in the
repository is that of the files in it.
"""

import pathlib
from typing import Any

from diffpose_jax.benchmark import machine, result

REPO = pathlib.Path(__file__).resolve().parent.parent
RESULTS = REPO / "benchmarks" / "results"
PAGE = REPO / "docs" / "benchmarks.md"

_HEAD = """\
# Benchmarks

<!-- benchmarks/write_page.py writes this page from benchmarks/results/. -->

```bash
python -m diffpose_jax.main benchmark                                  # 4 minutes on 2 busy cores: the demo's network; the paper's on accelerators
python -m diffpose_jax.main benchmark --config=configs/pt18.py --config.train.batch=1 --config.evaluate.batch=1 \\
  --batches=1 --rows=P3,P4 --out=result.json                           # ViT-B, some of the rows
python benchmarks/encoder.py --cores=1 --out=result.json               # beside PyTorch, OpenVINO, ONNX Runtime
python benchmarks/start.py --out=result.json                           # start of the command, compilation
python benchmarks/write_page.py                                        # this page
```

A row is a ratio of two things that were measured in turn (A B A B …) in one process on one machine, after their outputs were compared; where outputs differ the row is refused. The ratio is the median over the rounds of the ratio in each, with the lowest and the highest beside it. Rows of one core are CPU time. Nothing fails on a time: a row that misses its bar says so. Times are only to be compared within one table.

| row | what is compared |
|---|---|
| P1, P2 | the ViT over the frames of a clip, with equal weights: PyTorch (transformers' VitPose), OpenVINO, ONNX Runtime; P2 in bfloat16 |
| P3 | a whole clip beside the sum of its parts, each compiled and timed by itself: the encoder (ViT, STRL and what the decoder prepares) once, and steps × one evaluation of the decoder on all samples as one batch; XLA's count of operations beside a count by hand. Outputs: the whole beside a Python loop over its parts |
| P4 | ten samples in one run beside ten runs of one sample, encoder and all; 4 steps × 4 samples beside 1 × 1 |
| P5 | the compiled sampler beside a Python loop of compiled steps, both given the features; time to compile it for 1 and 8 steps: as a loop, and unrolled |
| P6 | the train step beside a [plain one](../diffpose_jax/benchmark/plain_step.py) of the same math, time and planned memory |
| P7 | operations a second (2 a multiply-add, by hand; training counts three times the forward pass, whatever is computed twice) beside those of large matrix products of the same dtype on the same device |
| P8 | `predict` on one picture from start of the process to its end, and compilation of the gradient: compile cache filled beside empty |
| P14 | compilations, and transfers that nobody asked for, in 100 train steps and 100 predictions after the first |
| P15 | temporary memory that XLA plans for another clip and another sample, beside the [activations that must live at once](../diffpose_jax/benchmark/footprint.py) |

## Results
"""
_NO_ROWS = ("faults.json",)  # counts, in benchmarks/README.md
_COLUMNS = ("row", "what", "ratio", "bar", "", "error", "ratio of", "figures")


def page(folder: pathlib.Path) -> str:
  """The page's text, from all results in a folder, by name."""
  paths = sorted(p for p in folder.glob("*.json") if p.name not in _NO_ROWS)
  sections = [_section(path.stem, result.read(path)) for path in paths]
  return "\n".join([_HEAD, *(sections or ["None are stored.\n"])])


def _section(name: str, found: result.Result) -> str:
  rows = [result.cells(row) for row in found.rows]
  lines = [_line([cell[column] for column in _COLUMNS]) for cell in rows]
  heading = [_line(list(_COLUMNS)), _line(["---"] * len(_COLUMNS))]
  return "\n".join(
    [
      f"### {name}\n",
      f"```bash\n{found.command}\n```\n",
      f"{machine.line(found.machine)}\n",
      f"Measured: {_sizes(found.sizes)}\n",
      *heading,
      *lines,
      "",
    ]
  )


def _sizes(sizes: dict[str, Any]) -> str:
  told = []
  for name, value in sizes.items():
    text = result.figure(value) if isinstance(value, float) else str(value)
    told.append(f"{name.replace('_', ' ')} {text}")
  return ", ".join(told)


def _line(cells: list[str]) -> str:
  return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


def main() -> None:
  """Writes the page."""
  PAGE.write_text(page(RESULTS))
  print(f"written: {PAGE}")


if __name__ == "__main__":
  main()
