"""Norms of a step by part, beside NumPy's."""

import jax
import numpy as np

from diffpose_jax.training import norms


def _tree(seed):
  rng = np.random.default_rng(seed)
  made = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
  return {
    "vit": {"a": made(3, 5), "b": {"c": made(7)}},
    "strl": {"d": made(2, 11)},
    "zero": {"e": np.zeros(13, np.float32)},
  }


def _norm(tree):
  leaves = [leaf.ravel() for leaf in jax.tree.leaves(tree)]
  return np.linalg.norm(np.concatenate(leaves).astype(np.float64))


def test_norms_are_those_of_all_leaves_as_one_vector():
  grads, updates, params = _tree(0), _tree(1), _tree(2)
  found = jax.device_get(
    jax.jit(norms.of_gradients)(grads)
    | jax.jit(norms.of_updates)(updates, params)
  )
  expected = {"gradient_norm": _norm(grads)}
  for part in grads:
    expected[f"gradient_norm/{part}"] = _norm(grads[part])
    if part != "zero":
      ratio = _norm(updates[part]) / _norm(params[part])
      expected[f"update_ratio/{part}"] = ratio
  assert np.isnan(found.pop("update_ratio/zero"))
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_allclose(found[name], value, rtol=1e-6)
