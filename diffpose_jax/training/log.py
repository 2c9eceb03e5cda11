"""Metrics of a run: JSON lines, TensorBoard and its progress."""

import json
import math
import os
import pathlib

import jax
import ml_collections
import numpy as np
import tensorboardX

from diffpose_jax.training import goodput, optim, progress, watch


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
    self._progress = progress.Progress(steps, start)

  def advance(self) -> None:
    """One more step is under way."""
    if self._active:
      self._progress.advance()

  def reached(self, step: int, seconds: float) -> None:
    """Step `step` is done, after so many seconds of training."""
    if self._active:
      self._progress.reached(step, seconds)

  def write(self, step: int, values: dict[str, float]) -> None:
    """Records `values` at `step` everywhere.

    JSON has no number for what is not finite: that is null. A validation's
    number that is not known, as AP without head boxes, is not shown.
    """
    if not self._active:
      return
    self._lines.write(_line({"step": step, **values}))
    self._lines.flush()
    known = {k: v for k, v in values.items() if not _is_unknown(k, v)}
    for name, value in known.items():
      self._board.add_scalar(name, value, step)
    # PCK takes the place of AP.
    shown = _SHOWN if "val/ap" in known else (*_SHOWN, "val/pck_0.1")
    self._progress.show({k: v for k, v in known.items() if k in shown})

  def pictures(self, step: int, sheets: dict[str, np.ndarray]) -> None:
    """Shows RGB pictures by name in TensorBoard."""
    if not self._active:
      return
    for name, sheet in sheets.items():
      self._board.add_image(name, sheet, step, dataformats="HWC")

  def close(self) -> None:
    """Flushes and closes the files."""
    if self._active:
      self._progress.close()
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
    account: goodput.Account | None = None,
    seen: watch.Watch | None = None,
  ):
    """`config` is that of training, `steps` the run's last step.

    Speed is that of the time which `account` counts as training's. `seen` is
    shown every step, also those that are not logged.
    """
    self._seen = seen
    self._log = records
    self._account = account or goodput.Account(at="step")
    self._steps = steps
    self._every = config.log_every
    self._batch = config.batch
    self._rate = optim.schedule(config, steps)
    self._last: tuple[int, dict[str, jax.Array]] | None = None
    self._since: tuple[int, float] | None = None  # step, its seconds

  def add(self, step: int, values: dict[str, jax.Array]) -> None:
    """Takes the metrics of a step under way and writes those before it."""
    self.flush()
    self._last = step, values
    self._account.begun(step)
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
    self._account.write()

  def _speed(self, step: int) -> dict[str, float]:
    """Clips a second since the last reading; nothing the first time."""
    now, before = self._account.training(), self._since
    self._since = step, now
    self._log.reached(step, now)
    if before is None:
      return {}
    clips = (step - before[0]) * self._batch
    return {"clips_per_second": clips / max(now - before[1], 1e-9)}


_SHOWN = ("loss", "clips_per_second", "val/ap")


def _is_unknown(name: str, value: float | int) -> bool:
  """Whether a validation could not tell a number; a loss that is NaN is one."""
  return name.startswith("val/") and math.isnan(value)


def _open_before(path: pathlib.Path, step: int):
  """The file open to append, without records after `step`.

  A run that was cut off may have logged steps that a resumed one repeats.
  """
  kept = [record for record in read(path) if record["step"] <= step]
  part = path.with_name(f".{path.name}.tmp")
  part.write_text("".join(map(_line, kept)))
  os.replace(part, path)
  return path.open("a")


def _line(record: dict) -> str:
  """A record in strict JSON."""
  known = {
    name: value if value is None or math.isfinite(value) else None
    for name, value in record.items()
  }
  return json.dumps(known, allow_nan=False) + "\n"


def read(path: pathlib.Path) -> list[dict]:
  """The records of a metrics file; a torn last line is left out.

  What is null there, as not finite or not known, is NaN here.
  """
  if not path.exists():
    return []
  records = []
  for line in path.read_text().splitlines():
    try:
      found = json.loads(line)
    except json.JSONDecodeError:
      break
    records.append({k: math.nan if v is None else v for k, v in found.items()})
  return records
