"""A frame in full, and shrunk as far as a crop of it allows.

A crop that shows much of a large frame in few pixels, cut out of it directly,
sees one pixel of many: it is aliased, as what the network learned from is not
(`clips`). So it is cut out of the frame shrunk by 2, 4 or 8.
"""

import pathlib
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from diffpose_jax.data import images, warping


class Pyramid:
  """One frame; what it is shrunk to is kept."""

  def __init__(
    self, full: UInt8[np.ndarray, "h w 3"], file: pathlib.Path | None = None
  ):
    """`file` is the picture's, if it is one: a JPEG is shrunk by decoding it.

    Then a crop is the same to the last bit as in training and evaluation.
    """
    self.full = full
    self._file = file
    self._scaled = {1: images.Scaled(full, 1)}

  def scaled(self, factor: int) -> images.Scaled:
    """The frame shrunk by a factor of `images.FACTORS`, or in full for a PNG."""
    if factor not in self._scaled:
      self._scaled[factor] = self._shrunk(factor)
    return self._scaled[factor]

  def _shrunk(self, factor: int) -> images.Scaled:
    if self._file is None:
      return shrunk(self.full, factor)
    data, place = self._file.read_bytes(), str(self._file)
    return images.decode_scaled(data, place=place, factor=factor)


def shrunk(full: UInt8[np.ndarray, "h w 3"], factor: int) -> images.Scaled:
  """A picture whose pixels are means of `factor` by `factor` of another's.

  Beyond its edges, those are repeated.
  """
  height, width = full.shape[:2]
  bottom, right = -height % factor, -width % factor
  if bottom or right:
    edge = cv2.BORDER_REPLICATE
    full = cv2.copyMakeBorder(full, 0, bottom, 0, right, edge)
  size = full.shape[1] // factor, full.shape[0] // factor
  return images.Scaled(
    cv2.resize(full, size, interpolation=cv2.INTER_AREA), factor
  )


def cut(
  frames: Sequence[Pyramid],
  affine: Float[np.ndarray, "2 3"],
  size: tuple[int, int],
) -> warping.Crops:
  """Crops of frames of one size, by an affine from a frame in full.

  Each out of the frame as small as it can be without being enlarged.
  """
  factor = images.shrinkage(affine)
  scaled = [frame.scaled(factor) for frame in frames]
  affines = [
    affine if one.factor == 1 else one.affine(affine) for one in scaled
  ]
  return warping.warp([one.pixels for one in scaled], np.stack(affines), size)
