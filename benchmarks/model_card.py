r"""Prints the figures of docs/model_card.md, as Markdown.

  python benchmarks/model_card.py --weights=FILE --synthetic=runs/card/people \
    --data=jhmdb=/path/to/jhmdb --sampling=1x1,4x4

`--synthetic` renders the validation people that the weights' config describes
into a folder (once) and evaluates on them; each `--data` is a data set's name
and its root, of which the validation split is taken. Boxes are the ground
truth's. `--workdir` adds what packing lost, beside that run.
"""

import argparse
import contextlib
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from diffpose_jax.data import synthetic
from diffpose_jax.evaluation import evaluate, pack
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import pack_file, shipped

COLUMNS = (
  *("data", "people", "steps × samples", "AP", "head", "wrist", "ankle"),
  *("PCK@0.05", "PCK@0.1", "PCK@0.2"),
)


def main(arguments: Sequence[str]) -> None:
  """Prints what is known of the weights, and a table of what was measured."""
  given = _parse(arguments)
  weights = shipped.find(given.weights)
  network = pack_file.read(weights)
  sources = [_source(text) for text in given.data]
  if given.synthetic:
    sources.insert(0, _rendered(network.config, given.synthetic))
  with contextlib.redirect_stdout(sys.stderr):  # what evaluation says itself
    rows = [
      _row(weights, source, sampling)
      for source in sources
      for sampling in given.sampling.split(",")
    ]
    loss = _loss(given.workdir, weights) if given.workdir else None
  print("\n".join(about(network, weights)))
  if loss is not None:
    print(f"- float16 beside float32: {loss}")
  print()
  print("\n".join(table(rows)))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--weights", help="packed file; default: the shipped one")
  parser.add_argument("--workdir", type=pathlib.Path)
  parser.add_argument("--synthetic", type=pathlib.Path)
  parser.add_argument("--data", action="append", default=[])
  parser.add_argument("--sampling", default="1x1,4x4")
  return parser.parse_args(arguments)


def _source(text: str) -> evaluate.Source:
  """The data of NAME=ROOT."""
  name, equals, root = text.partition("=")
  if not equals:
    raise ValueError(f"--data={text}: give NAME=ROOT, as jhmdb=/data/jhmdb")
  return evaluate.Source(split="val", root=pathlib.Path(root), dataset=name)


def _rendered(config: Any, root: pathlib.Path) -> evaluate.Source:
  """The people of `config`'s validation split, rendered where they are not."""
  settings = config.data.synthetic
  synthetic.render_split(
    root,
    split="val",
    videos=settings.val_videos,
    frames=settings.frames,
    size=tuple(settings.size),
    seed=settings.seed,
    difficulty=settings.difficulty,
  )
  return evaluate.Source(split="val", root=root, dataset="posetrack18")


def _row(
  weights: pathlib.Path, source: evaluate.Source, sampling: str
) -> dict[str, str]:
  """The measures of one way of sampling on one set."""
  steps, samples = map(int, sampling.split("x"))
  assert source.root is not None
  result = evaluate.evaluate_weights(
    weights, source, metrics=("ap", "pck"), steps=steps, samples=samples
  )
  groups, pck = result["ap_groups"], result["pck_box"]["all"]
  values = {
    "AP": groups.get("total"),
    **{name: groups.get(name) for name in ("head", "wrist", "ankle")},
  }
  protocol = result["protocol"]
  return {
    "data": f"{source.root.name}, {protocol['split']}",
    "people": str(protocol["people"]),
    "steps × samples": f"{steps} × {samples}",
    **{name: _number(value, 1) for name, value in values.items()},
    **{
      f"PCK@{key}": _number(pck.get(key), 3) for key in ("0.05", "0.1", "0.2")
    },
  }


def _number(value: float | None, digits: int) -> str:
  return "–" if value is None or value != value else f"{value:.{digits}f}"


def _loss(workdir: pathlib.Path, weights: pathlib.Path) -> pack.Loss:
  before = estimator_lib.Estimator.load(workdir)
  after = estimator_lib.Estimator.load(weights)
  return pack.compare(before, before.with_params(after.params))


def about(network: pack_file.Network, weights: pathlib.Path) -> list[str]:
  """Lines on what the file is."""
  count = sum(leaf.size for leaf in network.leaves.values())
  height, width = network.config.data.size
  return [
    f"- file: `{weights.name}`, {weights.stat().st_size / 1e6:.2f} MB, "
    f"{count:,} parameters as {network.dtype}, training step {network.step}",
    f"- weights before rounding: SHA-256 `{network.packed_from}`",
    f"- crops {height}×{width}, δ = {network.config.data.span}, "
    f"{len(network.skeleton.joints)} joints ({network.skeleton.name}), "
    + ("calibrated" if network.calibration else "not calibrated"),
    f"- trained on: {network.config.data.name}",
  ]


def table(rows: Sequence[dict[str, str]]) -> list[str]:
  """Lines of the table."""
  lines = [COLUMNS, ("---",) * len(COLUMNS)]
  lines += [tuple(row[name] for name in COLUMNS) for row in rows]
  return [f"| {' | '.join(line)} |" for line in lines]


if __name__ == "__main__":
  try:
    main(sys.argv[1:])
  except (ValueError, OSError) as error:
    sys.exit(f"model_card: {error}")
