"""SpatioTemporal Representation Learner: frames of a clip into one feature.

Source: Feng et al. 2023 (arXiv 2307.16687), section on STRL: patch embedding,
learnable position embedding, cascaded pre-norm Transformer over the tokens of
all frames, and an MLP that aggregates the frames.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from diffpose_jax.model import transformer


def _key_frame(key, shape, dtype=jnp.float32):
  """Weights of the frames that pick the key frame alone."""
  del key
  return jnp.zeros(shape, dtype).at[shape[0] // 2].set(1.0)


class STRL(nn.Module):
  """One feature of the key frame from the features of all frames."""

  depth: int
  heads: int
  drop_path: float = 0.0
  dtype: DTypeLike = jnp.float32
  execution: transformer.Execution = transformer.Execution()

  @nn.compact
  def __call__(
    self, features: Float[Array, "b t y x d"], train: bool = False
  ) -> Float[Array, "b y x d"]:
    """The fused feature, same grid and width.

    The position embedding of a frame is a spatial term shared by all frames
    plus a term of the frame. The aggregation starts as the key frame alone, so
    that fusing frames cannot begin by blurring it.
    """
    b, t, y, x, d = features.shape
    tokens = nn.Dense(d, dtype=self.dtype, name="embed")(features)
    space = self.param("position_space", transformer.INIT, (1, 1, y, x, d))
    frame = self.param("position_frame", transformer.INIT, (1, t, 1, 1, d))
    tokens = tokens + (space + frame).astype(tokens.dtype)
    tokens = tokens.reshape(b, t * y * x, d)
    tokens = transformer.stack(
      self,
      tokens,
      [f"block_{i}" for i in range(self.depth)],
      {"heads": self.heads, "dtype": self.dtype},
      self.execution,
      [self.drop_path if train else 0.0] * self.depth,
    )
    tokens = transformer.norm("norm")(tokens).astype(self.dtype)
    weights = self.param("aggregate", _key_frame, (t,))
    fused = jnp.einsum(
      "btnd,t->bnd",
      tokens.reshape(b, t, y * x, d),
      weights.astype(tokens.dtype),
    )
    fused = transformer.Mlp(dtype=self.dtype, name="mlp")(fused)
    return fused.reshape(b, y, x, d)
