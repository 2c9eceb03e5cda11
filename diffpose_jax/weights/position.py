"""Position embeddings of another grid of patches."""

import numpy as np
from jaxtyping import Float

_SHARPNESS = -0.75  # the cubic kernel's free parameter, as in PyTorch, OpenCV


def grid_of(tokens: int) -> tuple[int, int] | None:
  """Rows and columns of so many patches, None where neither form fits.

  Public weights are of square pictures, or of persons': 4 high by 3 wide.
  """
  side = round(tokens**0.5)
  if side * side == tokens:
    return side, side
  unit = round((tokens / 12) ** 0.5)
  return (4 * unit, 3 * unit) if 12 * unit * unit == tokens else None


def resize(
  position: Float[np.ndarray, "1 y x d"], grid: tuple[int, int]
) -> Float[np.ndarray, "1 _y _x d"]:
  """The embedding on another grid, as PyTorch's bicubic interpolation does.

  Without antialiasing, and with the edges repeated (`align_corners=False`).
  """
  rows = _weights(position.shape[1], grid[0])
  columns = _weights(position.shape[2], grid[1])
  result = np.einsum("iy,byxd,jx->bijd", rows, position, columns, optimize=True)
  return result.astype(np.float32)


def _weights(old: int, new: int) -> Float[np.ndarray, "n o"]:
  """What each of `old` cells gives to each of `new`.

  Source: Keys 1981, Cubic convolution interpolation, eq. (11), with the free
  parameter of PyTorch.
  """
  centre = (np.arange(new) + 0.5) * old / new - 0.5
  first = np.floor(centre).astype(int) - 1
  weights = np.zeros((new, old))
  for tap in range(4):
    cell = first + tap
    t = np.abs(centre - cell)
    near = ((_SHARPNESS + 2) * t - (_SHARPNESS + 3)) * t * t + 1
    far = _SHARPNESS * (((t - 5) * t + 8) * t - 4)
    value = np.where(t <= 1, near, far)
    np.add.at(weights, (np.arange(new), np.clip(cell, 0, old - 1)), value)
  return weights
