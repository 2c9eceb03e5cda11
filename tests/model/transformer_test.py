"""However a stack of layers is run, it computes the same."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportOptionalMemberAccess=false
# (Linen's `init` and `apply` have no types that a checker can use.)

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from diffpose_jax.model import transformer

WAYS = {
  "dots": transformer.Execution(remat="dots"),
  "full": transformer.Execution(remat="full"),
  "scan": transformer.Execution(scan=True),
  "scan, dots": transformer.Execution(scan=True, remat="dots"),
  "scan, full": transformer.Execution(scan=True, remat="full"),
}


class Stack(nn.Module):
  """Layers under test: width and depth come from the input and `drop`."""

  drop: tuple[float, ...]
  execution: transformer.Execution = transformer.Execution()
  dtype: type = jnp.float32

  @nn.compact
  def __call__(self, x):
    names = [f"block_{i}" for i in range(len(self.drop))]
    block = {"heads": 3, "dtype": self.dtype}
    return transformer.stack(self, x, names, block, self.execution, self.drop)


@pytest.fixture(scope="module")
def small():
  """Tokens, and parameters of five layers of which none is at a zero."""
  x = jax.random.normal(jax.random.key(1), (2, 7, 33))
  params = jax.jit(Stack((0.0,) * 5).init)(jax.random.key(0), x)
  return x, jax.tree.map(
    lambda v: v + 0.1 * jax.random.normal(jax.random.key(v.size), v.shape),
    params,
  )


def _loss(stack, params, x, key=None):
  rngs = None if key is None else {"dropout": key}
  return jnp.sum(jnp.sin(stack.apply(params, x, rngs=rngs)))


@pytest.mark.parametrize("way", list(WAYS))
def test_every_way_gives_the_same_values_and_gradients(small, way):
  x, params = small
  plain, other = (
    jax.jit(jax.value_and_grad(functools.partial(_loss, Stack((0.0,) * 5, e))))
    for e in (transformer.Execution(), WAYS[way])
  )
  wanted, found = plain(params, x), other(params, x)
  # The same matrix products, which the compiler may fuse in another way.
  np.testing.assert_allclose(found[0], wanted[0], rtol=1e-5)
  assert jax.tree.structure(found[1]) == jax.tree.structure(wanted[1])
  for a, b in zip(
    jax.tree.leaves(found[1]), jax.tree.leaves(wanted[1]), strict=True
  ):
    np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max())


@pytest.mark.parametrize("way", list(WAYS))
def test_parameters_are_the_same_tree_in_every_way(small, way):
  x, params = small
  made = jax.eval_shape(Stack((0.0,) * 5, WAYS[way]).init, jax.random.key(0), x)
  shapes = functools.partial(jax.tree.map, lambda v: (v.shape, v.dtype))
  assert shapes(made) == shapes(params)


@pytest.mark.parametrize("way", list(WAYS))
def test_the_order_of_the_layers_matters_and_is_kept(small, way):
  x, params = small
  p = params["params"]
  turned = {"params": {f"block_{i}": p[f"block_{4 - i}"] for i in range(5)}}
  plain, other = Stack((0.0,) * 5), Stack((0.0,) * 5, WAYS[way])
  wanted = plain.apply(turned, x)
  assert float(jnp.abs(wanted - plain.apply(params, x)).max()) > 0.1
  np.testing.assert_allclose(other.apply(turned, x), wanted, atol=2e-5)


def _temporary(way, x, params):
  """Bytes of temporaries that the gradient needs."""
  run = jax.grad(functools.partial(_loss, Stack((0.0,) * 5, way)))
  return jax.jit(run).lower(params, x).compile().memory_analysis()


def test_full_remat_needs_less_memory():
  x = jnp.zeros((8, 257, 33))
  params = jax.jit(Stack((0.0,) * 5).init)(jax.random.key(0), x)
  plain, full = (
    _temporary(way, x, params).temp_size_in_bytes
    for way in (transformer.Execution(), WAYS["scan, full"])
  )
  assert full < 0.6 * plain


def test_a_loop_compiles_one_layer(small):
  x, params = small

  def products(execution):
    stack = Stack((0.0,) * 5, execution)
    return jax.jit(stack.apply).lower(params, x).as_text().count("dot_general")

  one, five = (
    products(transformer.Execution(scan=True)),
    products(transformer.Execution()),
  )
  assert five == 5 * one


@pytest.mark.parametrize("scan", [False, True])
def test_a_rate_of_stochastic_depth_is_of_its_own_layer(small, scan):
  """Layer 1 and 3 dropped for certain leave what 0, 2 and 4 compute."""
  x, params = small
  almost = 1 - 1e-7  # float32's nearest below 1 keeps a branch once in 10^7
  stack = Stack(
    (0.0, almost, 0.0, almost, 0.0), transformer.Execution(scan=scan)
  )
  found = stack.apply(params, x, rngs={"dropout": jax.random.key(5)})
  p = params["params"]
  kept = {
    "params": {f"block_{i}": p[f"block_{2 * i}"] for i in range(3)},
  }
  wanted = Stack((0.0,) * 3).apply(kept, x)
  np.testing.assert_allclose(found, wanted, atol=2e-5)


@pytest.mark.parametrize("scan", [False, True])
def test_stochastic_depth_keeps_the_mean(scan):
  x = jnp.ones((4001, 1, 3))
  stack = Stack((0.3,), transformer.Execution(scan=scan))
  params = jax.jit(stack.init)(jax.random.key(0), x[:1])
  branch = Stack((0.0,)).apply(params, x[:1]) - x[:1]
  rngs = {"dropout": jax.random.key(2)}
  dropped = jax.jit(stack.apply)(params, x, rngs=rngs) - x
  spread = float(jnp.abs(dropped).max()) / math.sqrt(x.shape[0])
  np.testing.assert_allclose(dropped.mean(0), branch[0], atol=5 * spread)


def _slow_attention(q, k, v):
  """Softmax attention of one head, row by row, in float64."""
  out = np.zeros_like(v)
  for i, query in enumerate(q):
    logits = np.array([query @ key for key in k]) / math.sqrt(len(query))
    weights = np.exp(logits - logits.max())
    out[i] = (weights / weights.sum()) @ v
  return out


def test_attention_is_softmax_of_scaled_products(key):
  x = jax.random.normal(key, (1, 5, 6))
  attention = transformer.Attention(3)
  params = attention.init(jax.random.key(1), x)
  p = jax.tree.map(lambda v: np.asarray(v, np.float64), params["params"])
  qkv = (np.asarray(x[0], np.float64) @ p["qkv"]["kernel"] * 1.0).reshape(
    5, 3, 3, 2
  )
  mixed = np.stack(
    [
      _slow_attention(*(qkv[:, part, head] for part in range(3)))
      for head in range(3)
    ],
    axis=1,
  ).reshape(5, 6)
  np.testing.assert_allclose(
    attention.apply(params, x)[0], mixed @ p["out"]["kernel"], atol=1e-6
  )


def test_the_fused_kernel_gets_what_the_plain_one_computes(key, monkeypatch):
  """Its layout of axes, by XLA's implementation of the same call."""
  x = jax.random.normal(key, (2, 7, 33))
  plain = transformer.Attention(3, kernel="plain")
  params = plain.init(jax.random.key(1), x)
  wanted = plain.apply(params, x)
  called = []
  real = jax.nn.dot_product_attention

  def stand_in(q, k, v, *, implementation):
    called.append(implementation)
    return real(q, k, v, implementation="xla")

  monkeypatch.setattr(transformer, "attention_kernel", lambda *_: "cudnn")
  monkeypatch.setattr(jax.nn, "dot_product_attention", stand_in)
  found = transformer.Attention(3, kernel="cudnn").apply(params, x)
  assert called == ["cudnn"]
  np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize(
  ("wanted", "platform", "dtype", "tokens", "width", "kernel"),
  [
    ("auto", "gpu", jnp.bfloat16, 960, 64, "cudnn"),
    ("auto", "gpu", jnp.float16, 960, 64, "cudnn"),
    ("auto", "gpu", jnp.bfloat16, 192, 64, "plain"),
    ("auto", "gpu", jnp.float32, 960, 64, "plain"),
    ("auto", "gpu", jnp.bfloat16, 960, 36, "plain"),
    ("auto", "gpu", jnp.bfloat16, 960, 256, "plain"),
    ("auto", "cpu", jnp.bfloat16, 960, 64, "plain"),
    ("auto", "tpu", jnp.bfloat16, 960, 64, "plain"),
    ("plain", "gpu", jnp.bfloat16, 960, 64, "plain"),
    ("cudnn", "gpu", jnp.bfloat16, 192, 64, "cudnn"),
  ],
)
def test_the_kernel_is_chosen_by_platform_and_size(
  wanted, platform, dtype, tokens, width, kernel
):
  chosen = transformer.attention_kernel(wanted, platform, dtype, tokens, width)
  assert chosen == kernel


@pytest.mark.parametrize(
  ("platform", "dtype", "width"),
  [
    ("cpu", jnp.bfloat16, 64),
    ("gpu", jnp.float32, 64),
    ("gpu", jnp.bfloat16, 20),
  ],
)
def test_a_kernel_that_cannot_be_is_refused(platform, dtype, width):
  with pytest.raises(ValueError, match="take 'auto'"):
    transformer.attention_kernel("cudnn", platform, dtype, 960, width)


def test_in_bfloat16_norms_and_softmax_are_float32(small):
  """What is bfloat16 are matrix products and what flows between layers."""
  x, params = small
  text = jax.jit(Stack((0.0,) * 5, dtype=jnp.bfloat16).apply).lower(
    params, x.astype(jnp.bfloat16)
  )
  lines = text.as_text().splitlines()
  exponentials = [line for line in lines if "stablehlo.exponential" in line]
  roots = [line for line in lines if "stablehlo.rsqrt" in line]
  products = [line for line in lines if "dot_general" in line]
  assert len(exponentials) == 5 and len(roots) >= 2
  assert all("f32" in line and "bf16" not in line for line in exponentials)
  assert all("f32" in line and "bf16" not in line for line in roots)
  assert all("bf16" in line and "f32" not in line for line in products)
