"""Writes hota_reference.json: what TrackEval's HOTA says of random tracks.

  pip install trackeval==1.3.0
  python tests/evaluation/metrics/make_hota_reference.py

TrackEval is not among the project's locked packages: it needs another build of
OpenCV than they have.
"""

import importlib
import json
import pathlib

import numpy as np

HOTA = importlib.import_module("trackeval.metrics").HOTA
FIELDS = ("HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA")


def sequence(rng):
  """Ids of people and poses of each frame, and their similarities."""
  people, poses, similarities = [], [], []
  names = rng.permutation(7)
  for _ in range(rng.integers(2, 14)):
    if rng.random() < 0.2:
      names = rng.permutation(7)
    crowd = rng.permutation(5)[: rng.integers(0, 6)]
    guesses = rng.permutation(7)[: rng.integers(0, 6)]
    own = crowd[:, None] == guesses
    close = rng.uniform(0.3, 1, own.shape)
    far = rng.uniform(-0.5, 0.6, own.shape)
    similarity = np.maximum(np.where(own, close, far), 0)
    people.append(crowd.tolist())
    poses.append(names[guesses].tolist())
    similarities.append(np.round(similarity, 3).tolist())
  return {"people": people, "poses": poses, "similarities": similarities}


def judged(sequences):
  """TrackEval's values of all sequences together, 19 of each."""
  metric = HOTA()
  results = {}
  for number, one in enumerate(sequences):
    sides, tracks = {}, {}
    for side in ("people", "poses"):
      known = sorted({i for ids in one[side] for i in ids})
      sides[side] = [
        np.array([*map(known.index, ids)], int) for ids in one[side]
      ]
      tracks[side] = len(known)
    data = {
      "num_gt_ids": tracks["people"],
      "num_tracker_ids": tracks["poses"],
      "num_gt_dets": sum(map(len, sides["people"])),
      "num_tracker_dets": sum(map(len, sides["poses"])),
      "gt_ids": sides["people"],
      "tracker_ids": sides["poses"],
      "similarity_scores": [
        np.array(values, float).reshape(len(people), len(poses))
        for values, people, poses in zip(
          one["similarities"], sides["people"], sides["poses"], strict=True
        )
      ],
    }
    results[str(number)] = metric.eval_sequence(data)
  combined = metric.combine_sequences(results)
  return {field: combined[field].tolist() for field in FIELDS}


def reference(seed, sequences):
  """Random sequences with TrackEval's values."""
  rng = np.random.default_rng(seed)
  made = [sequence(rng) for _ in range(sequences)]
  return {"sequences": made, "expected": judged(made)}


if __name__ == "__main__":
  cases = [reference(seed, sequences=2 + seed) for seed in range(3)]
  path = pathlib.Path(__file__).with_name("hota_reference.json")
  path.write_text(json.dumps(cases, separators=(",", ":")) + "\n")
