"""Faults that end the process of a run, or start a second one.

Each function gives outcomes for one column, as they come.
"""

import pathlib
import random
import signal
import socket
import time
from collections.abc import Iterator

from fault_cases import command, judging, running, toy, trainers
from fault_cases.columns import Column
from fault_cases.judging import Injection
from fault_cases.running import child
from fault_cases.trainers import Plan

_LONG = 100_000  # steps
_NAMES = ("checkpoint", "/run")  # an error must say where


def _train(column: Column, folder: pathlib.Path, plan: Plan):
  return child(trainers.run, column.name, folder, plan)


def _lost(label: str, error: Exception) -> Injection:
  """The outcome where a process ended or hung that should have gone on."""
  if isinstance(error, running.Hang):
    return Injection(label, judging.HANG, str(error))
  return judging.of_error(label, error, _NAMES)


def _start(label, resumed, at_least: int) -> Injection:
  """The outcome by what a trainer says that it goes on from."""
  _, step, state, batch = resumed
  if step == 0 and at_least > 0:
    return Injection(label, judging.SILENT, "starts from scratch")
  found = judging.Found(step, state, batch)
  return judging.of_start(label, lambda: found, at_least=at_least)


def killed(
  column: Column, folder: pathlib.Path, count: int
) -> Iterator[Injection]:
  """F1: SIGKILL at random times, again and again, then the rest of the run.

  A save may be lost that was under way, and no more.
  """
  rng = random.Random(1)
  sure, label, last = 0, "", 0
  for number in range(count + 1):
    ending = number == count
    plan = Plan(until=last + 3 if ending else _LONG)
    with _train(column, folder, plan) as trainer:
      try:
        resumed = trainer.hear("resumed")
        if label:
          yield _start(label, resumed, sure)
        if ending:
          yield from _ended(trainer, plan.until)
          return
        trainer.hear("saving")
      except (running.Hang, running.Ended) as error:
        yield _lost(label or "first start", error)
        return
      after = rng.uniform(0.0, 0.4)
      time.sleep(after)
      trainer.signal(signal.SIGKILL)
      trainer.end()
      heard = [said[1] for said in trainer.heard if said[0] == "saving"]
    last = heard[-1]
    # A save begins when the one before is there.
    sure = max(sure, last - 1)
    label = f"{1e3 * after:.0f} ms after the first save, saving {last}"


def _ended(trainer: running.Child, until: int) -> Iterator[Injection]:
  """Says something only where the run does not end as an unbroken one."""
  _, step, state = trainer.hear("end")
  if (step, state) != (until, toy.expected(until)[0]):
    yield Injection("end", judging.SILENT, "not the bits of an unbroken run")


def signalled(
  column: Column, folder: pathlib.Path, count: int
) -> Iterator[Injection]:
  """F2: SIGTERM and SIGINT within a step; saves are five steps apart."""
  del count
  ways = [(number, 0) for number in (signal.SIGTERM, signal.SIGINT)]
  if column.name == "ours":
    yield from command.stopped(_new(folder, "command"))
  else:
    ways += [(number, _free_port()) for number, _ in ways]
  for number, port in ways:
    label = f"{number.name}{' with jax.distributed' if port else ''}"
    place = _new(folder, f"{number.name}_{port}")
    plan = Plan(until=_LONG, every=5, pause=0.1, port=port)
    yield _asked(column, place, plan, number, label, 9, 0.05)


def _asked(
  column: Column,
  folder: pathlib.Path,
  plan: Plan,
  number: signal.Signals,
  label: str,
  step: int,
  delay: float,
) -> Injection:
  """Asks a trainer to stop after `step`; what it had done must not be lost."""
  try:
    with _train(column, folder, plan) as trainer:
      while trainer.hear("done")[1] < step:
        pass
      if plan.every == 1:
        while trainer.hear("saving")[1] < step:
          pass
      time.sleep(delay)
      trainer.signal(number)
      code = trainer.end()
      done = max(said[1] for said in trainer.heard if said[0] == "done")
    with _train(column, folder, Plan(until=_LONG)) as trainer:
      found = _start(label, trainer.hear("resumed"), done)
  except (running.Hang, running.Ended) as error:
    return _lost(label, error)
  told = f"exit code {code}, {found.told}"
  return Injection(label, found.outcome, told)


