"""Average precision by object keypoint similarity, COCO's measure of poses.

The OKS of a pose and a true person is the mean over the labelled joints of
exp(-d² / (2 a (2 sigma)²)), d being the joint's distance in pixels and a the
person's area; a pose is right at a threshold t where its OKS is at least t.
AP is the mean over t = 0.50, 0.55, ..., 0.95 of the precision at 101 recalls,
AR that of the largest recall; M and L are people of 32² to 96² and of more
square pixels. Source: COCO's evaluation page (cocodataset.org, keypoints) and
pycocotools, which computes all of it here.

- Sigmas are the skeleton's, of its evaluated joints.
- A person's score is the mean of the scores of the joints that are predicted,
  which is the box's score times the mean of the heatmaps' peaks, as top-down
  methods rank their COCO results; the box's alone says nothing where boxes are
  the truth's. A person without joint scores is ranked by the score of the file
  (`score` of a COCO result), or else 1.
- Joints strictly inside an ignore region count on neither side, and frames in
  which nobody is annotated do not count at all, as in PoseTrack's AP. People
  of whom no joint is left are ignored as COCO does: a pose within twice their
  box is neither right nor wrong. Poses of whom no joint is left are not there.
- A joint that is labelled and not predicted has similarity 0.

Differs: the area is that of the person's box, or else of the box around the
labelled joints; COCO's files give that of the outline, about half of the box.
Differs: COCO looks at the 20 best poses of a picture. Here it is as many as the
most crowded picture has people, where these are more: PoseTrack has such.
Differs: COCO's crowds are ignore regions here (see above), not people.
"""

import contextlib
import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from pycocotools import coco, cocoeval

from diffpose_jax.data.annotations import Person
from diffpose_jax.evaluation import matching, metric

ABOUT = "OKS AP and AR as COCO defines them, percent; areas are the boxes'"

_MOST = 20  # poses of a picture that COCO looks at
_ALL, _MEDIUM, _LARGE = range(3)  # COCOeval's areas,
_AT_50, _AT_75 = 0, 5  # ... and two of its ten thresholds


def measure(case: matching.Case) -> dict[str, Any]:
  """`oks`: AP, AP50, AP75, AP_M, AP_L and the same of AR, in percent.

  None where there is nobody to judge.

  Raises:
    ValueError: a score or the place of a predicted joint is not finite.
  """
  frames = [frame for frame in case.frames if frame.counts]
  truth = [_true_people(frame) for frame in frames]
  poses = [_poses(frame) for frame in frames]
  sigmas = np.array(case.skeleton.sigmas)[list(case.skeleton.evaluated)]
  with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
    evaluator = cocoeval.COCOeval(_coco(truth), _coco(poses), "keypoints")
    evaluator.params.kpt_oks_sigmas = sigmas
    evaluator.params.maxDets = [max([_MOST, *map(len, truth)])]
    evaluator.evaluate()
    evaluator.accumulate()
  precision = evaluator.eval["precision"][:, :, 0, :, 0]  # t, recall, area
  recall = evaluator.eval["recall"][:, 0, :, 0]  # t, area
  result = {}
  for name, values in (("AP", precision), ("AR", recall[:, None])):
    result |= {
      name: _percent(values[..., _ALL]),
      f"{name}50": _percent(values[_AT_50, :, _ALL]),
      f"{name}75": _percent(values[_AT_75, :, _ALL]),
      f"{name}_M": _percent(values[..., _MEDIUM]),
      f"{name}_L": _percent(values[..., _LARGE]),
    }
  return {"oks": result}


def tables(result: Mapping[str, Any]) -> list[metric.Table]:
  """COCO's columns."""
  return [metric.Table("Object keypoint similarity, %", {"OKS": result["oks"]})]


def _percent(values: np.ndarray) -> float | None:
  """Mean of what is known; COCOeval writes -1 where nothing is."""
  known = values[values > -1]
  # COCOeval keeps its denominators above 0 by 2e-16: that is no digit of ours.
  return round(100 * float(np.mean(known)), 9) if known.size else None


def _coco(frames: list[list[dict[str, Any]]]) -> coco.COCO:
  """COCO's records of people, numbered; filled in memory, without a file."""
  records: list[dict[str, Any]] = []
  for image, people in enumerate(frames):
    for record in people:
      # From 1: COCOeval takes the number 0 for nobody.
      number = {"id": len(records) + 1, "image_id": image, "category_id": 1}
      records.append(record | number)
  content: Any = {
    "images": [{"id": image} for image in range(len(frames))],
    "categories": [{"id": 1, "name": "person"}],
    "annotations": records,
  }
  data = coco.COCO()
  data.dataset = content
  data.createIndex()
  return data


def _true_people(frame: matching.Judged) -> list[dict[str, Any]]:
  """Of all true people with a box or a labelled joint."""
  records = []
  channels = list(frame.skeleton.evaluated)
  for i, person in enumerate(frame.truth.people):
    box = _box(person, channels)
    if box is None:
      continue
    sides = box[2:] - box[:2]
    records.append(
      {
        "keypoints": _flat(frame.true_joints[i], frame.true_there[i]),
        "num_keypoints": int(np.sum(frame.true_there[i])),
        "bbox": [*box[:2], *sides],
        "area": float(np.prod(sides)),
        "iscrowd": 0,
      }
    )
  return records


def _poses(frame: matching.Judged) -> list[dict[str, Any]]:
  """Of all predicted people of whom a joint is judged."""
  records = []
  channels = list(frame.skeleton.evaluated)
  rows = zip(frame.other.people, frame.joints, frame.there, strict=True)
  for person, joints, there in rows:
    if not np.any(there):
      continue
    if not np.all(np.isfinite(joints[there])):
      raise ValueError(f"{frame.place}: a predicted joint is not finite")
    # Infinitely far: of similarity 0 to whatever is labelled there.
    far = np.where(there[:, None], joints, np.inf)
    records.append(
      {
        "keypoints": _flat(far, there),
        "area": float(np.prod(np.ptp(joints[there], axis=0))),
        "score": _score(person, channels, frame.place),
      }
    )
  return records


def _flat(
  joints: Float[np.ndarray, "k 2"], there: Bool[np.ndarray, "k"]
) -> Float[np.ndarray, "_"]:
  """COCO's x, y, visibility of one joint after the other."""
  return np.concatenate([joints, 2.0 * there[:, None]], axis=1).reshape(-1)


def _box(person: Person, channels: list[int]) -> np.ndarray | None:
  if person.box is not None:
    return np.asarray(person.box, np.float64)
  joints = person.joints[channels][person.labelled[channels]]
  if not len(joints):
    return None
  edges = np.concatenate([np.min(joints, axis=0), np.max(joints, axis=0)])
  return edges.astype(np.float64)


def _score(person: Person, channels: list[int], place: str) -> float:
  """By which a pose with a judged joint is ranked."""
  score = person.box_score
  if person.scores is not None:
    given = person.scores[channels][person.labelled[channels]]
    score = float(np.mean(given, dtype=np.float64))
  if not math.isfinite(score):
    raise ValueError(f"{place}: a predicted person's score is {score}")
  return score
