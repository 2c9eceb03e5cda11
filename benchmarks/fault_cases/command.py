"""The train command itself, asked to stop."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from diffpose_jax.weights import seal, steps
from fault_cases import judging, numbers
from fault_cases.judging import Injection

_REPO = pathlib.Path(__file__).resolve().parents[2]
_START = 300.0  # seconds for a start: data, compilation
_GRACE = 90.0
_ENDLESS = {
  "train.steps": 100_000,
  "train.evaluate_every": 100_000,
  "train.checkpoint_every": 100_000,
}


def stopped(folder: pathlib.Path) -> Iterator[Injection]:
  """SIGTERM, and SIGINT to the same command once it has gone on."""
  begun = 0
  for number in (signal.SIGTERM, signal.SIGINT):
    label = f"{number.name} to the train command"
    process = _start(folder)
    try:
      found = _asked(process, folder, number, begun)
    except TimeoutError as error:
      found = Injection(label, judging.HANG, str(error))
    finally:
      process.kill()
      out, _ = process.communicate()
    if found is None:
      begun = max(steps.usable(folder / steps.FOLDER))
      told = f"exit code {process.returncode}, at step {begun}"
      found = Injection(label, judging.RECOVERED, told)
    elif found.outcome == judging.UNCLEAR:
      found = Injection(label, judging.UNCLEAR, judging.brief(out[-400:]))
    yield Injection(label, found.outcome, found.told)


def _start(folder: pathlib.Path) -> subprocess.Popen[str]:
  settings = numbers.TINY | _ENDLESS
  flags = [
    f"--config.{key}={str(value).replace(' ', '')}"
    for key, value in settings.items()
  ]
  return subprocess.Popen(
    [
      *(sys.executable, "-m", "diffpose_jax.main"),
      *("--config=configs/synthetic.py", f"--workdir={folder}", *flags),
    ],
    cwd=_REPO,
    env=os.environ | {"PYTHONPATH": str(_REPO)},
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def _logged(folder: pathlib.Path) -> int:
  """The newest step in the metrics."""
  path = folder / "metrics.jsonl"
  lines = path.read_text().splitlines() if path.exists() else []
  return json.loads(lines[-2])["step"] if len(lines) > 1 else 0


def _asked(
  process: subprocess.Popen[str],
  folder: pathlib.Path,
  number: signal.Signals,
  begun: int,
) -> Injection | None:
  """None where the command stopped as it should; else what is wrong."""
  end = time.monotonic() + _START
  while _logged(folder) < begun + 3:
    if process.poll() is not None:
      return Injection("", judging.UNCLEAR)
    if time.monotonic() > end:
      raise TimeoutError(f"no step within {_START:g} s")
    time.sleep(0.02)
  process.send_signal(number)
  try:
    code = process.wait(_GRACE)
  except subprocess.TimeoutExpired as error:
    raise TimeoutError(f"does not stop within {_GRACE:g} s") from error
  if code != 128 + number:
    return Injection("", judging.UNCLEAR)
  newest = max(steps.usable(folder / steps.FOLDER), default=0)
  if newest < _logged(folder) or newest <= begun:
    told = f"step {newest} is saved; {_logged(folder)} was done"
    return Injection("", judging.SILENT, told)
  place = folder / steps.FOLDER / str(newest)
  seal.check_files(place, seal.read(place))
  return None