def signalled_saving(
  column: Column, folder: pathlib.Path, count: int
) -> Iterator[Injection]:
  """F3: SIGTERM while a save is under way; nothing half done may stay."""
  for number in range(count):
    delay = 0.02 * number
    label = f"{1e3 * delay:.0f} ms after save returned"
    place = _new(folder, f"saving_{number}")
    plan = Plan(until=_LONG, pause=0.01)
    found = _asked(column, place, plan, signal.SIGTERM, label, 3, delay)
    left = [p.name for p in place.rglob("*") if "tmp" in p.name]
    left += [p.name for p in place.rglob("*diffpose-*")]
    if left and found.outcome == judging.RECOVERED:
      found = Injection(label, judging.SILENT, f"left behind: {left[0]}")
    yield found


def two_trainers(
  column: Column, folder: pathlib.Path, count: int
) -> Iterator[Injection]:
  """F14: a second run, of another seed, in the workdir of one under way."""
  del count
  for until in (15, 60):
    label = f"the second trains until step {until}, the first until 30"
    place = _new(folder, f"two_{until}")
    yield _both(column, place, label, until)


def _both(
  column: Column, folder: pathlib.Path, label: str, until: int
) -> Injection:
  slow = Plan(until=30, pause=0.1)
  other = Plan(until=until, pause=0.1, seed=1)
  with _train(column, folder, slow) as first:
    try:
      while first.hear("saving")[1] < 2:
        pass
      with _train(column, folder, other) as second:
        second.end(60)
      first.end(60)
    except (running.Hang, running.Ended) as error:
      return _lost(label, error)
    errors = [
      (who, said)
      for who, process in (("second", second), ("first", first))
      for said in process.heard
      if said[0] == "error"
    ]
  found = judging.of_start(
    label, lambda: column.go_on(folder), names=_NAMES, at_least=30
  )
  wrong = found.outcome != judging.RECOVERED
  if not errors:
    told = "both train on; " + (found.told if wrong else "the first's are left")
    return Injection(label, judging.SILENT, told)
  who, (_, kind, texts) = errors[0]
  told = judging.brief(f"the {who} ends: {kind}: {texts[0]}")
  if wrong:
    return Injection(label, judging.SILENT, f"{told}; then {found.told}")
  clear = any(name in text for text in texts for name in _NAMES)
  outcome = judging.REFUSED if clear else judging.UNCLEAR
  return Injection(label, outcome, told)


def killed_cleaning(
  column: Column, folder: pathlib.Path, count: int
) -> Iterator[Injection]:
  """F15: SIGKILL at removals of files, as where old steps are cleared away."""
  place = _new(folder, "whole")
  column.save(place, [1, 2])
  with _train(column, place, Plan(until=4)) as trainer:
    _, removals = trainer.hear("removals")
  for number in range(count):
    at = 1 + number * max(1, removals - 1) // max(1, count - 1)
    label = f"at removal {at} of {removals}"
    place = _new(folder, f"cleaning_{number}")
    column.save(place, [1, 2])
    plan = Plan(until=4, kill_at_removal=at)
    with _train(column, place, plan) as trainer:
      trainer.end()
      saving = [said[1] for said in trainer.heard if said[0] == "saving"]
    sure = max([0, *saving]) - 1  # a save begins when the last is there
    yield judging.of_start(
      label,
      lambda place=place: column.go_on(place),
      names=(str(place),),
      at_least=max(2, sure),
    )


def resumed(
  column: Column, folder: pathlib.Path, count: int
) -> Iterator[Injection]:
  """F16: killed after 0, 1 and 4 steps of 6, and started when all are done."""
  del count
  until = 6
  for step in (0, 1, 4, until):
    label = f"after {step} of {until} steps"
    place = _new(folder, f"resumed_{step}")
    try:
      cut = Plan(until=until, kill_after=-1 if step == until else step)
      with _train(column, place, cut) as trainer:
        trainer.end()
      with _train(column, place, Plan(until=until)) as trainer:
        found = _start(label, trainer.hear("resumed"), step)
        wrong = list(_ended(trainer, until))
    except (running.Hang, running.Ended) as error:
      yield _lost(label, error)
      continue
    yield wrong[0] if wrong else found


def _new(folder: pathlib.Path, name: str) -> pathlib.Path:
  place = folder / name / "run"
  place.mkdir(parents=True)
  return place


def _free_port() -> int:
  with socket.socket() as found:
    found.bind(("localhost", 0))
    return found.getsockname()[1]
