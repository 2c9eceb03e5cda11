"""The packages of the extra `webdemo`, which are not installed with the rest."""

import os
from typing import Any

REMEDY = "pip install 'diffpose-jax[webdemo]'"
# None of them calls home, whatever the user's environment says; read when they
# are imported.
QUIET = {
  "GRADIO_ANALYTICS_ENABLED": "False",
  "GRADIO_SHARE": "False",
  "GRADIO_SSR_MODE": "False",
  "GRADIO_MCP_SERVER": "False",
  "HF_HUB_DISABLE_TELEMETRY": "1",
  "HF_HUB_OFFLINE": "1",
  "DO_NOT_TRACK": "1",
}


def gradio() -> Any:
  """The package `gradio`.

  Raises ValueError where it is not installed, with the remedy.
  """
  os.environ.update(QUIET)
  try:
    import gradio
  except ImportError as error:
    raise ValueError(_missing("gradio", error)) from error
  return gradio


def uvicorn() -> Any:
  """The package `uvicorn`, which comes with it."""
  try:
    import uvicorn
  except ImportError as error:
    raise ValueError(_missing("uvicorn", error)) from error
  return uvicorn


def fastapi() -> tuple[Any, Any]:
  """The package `fastapi` and its `responses`, which come with it."""
  try:
    import fastapi
    from fastapi import responses
  except ImportError as error:
    raise ValueError(_missing("fastapi", error)) from error
  return fastapi, responses


def _missing(name: str, error: ImportError) -> str:
  return f"webdemo needs {name} ({error}); {REMEDY}"
