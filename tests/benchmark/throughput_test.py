"""Shares of the matrix rate."""

import jax
import numpy as np
import pytest

from diffpose_jax.benchmark import measure, throughput


@pytest.fixture
def small_matrices(monkeypatch):
  monkeypatch.setattr(throughput, "_SIDES", {"cpu": 61})


def test_matrices(small_matrices):
  run, flop = throughput.matrices("float32")
  assert flop == 4 * 2 * 61**3
  assert run().shape == (61, 61)


def test_a_share_is_one_of_rates():
  times = measure.Times(
    {"matrices": [2.0, 4.0, 1.0], "ours": [1.0, 1.0, 1.0]}, "wall"
  )
  # 10 operations in a second beside 40 in 2, 4 and 1.
  row = throughput._row("x", times, 10.0, 40.0)
  assert row.ratio == measure.Spread(0.5, 0.25, 1.0)
  assert row.figures["ms"] == 1000
  assert row.figures["matrices TFLOP/s"] == 20e-12


def test_vit_and_strl_are_the_encoder_but_for_the_decoders_part(subject):
  frames, _ = subject.clips(2)
  prepare = lambda m, x: m.decoder.prepare(throughput.fused(m, x))  # noqa: E731

  @jax.jit
  def both(params, frames):
    found = subject.model.apply({"params": params}, frames, method=prepare)
    return found, subject.encode(params, frames)

  found, wanted = both(subject.params, frames)
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_rows_by_batch(subject, small_matrices, monkeypatch):
  inference = throughput.contenders(subject)[:1]
  monkeypatch.setattr(throughput, "contenders", lambda _: inference)
  one, three = throughput.utilisation(subject, 1, (1, 3))
  assert three.name == "ViT + STRL, inference, batch 3"
  flop = subject.count.vit + subject.count.strl
  assert three.figures["TFLOP/s"] == pytest.approx(
    3 * flop / three.figures["ms"] / 1e9
  )
  assert one.bar is None and three.bar is None


def test_operations_of_the_contenders(subject):
  count = subject.count
  encoder = count.vit + count.strl
  found = throughput.contenders(subject)
  assert [flop for _, _, flop in found] == [
    encoder,
    3 * encoder,
    3 * (count.encoder + count.decoder),
    count.encoder + count.decoder,
    count.encoder + 16 * count.decoder,
  ]
  _, make, _ = found[1]
  gradient = make(2)()
  assert gradient["strl"]["aggregate"].shape == (3,)


def test_what_does_not_fit_is_told(subject, small_matrices, monkeypatch):
  def make(batch):
    if batch > 1:
      raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: of memory")
    return lambda: None

  monkeypatch.setattr(
    throughput, "contenders", lambda _: [("x", make, 10), ("y", make, 1)]
  )
  rows = list(throughput.utilisation(subject, 1, (1, 2, 4)))
  told = [(row.name, row.note) for row in rows]
  assert told == [
    ("x, batch 2", "out of memory"),
    ("x, batch 1", ""),
    ("y, batch 2", "out of memory"),
    ("y, batch 1", ""),
  ]


def test_the_best_batch_has_the_bar_on_an_accelerator(monkeypatch):
  rows = [
    throughput.Row("P7", f"{n}", ratio=measure.Spread(v, v, v))
    for n, v in ((1, 0.2), (8, 0.5), (64, 0.4))
  ]
  name = "ViT + STRL, training: forward and backward"
  assert throughput._with_bar(list(rows), name) == rows
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  found = throughput._with_bar(list(rows), name)
  assert [row.bar for row in found] == [None, throughput.BARS["training"], None]
  assert throughput._with_bar(list(rows), "whole train step") == rows
