"""Metrics of a run: JSON lines, TensorBoard and a progress bar."""

import json
import pathlib

import jax
import tensorboardX
import tqdm


class Log:
  """Writes metrics of process 0; the other processes write nothing."""

  def __init__(self, workdir: pathlib.Path, *, steps: int, start: int):
    self._active = jax.process_index() == 0
    if not self._active:
      return
    self._lines = _open_before(workdir / "metrics.jsonl", start)
    self._board = tensorboardX.SummaryWriter(
      str(workdir / "tensorboard"), purge_step=start
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
    values = {name: float(value) for name, value in values.items()}
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
