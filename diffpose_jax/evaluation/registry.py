"""Which metrics there are: one module each in `metrics/`.

The module's name is the metric's, in `--metrics` and in code; nothing else
needs to know of it.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from diffpose_jax.evaluation import metric, metrics

_MODULES: Mapping[str, Any] = {
  name: importlib.import_module(f"{metrics.__name__}.{name}")
  for name in sorted(m.name for m in pkgutil.iter_modules(metrics.__path__))
}


def names() -> tuple[str, ...]:
  """All metrics."""
  return tuple(_MODULES)


def load(name: str) -> metric.Metric:
  """A metric by name. Raises ValueError for one that does not exist."""
  if name not in _MODULES:
    raise ValueError(
      f"metric {name!r} is not known; there are {', '.join(_MODULES)}"
    )
  return _MODULES[name]
