"""What is trained and read in each experiment: the whole plan, as data."""

import dataclasses
from typing import Any

HIDDEN, HARD, JHMDB = "hidden", "hard", "jhmdb"
_DISTILLED = "distill.distilled"  # in changes: iterations of `distill`
# One difference to the whole method each, as configs/ablations has them.
_LADDER: dict[str, dict[str, Any]] = {
  "single frame": {"data.span": 0, "model.diffusion": False},
  "temporal": {"model.diffusion": False},
  "no lookup": {"model.lookup": False},
  "full": {},
}
CONFIG = {HIDDEN: "synthetic_hidden", HARD: "synthetic_hard", JHMDB: "jhmdb"}
# What trainings have beside their config: that of `HIDDEN` for the others too.
_SHORT: dict[str, Any] = {
  "model.init_from": "benchmarks/experiments/small-4000.safetensors",
  "train.steps": 500,
  "train.learning_rate": 7e-4,
  "train.backbone_factor": 0.5,
  "train.validation_instances": 200,
  "train.evaluate_every": 250,
}
# More videos than that config has, and shorter ones.
_MORE: dict[str, Any] = {
  "data.synthetic.train_videos": 1000,
  "data.synthetic.val_videos": 240,
  "data.synthetic.frames": 8,
}
COMMON: dict[str, dict[str, Any]] = {
  HIDDEN: {"train.evaluate_every": 250},
  HARD: _SHORT | _MORE,
  JHMDB: _SHORT,
}


@dataclasses.dataclass(frozen=True)
class Run:
  """A training: what it changes of the base config of its data."""

  data: str
  changes: tuple[tuple[str, Any], ...]
  seed: int

  @property
  def name(self) -> str:
    """Its folder's; the same training in two experiments is one."""
    parts = [f"{key.split('.')[-1]}={value}" for key, value in self.changes]
    return "-".join([self.data, *parts, f"seed={self.seed}"])

  @property
  def values(self) -> dict[str, Any]:
    """Keys of the config, beside those of the base."""
    values = COMMON[self.data] | dict(self.changes) | {"seed": self.seed}
    values.pop(_DISTILLED, None)
    return values

  @property
  def distilled(self) -> tuple["Run", int] | None:
    """Of a run of `distill`, its teacher and its iterations."""
    changes = dict(self.changes)
    iterations = changes.pop(_DISTILLED, None)
    if iterations is None:
      return None
    return dataclasses.replace(self, changes=tuple(changes.items())), iterations


@dataclasses.dataclass(frozen=True)
class Experiment:
  """A question, the trainings that answer it, and how their poses are read.

  `steps` and `samples` are those of the sampler. Where there are several, each
  number of steps is read with 1, 2, 4 ... samples; else rows are compared with
  that many.
  """

  name: str
  question: str
  rows: dict[str, dict[str, Any]]  # name of a row → its changes
  reference: str  # the row that the others are compared with
  data: str = HIDDEN
  seeds: int = 3
  steps: tuple[int, ...] = (2,)
  samples: int = 4
  eta: float = 0.0
  solver: str = "ddim"
  people: int = 1500  # at most about so many are read

  def runs(self, row: str, seeds: int | None = None) -> list[Run]:
    """One for each seed."""
    changes = tuple(sorted(self.rows[row].items()))
    count = self.seeds if seeds is None else min(seeds, self.seeds)
    return [Run(self.data, changes, seed) for seed in range(count)]


EXPERIMENTS = {
  e.name: e
  for e in (
    Experiment(
      "ladder",
      "Do neighbours, diffusion and the lookup each add something?",
      _LADDER,
      "temporal",
    ),
    Experiment(
      "refined",
      "What if the decoder is made to use what it found?",
      {
        "temporal": {"model.diffusion": False},
        "full": {},
        "self_aligned 0, as in the paper": {"train.self_aligned": 0.0},
        "start_weight 1": {"train.start_weight": 1.0},
        "start_weight 1, self_condition": {
          "train.start_weight": 1.0,
          "model.self_condition": True,
        },
      },
      "temporal",
      seeds=1,
    ),
    Experiment(
      "hard",
      "The ladder where the network finds few people well",
      _LADDER,
      "temporal",
      data=HARD,
      seeds=1,
    ),
    Experiment(
      "span",
      "How many frames on each side?",
      {"δ = 0": {"data.span": 0}, "δ = 1": {}}
      | {f"δ = {span}": {"data.span": span} for span in (2, 3)},
      "δ = 0",
    ),
    Experiment(
      "aligned",
      "What share of the clips noised from the network's own estimate?",
      {
        "0, as in the paper": {"train.self_aligned": 0.0},
        "0.5": {},
        "1": {"train.self_aligned": 1.0},
      },
      "0.5",
      seeds=2,
    ),
    Experiment(
      "signal",
      "How strong a signal, beside the noise?",
      {
        "0.5": {},
        "1": {"diffusion.signal_scale": 1.0},
        "2": {"diffusion.signal_scale": 2.0},
      },
      "0.5",
      seeds=2,
    ),
    Experiment(
      "spread",
      "How wide a target?",
      {"3 cells": {}, "2 cells": {"diffusion.spread": 2.0}},
      "3 cells",
      seeds=2,
    ),
    Experiment(
      "sampling",
      "Do steps and samples help, and how are samples best merged?",
      {"full": {}},
      "full",
      seeds=1,
      steps=(1, 2, 4, 8, 16),
      samples=16,
      people=300,
    ),
    Experiment(
      "sampling-paper",
      "The same of a network trained as in the paper (self_aligned 0)",
      {"self_aligned 0": {"train.self_aligned": 0.0}},
      "self_aligned 0",
      seeds=1,
      steps=(1, 2, 4, 8, 16),
      samples=16,
      people=300,
    ),
    Experiment(
      "stochastic",
      "Do steps with noise of their own (η = 1) help?",
      {"self_aligned 0": {"train.self_aligned": 0.0}},
      "self_aligned 0",
      seeds=1,
      steps=(1, 2, 4, 8),
      samples=8,
      eta=1.0,
      people=300,
    ),
    Experiment(
      "second-order",
      "Does a solver of second order need fewer steps?",
      {"self_aligned 0": {"train.self_aligned": 0.0}},
      "self_aligned 0",
      seeds=1,
      steps=(1, 2, 4, 8),
      samples=8,
      solver="dpm2m",
      people=300,
    ),
    Experiment(
      "distilled",
      "Does a distilled decoder do in one step what several samples do?",
      {"distilled": {"train.self_aligned": 0.0, _DISTILLED: 300}},
      "distilled",
      seeds=1,
      steps=(1, 2, 4),
      samples=8,
      people=300,
    ),
    Experiment(
      "jhmdb",
      "The ladder on footage",
      _LADDER,
      "temporal",
      data=JHMDB,
      seeds=1,
    ),
  )
}
