"""The names that ViT weights of Flax go by, made one set of names.

vit_jax, and big_vision with it, numbered the parts of a block otherwise and
kept the position embedding elsewhere; training states have a prefix; scanned
blocks are one stack.
"""

import numpy as np

MARK = "Transformer/encoder_norm/scale"  # a key that they all end with
MAX_BLOCKS = 1000

_STACK = "Transformer/encoderblock/"
_POSITION = (
  "Transformer/posembed_input/pos_embedding",
  "Transformer/pos_embedding",
)
_LAYERS = {
  "LayerNorm_2": "LayerNorm_1",
  "MultiHeadDotProductAttention_1": "MultiHeadDotProductAttention_0",
  "MlpBlock_3": "MlpBlock_0",
}


def plain(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The tensors by big_vision's present names, a stack taken apart.

  Raises ValueError where two names would become one.
  """
  result: dict[str, np.ndarray] = {}
  for original, array in tensors.items():
    name = _plain(original)
    new = {name: array}
    if name.startswith(_STACK):
      rest = name.removeprefix(_STACK)
      if not 0 < (len(array) if array.ndim else 0) <= MAX_BLOCKS:
        raise ValueError(
          f"{original[:80]!a} of shape {array.shape} is no stack"
        )
      new = {
        f"Transformer/encoderblock_{i}/{rest}": part
        for i, part in enumerate(array)
      }
    if new.keys() & result.keys():
      raise ValueError(f"{original[:80]!a} is there under two names")
    result |= new
  return result


def _plain(name: str) -> str:
  name = name.removeprefix("params/")
  if name in _POSITION:
    return "pos_embedding"
  parts = name.split("/")
  if len(parts) > 3 and parts[0] == "Transformer":
    parts[2] = _LAYERS.get(parts[2], parts[2])
  return "/".join(parts)
