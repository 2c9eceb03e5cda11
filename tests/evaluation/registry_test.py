import pytest

from diffpose_jax.evaluation import metric, registry


def test_every_metric_has_what_a_metric_has():
  assert "ap" in registry.names()
  for name in registry.names():
    found = registry.load(name)
    assert isinstance(found, metric.Metric)
    assert isinstance(found.ABOUT, str) and found.ABOUT


def test_an_unknown_metric_is_refused_with_those_known():
  with pytest.raises(ValueError, match=r"'map' is not known; there are ap"):
    registry.load("map")
