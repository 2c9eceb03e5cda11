"""Memory beside the activations that must live at once (P15).

These are counted from the architecture, at the widest place of the encoder and
of the decoder: a layer's input and output, and what is needed after it. Memory
that an implementation takes beyond them (copies, paddings, gathered patches) is
not counted.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from diffpose_jax import config as config_lib
from diffpose_jax.benchmark import clip as clip_lib
from diffpose_jax.benchmark import compiling, measure
from diffpose_jax.benchmark import subject as subject_lib
from diffpose_jax.benchmark.result import Bar, Row


@dataclasses.dataclass(frozen=True)
class Needed:
  """Bytes of one more clip in a batch, one more sample of a clip."""

  clip: int
  sample: int
  logits: int  # of a clip, where attention keeps all of them


def needed(subject: subject_lib.Subject) -> Needed:
  """What one clip and one sample need.

  A clip: the widest layer over all frames. An MLP holds the residual stream,
  its normalised copy and the hidden layer, four times as wide, which is more
  than attention needs: that can do without all of its logits at once, which
  are told apart. The stem holds the normalised pictures and the tokens.
  A sample: at the heatmap's size, the noisy heatmap, the sum of the branches so
  far, and a layer's input and output.
  """
  config: Any = subject.config
  model = subject.model
  y, x, joints = subject.heatmap
  item = jnp.dtype(model.dtype).itemsize
  size = model.backbone
  tokens = y * x // 16  # of a frame; the heatmap has 4 cells a patch a side
  frames = config_lib.frames(config)
  streams = frames * tokens * size.width * item
  height, width = config.data.size
  stem = frames * height * width * 3 * 4 + streams  # pictures are float32
  joint = (frames * tokens) ** 2 if model.strl_depth else frames * tokens**2
  return Needed(
    clip=max(stem, 6 * streams),
    sample=y * x * (4 * joints + 3 * model.decoder_width * item),
    logits=4 * size.heads * joint,
  )


def memory(clip: clip_lib.Clip) -> Iterator[Row]:
  """P15: what another clip and another sample need, beside what they must."""
  subject = clip.subject
  walk = subject.traced_walk(2)

  def planned(function, *arguments) -> compiling.Memory:
    lowered = jax.jit(function).lower(subject.params, *arguments)
    return compiling.memory(lowered.compile())

  def clips(number: int) -> int:
    def encode(params, frames):
      return jax.tree.leaves(subject.encode(params, frames))

    return planned(encode, subject.clips(number)[0]).temporary

  def samples(number: int) -> int:
    sample, leaves = clip.sampler(number)
    return planned(sample, leaves, clip.noise_id, walk).temporary

  least = needed(subject)
  clip_logits = {"its attention's logits MiB": least.logits / 2**20}
  for name, found, wanted, more in (
    ("clip to encode", (clips(4) - clips(1)) / 3, least.clip, clip_logits),
    ("sample to denoise", (samples(10) - samples(1)) / 9, least.sample, {}),
  ):
    yield Row(
      id="P15",
      name=f"memory of another {name}",
      ratio_of="temporary memory that XLA plans / activations that must live",
      ratio=measure.Spread.of([found / wanted]),
      bar=Bar("at most", 1.2),
      figures={"planned MiB": found / 2**20, "needed MiB": wanted / 2**20}
      | more,
    )
  peaks = {}
  for number in (1, 10):
    whole = subject.whole(number)
    memory = planned(whole, clip.frames, clip.noise_id, walk)
    peaks[f"samples {number}: MiB"] = memory.peak / 2**20
  yield Row(
    id="P15", name="memory of a whole clip, weights and all", figures=peaks
  )
