"""Boxes and scores of people out of what YOLOX and RTMDet give."""

import numpy as np
from jaxtyping import Float, Int

# The pixels between the cells of YOLOX's grids: of most, and of its P6 form.
STRIDES = ((8, 16, 32), (8, 16, 32, 64))
CLASSES = (1, 80)  # people alone, and COCO's 80 things, of which people are 0
_PERSON = 0
_LARGEST = 20.0  # exponent of a side, in cells; keeps exp finite


def cells(size: tuple[int, int], count: int) -> Float[np.ndarray, "n 3"] | None:
  """x, y and stride of each cell of YOLOX's grids, in the order of its rows.

  Args:
    size: (height, width) of the network's input.
    count: rows of its output; None comes back where no grids have so many.
  """
  for strides in STRIDES:
    grids = [(size[0] // s, size[1] // s, s) for s in strides]
    if sum(rows * columns for rows, columns, _ in grids) != count:
      continue
    parts = []
    for rows, columns, stride in grids:
      y, x = np.mgrid[:rows, :columns]
      parts.append(
        np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], axis=1)
      )
    return np.concatenate(parts).astype(np.float64)
  return None


def is_raw(
  output: Float[np.ndarray, "n c"], grid: Float[np.ndarray, "n 3"]
) -> bool:
  """Whether centres are offsets in cells, and not yet pixels of the input.

  Half of the exports of YOLOX leave this last step to the user. Offsets are a
  few cells; centres in pixels are within a few cells of their cell.
  """
  centre, stride = output[:, :2].astype(np.float64), grid[:, 2:]
  offset = np.abs(centre)
  distance = np.abs(centre / stride - grid[:, :2])
  return bool(np.mean(np.minimum(offset, 9)) < np.mean(np.minimum(distance, 9)))


def yolox(
  output: Float[np.ndarray, "n c"],
  grid: Float[np.ndarray, "n 3"],
  *,
  raw: bool,
  threshold: float,
) -> tuple[Float[np.ndarray, "m 4"], Float[np.ndarray, "m"]]:
  """Edges in the input and scores of the people that score the threshold.

  Args:
    output: a row a cell: centre x, y, width, height, whether there is
      anything, and which class it is of.
    grid: what `cells` gives.
    raw: what `is_raw` says; then centres and logarithms of sides are in cells.
    threshold: least product of the two probabilities.

  Source: Z. Ge et al., YOLOX: Exceeding YOLO Series in 2021,
  https://arxiv.org/abs/2107.08430.
  """
  scores = output[:, 4].astype(np.float64) * output[:, 5 + _PERSON]
  likely = ~(scores < np.float32(threshold))  # NaN too, which is refused later
  rows, grid = output[likely].astype(np.float64), grid[likely]
  centre, sides = rows[:, :2], rows[:, 2:4]
  if raw:
    stride = grid[:, 2:]
    centre = (centre + grid[:, :2]) * stride
    sides = np.exp(np.minimum(sides, _LARGEST)) * stride
  edges = np.concatenate([centre - sides / 2, centre + sides / 2], axis=1)
  return edges, scores[likely]


def ended(
  dets: Float[np.ndarray, "n 5"], labels: Int[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "m 4"], Float[np.ndarray, "m"]]:
  """Edges in the input and scores of people, of a network that ends with NMS.

  Such networks fill up with rows of score 0 or label -1.
  """
  people = (labels == _PERSON) & ~(dets[:, 4] <= 0)
  found = dets[people].astype(np.float64)
  return found[:, :4], found[:, 4]
