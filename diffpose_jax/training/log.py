"""Metrics of a run: JSON lines, TensorBoard and a progress bar."""

import contextlib
import json
import pathlib
import time
from collections.abc import Iterator

import jax
import ml_collections
import tensorboardX
import tqdm

from diffpose_jax.training import optim, watch


class Log:
  """Writes metrics of process 0; the other processes write nothing."""

  def __init__(self, workdir: pathlib.Path, *, steps: int, start: int):
    self._active = jax.process_index() == 0
    if not self._active:
      return
    self._lines = _open_before(workdir / "metrics.jsonl", start)
    self._board = tensorboardX.SummaryWriter(
      str(workdir / "tensorboard"), purge_step=start + 1
    )
    self._bar = tqdm.tqdm(
      total=steps, initial=start, unit="step", desc="train", dynamic_ncols=True
    )

  def advance(self) -> None:
    """Moves the progress bar by one step."""
    if self._active:
      self._bar.update(1)

  def write(self, step: int, values: dict[str, float]) -> None:
    """Records `values` at `step` everywhere."""
    if not self._active:
      return
    self._lines.write(json.dumps({"step": step, **values}) + "\n")
    self._lines.flush()
    for name, value in values.items():
      self._board.add_scalar(name, value, step)
    self._bar.set_postfix(
      {k: f"{v:.4g}" for k, v in values.items() if k in _SHOWN}, refresh=False
    )

  def close(self) -> None:
    """Flushes and closes the files."""
    if self._active:
      self._bar.close()
      self._lines.close()
      self._board.close()


class StepMetrics:
  """Metrics of train steps on their way from the device to the log.

  A step's are read while the next one runs, so that the host never keeps the
  device waiting.
  """

  def __init__(
    self,
    records: Log,
    config: ml_collections.ConfigDict,
    steps: int,
    seen: watch.Watch | None = None,
  ):
    """`config` is that of training, `steps` the run's last step.

    `seen` is shown every step, also those that are not logged.
    """
    self._seen = seen
    self._log = records
    self._steps = steps
    self._every = config.log_every
    self._batch = config.batch
    self._rate = optim.schedule(config, steps)
    self._last: tuple[int, dict[str, jax.Array]] | None = None
    self._since: tuple[int, float] | None = None  # step and time of a reading

  def add(self, step: int, values: dict[str, jax.Array]) -> None:
    """Takes the metrics of a step under way and writes those before it."""
    self.flush()
    self._last = step, values
    self._log.advance()

  def flush(self) -> None:
    """Waits for the newest step; writes its metrics if it is one to log.

    Raises ValueError where too many updates in a row were skipped.
    """
    if self._last is None:
      return
    (step, values), self._last = self._last, None
    logged = step % self._every == 0 or step == self._steps
    if not logged and self._seen is None:
      return
    found = {k: float(v) for k, v in jax.device_get(values).items()}
    made = step - 1  # updates
    if self._seen is not None:
      made -= self._seen.skipped
      self._seen.look(
        step, found["loss"], found["gradient_norm"], bool(found["skipped"])
      )
    if not logged:
      return
    found |= self._seen.counts() if self._seen else {}
    found |= self._speed(step)
    with jax.transfer_guard("allow"):
      found["learning_rate"] = float(self._rate(made))
    self._log.write(step, found)

  @contextlib.contextmanager
  def pause(self) -> Iterator[None]:
    """A context whose time is not training's; what came before is written."""
    self.flush()
    began = time.monotonic()
    yield
    if self._since is not None:
      step, since = self._since
      self._since = step, since + time.monotonic() - began

  def _speed(self, step: int) -> dict[str, float]:
    """Clips a second since the last reading; nothing the first time."""
    now, before = time.monotonic(), self._since
    self._since = step, now
    if before is None:
      return {}
    clips = (step - before[0]) * self._batch
    return {"clips_per_second": clips / (now - before[1])}


_SHOWN = ("loss", "clips_per_second", "val/ap")


def _open_before(path: pathlib.Path, step: int):
  """The file open to append, without records after `step`.

  A run that was cut off may have logged steps that a resumed one repeats.
  """
  kept = [record for record in read(path) if record["step"] <= step]
  path.write_text("".join(json.dumps(record) + "\n" for record in kept))
  return path.open("a")


def read(path: pathlib.Path) -> list[dict]:
  """The records of a metrics file; a torn last line is left out."""
  if not path.exists():
    return []
  records = []
  for line in path.read_text().splitlines():
    try:
      records.append(json.loads(line))
    except json.JSONDecodeError:
      break
  return records
