"""What each step of a run gave, to the bit, and under what, for `replay`.

`ledger.txt` of a workdir has a line a step: its number, then loss and gradient
norm, each as the eight hex digits of a float32. A line of JSON before them says
what computes from there on; each start of the run adds one.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np

NAME = "ledger.txt"
QUANTITIES = ("loss", "gradient_norm")
_LINE = re.compile(r"(\d+)" + r" ([0-9a-f]{8})" * len(QUANTITIES))
_PACKAGE = pathlib.Path(__file__).resolve().parent.parent
# What the numbers of a step may depend on.
_LIBRARIES = (
  *("jax", "jaxlib", "flax", "optax", "numpy", "grain"),
  "opencv-python-headless",
)
# Of the config, what may change between the starts of a run and yet changes
# what it computes; the mesh and the number of steps are taken as they came out.
_FREE = ("train.resume", "train.init_from", "model.init_from")

Bits = tuple[int, ...]  # of QUANTITIES, each the 32 of a float32


@dataclasses.dataclass(frozen=True)
class Session:
  """One start of a run, and under what it computes.

  Attributes:
    start: steps that were done before.
    keys: flattened config keys that hold for it.
    mesh: size of each axis.
    data: what tells its data sets from others, see `prepared.identity`.
    made_by: versions, devices and the like, by name.
  """

  start: int
  keys: Mapping[str, Any]
  mesh: Mapping[str, int]
  data: Sequence[str]
  made_by: Mapping[str, str]


def session(
  config: ml_collections.ConfigDict,
  mesh: jax.sharding.Mesh,
  data: Sequence[str],
  span: tuple[int, int],
) -> Session:
  """The one that begins now, of the steps after span[0], up to span[1]."""
  start, steps = span
  flat = config.to_dict()
  keys: dict[str, Any] = {"train.steps": steps}
  for key in _FREE:
    part, name = key.split(".")
    keys[key] = flat[part][name]
  return Session(start, keys, dict(mesh.shape), list(data), made_by())


def made_by() -> dict[str, str]:
  """What the bits of a step depend on besides config and data, by name."""
  devices = jax.devices()
  return {
    "diffpose-jax": _version("diffpose-jax"),
    "source": _source(),
    **{name: _version(name) for name in _LIBRARIES},
    "devices": f"{len(devices)} x {devices[0].device_kind}",
    "platform": devices[0].platform,
    "processes": str(jax.process_count()),
    "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
  }


def _version(package: str) -> str:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return "not installed"


@functools.cache
def _source() -> str:
  """Digest of this package's own code."""
  digest = hashlib.sha256()
  for path in sorted(_PACKAGE.rglob("*.py")):
    digest.update(f"{path.relative_to(_PACKAGE).as_posix()}\0".encode())
    digest.update(path.read_bytes())
  return digest.hexdigest()[:12]


class Ledger:
  """Writes the ledger of a run; a step is read while the next one runs.

  Process 0 writes, the others do nothing.
  """

  def __init__(self, folder: pathlib.Path, begun: Session):
    """Lines after the step that `begun` goes on from are removed."""
    self._last: tuple[int, list[jax.Array]] | None = None
    self._file = None
    if jax.process_index() != 0:
      return
    path, draft = folder / NAME, folder / f"{NAME}.tmp"
    sessions, steps = read(folder)
    kept: list[Any] = [s for s in sessions if s.start < begun.start]
    kept += [item for item in steps.items() if item[0] <= begun.start]
    kept.sort(key=lambda x: (x.start, 1) if isinstance(x, Session) else (x[0],))
    with draft.open("w") as file:
      file.writelines(_line(item) for item in (*kept, begun))
    os.replace(draft, path)
    self._file = path.open("a", buffering=1)

  def add(self, step: int, values: Mapping[str, jax.Array]) -> None:
    """Takes a step under way, and writes the one before it."""
    if self._file is None:
      return
    self.flush()
    self._last = step, [values[name] for name in QUANTITIES]

  def flush(self) -> None:
    """Waits for the newest step and writes it."""
    if self._file is None or self._last is None:
      return
    (step, values), self._last = self._last, None
    self._file.write(_line((step, bits(jax.device_get(values)))))

  def close(self) -> None:
    """Closes the file; a step that was lost on the device is left out."""
    if self._file is not None:
      with contextlib.suppress(RuntimeError):
        self.flush()
      self._file.close()


@contextlib.contextmanager
def held(folder: pathlib.Path, begun: Session) -> Iterator[Ledger]:
  """A context with the ledger, which is closed however it ends."""
  found = Ledger(folder, begun)
  try:
    yield found
  finally:
    found.close()


def bits(values: Sequence[Any]) -> Bits:
  """Those of float32 numbers."""
  return tuple(np.asarray(values, np.float32).view(np.uint32).tolist())


def _line(item: Session | tuple[int, Bits]) -> str:
  if isinstance(item, Session):
    return json.dumps(dataclasses.asdict(item), sort_keys=True) + "\n"
  return " ".join([str(item[0]), *(f"{b:08x}" for b in item[1])]) + "\n"


def read(folder: pathlib.Path) -> tuple[list[Session], dict[int, Bits]]:
  """The starts of a run in order, and what each step gave.

  It ends before the first line that is not as it was written: a run that is
  killed may leave a part of its last one. Both are empty without a ledger.
  """
  path = folder / NAME
  sessions: list[Session] = []
  steps: dict[int, Bits] = {}
  if not path.is_file():
    return sessions, steps
  for line in path.read_text(errors="replace").splitlines():
    found = _LINE.fullmatch(line)
    if found:
      number, *words = found.groups()
      steps[int(number)] = tuple(int(word, 16) for word in words)
      continue
    try:
      sessions.append(Session(**json.loads(line)))
    except (ValueError, TypeError):
      break
  return sessions, steps
