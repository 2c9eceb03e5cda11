"""Operations of the network, counted by hand from its architecture.

Counted are matrix products, and convolution taps inside the border, at two
operations a multiply-add. What else there is, element by element, is a few per
cent of a network of the paper's size, and more of a small one.
"""

import dataclasses

from diffpose_jax.model import diffpose

Grid = tuple[int, int]  # rows, columns


@dataclasses.dataclass(frozen=True)
class Count:
  """Operations of the parts for one clip."""

  vit: int  # of all frames
  strl: int
  prepare: int  # what the decoder computes once per clip
  decoder: int  # one evaluation for one sample

  @property
  def encoder(self) -> int:
    """What a clip costs whatever the number of steps and samples."""
    return self.vit + self.strl + self.prepare

  def clip(self, steps: int, samples: int) -> int:
    """A whole clip."""
    return self.encoder + steps * samples * self.decoder


def count(model: diffpose.DiffPose, frames: int, picture: Grid) -> Count:
  """The count for clips of so many frames of a size (height, width)."""
  cells = (picture[0] // model.patch, picture[1] // model.patch)
  tokens = cells[0] * cells[1]
  width = model.backbone.width
  stem = _patch_stem if model.stem == "patch" else _conv_stem
  backbone = model.backbone.depth * block(tokens, width)
  return Count(
    vit=frames * (stem(picture, model.patch, width) + backbone),
    strl=_strl(frames, tokens, width, model.strl_depth),
    prepare=sum(_prepare(model, cells, width).values()),
    decoder=sum(_decoder(model, cells).values()),
  )


def dense(number: int, inputs: int, outputs: int) -> int:
  """A matrix product on so many vectors."""
  return 2 * number * inputs * outputs


def block(tokens: int, width: int) -> int:
  """A Transformer layer: qkv, logits and mixing, output, MLP of 4 widths."""
  attention = 2 * dense(tokens, tokens, width)
  return attention + dense(tokens, width, (3 + 1 + 4 + 4) * width)


def conv(grid: Grid, inputs: int, outputs: int) -> int:
  """3x3, as large as its input: the outer rows and columns lack three taps."""
  return dense((3 * grid[0] - 2) * (3 * grid[1] - 2), inputs, outputs)


def up(grid: Grid, inputs: int, outputs: int) -> int:
  """4x4 deconvolution of stride 2; all 16 taps of a cell, see layers.Up."""
  return dense(grid[0] * grid[1], inputs, 16 * outputs)


def down(grid: Grid, step: int, inputs: int, outputs: int) -> int:
  """Convolution of kernel and stride `step`, down to `grid`."""
  return dense(grid[0] * grid[1], step * step * inputs, outputs)


def _patch_stem(picture: Grid, patch: int, width: int) -> int:
  del patch
  # Two pixels of padding before the picture; behind it none is reached.
  return dense((picture[0] - 2) * (picture[1] - 2), 3, width)


def _conv_stem(picture: Grid, patch: int, width: int) -> int:
  total, (y, x), inputs = 0, picture, 3
  stages = patch.bit_length() - 2
  for i in range(stages):
    channels = max(16, width >> (stages - 1 - i))
    step = 2 if i else 4
    y, x = y // step, x // step
    total += down((y, x), step, inputs, channels)
    total += 2 * conv((y, x), channels, channels)
    inputs = channels
  return total


def _strl(frames: int, tokens: int, width: int, depth: int) -> int:
  return (
    dense(frames * tokens, width, width)
    + depth * block(frames * tokens, width)
    + 2 * frames * tokens * width  # frames are summed by weight
    + dense(tokens, width, 8 * width)  # MLP
  )


def _grids(model: diffpose.DiffPose, cells: Grid) -> list[tuple[int, Grid]]:
  """Scale (1, 2, 3) and grid of each branch of the decoder, low to high."""
  scales = range(4 - model.scales, 4)
  return [(j, (cells[0] << (j - 1), cells[1] << (j - 1))) for j in scales]


def _ups(cells: Grid, times: int, inputs: int, outputs: int) -> int:
  """Deconvolutions one after the other."""
  total = 0
  for i in range(times):
    total += up((cells[0] << i, cells[1] << i), inputs, outputs)
    inputs = outputs
  return total


def _mixed(scale: int, grid: Grid, inputs: int, outputs: int) -> int:
  """1x1 at the lowest scale, 3x3 at the others."""
  if scale == 1:
    return dense(grid[0] * grid[1], inputs, outputs)
  return conv(grid, inputs, outputs)


def parts(
  model: diffpose.DiffPose, frames: int, picture: Grid
) -> dict[str, int]:
  """Operations of one pass over a clip, by part of the network.

  The parts are vit, strl, the decoder's scales ("decoder 1" is the lowest) and
  "decoder", what its scales share; in all they are `Count.clip(1, 1)`.
  """
  whole = count(model, frames, picture)
  cells = (picture[0] // model.patch, picture[1] // model.patch)
  width = model.backbone.width
  prepare, decoder = _prepare(model, cells, width), _decoder(model, cells)
  return {"vit": whole.vit, "strl": whole.strl} | {
    name: prepare.get(name, 0) + operations
    for name, operations in decoder.items()
  }


def _prepare(
  model: diffpose.DiffPose, cells: Grid, width: int
) -> dict[str, int]:
  found, e = {}, model.decoder_width
  for scale, grid in _grids(model, cells):
    total = _ups(cells, scale - 1, width, e)
    if scale == 1:
      total += dense(cells[0] * cells[1], width, e)
    total += _mixed(scale, grid, e, e)  # the plain feature's half
    found[f"decoder {scale}"] = total
  return found


def _decoder(model: diffpose.DiffPose, cells: Grid) -> dict[str, int]:
  e, c, joints = model.decoder_width, model.heatmap_width, model.joints
  heatmap = (4 * cells[0], 4 * cells[1])
  time = dense(1, c, 4 * c) + dense(1, 4 * c, 4 * c) + dense(1, 4 * c, 2 * c)
  shared = time + conv(heatmap, joints, c) + conv(heatmap, e, joints)
  if model.self_condition:
    shared += conv(heatmap, joints, c)
  found = {"decoder": shared}
  local = e if model.lookup else c
  for scale, grid in _grids(model, cells):
    total = down(grid, 2, c, c) if scale < 3 else 0
    total += _mixed(scale, grid, c, c)  # refines the noisy heatmaps
    total += _mixed(scale, grid, local, e)
    if model.self_condition:
      total += _mixed(scale, grid, c, e)
      total += down(grid, 2, c, c) if scale < 3 else 0
    if scale == 1:
      tokens = grid[0] * grid[1]
      total += block(tokens, c) + 2 * block(tokens, e)
    else:
      total += conv(grid, e, e)
    total += _ups(grid, 3 - scale, e, e)
    found[f"decoder {scale}"] = total
  return found
