"""Human poses in video: `DiffPose.from_pretrained(...).predict(frames, boxes)`.

What is not a module is loaded when it is first asked for, so that importing the
package brings neither JAX nor OpenCV.
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from diffpose_jax.api import DiffPose, Result

  __version__: str

__all__ = ["DiffPose", "Result", "__version__"]
_API = ("DiffPose", "Result")


def __getattr__(name: str) -> Any:
  if name in _API:
    return getattr(importlib.import_module("diffpose_jax.api"), name)
  if name == "__version__":
    try:
      return importlib.metadata.version("diffpose-jax")
    except importlib.metadata.PackageNotFoundError:
      return "from source, not installed"
  raise AttributeError(f"module 'diffpose_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
