"""Processes on several hosts that run as one program.

Each runs the same command, and every array is over the devices of all. Without
`joined` there is one process, and everything here does nothing.
"""

import collections
import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

# For barriers that wait on the host, without a device; JAX has no public name.
from jax._src import distributed
from jax.experimental import multihost_utils
from jaxtyping import Bool

from diffpose_jax import supervisor

HEARTBEAT = 60  # seconds of silence after which a process counts as lost
START = 300.0  # seconds for all processes to come together
_LONG = 7 * 24 * 3600 * 1000  # ms; who is lost is found by the heartbeat
_TOGETHER = 5000  # ms, for the others to fail of the same mistake
# What JAX says where a process is gone; the last are Gloo's and NCCL's.
_GONE = (
  *("UNAVAILABLE", "ABORTED", "DEADLINE_EXCEEDED", "CANCELLED", "heartbeat"),
  *("coordination service", "Barrier", "Gloo", "NCCL", "onnection"),
)
_asked: collections.Counter[str] = collections.Counter()  # how often, by name


@contextlib.contextmanager
def joined(
  *,
  coordinator: str | None = None,
  processes: int | None = None,
  process: int | None = None,
  heartbeat: int = HEARTBEAT,
) -> Iterator[None]:
  """A context in which this process is one of a run's; the first one prints.

  What is not given is taken from the environment: Slurm's, Cloud TPU's, GKE's
  or Open MPI's, as JAX does. Nothing may have used a device before.

  Where another process is lost inside, this one says so and ends with
  `supervisor.LOST`; JAX may end it first, see `supervisor`.

  Args:
    coordinator: HOST:PORT where process 0 is to be reached.
    processes: how many there are.
    process: which one this is, from 0 on.
    heartbeat: seconds.

  Raises:
    ValueError: the processes cannot find each other.
  """
  _check(coordinator, processes, process)
  try:
    jax.distributed.initialize(
      coordinator,
      processes,
      process,
      initialization_timeout=int(START),
      heartbeat_timeout_seconds=heartbeat,
    )
  except (ValueError, KeyError) as error:
    raise ValueError(
      f"--multihost: {error} Where no Slurm, Cloud TPU, GKE or Open MPI says "
      "it, give --coordinator=HOST:PORT --processes=N --process=I"
    ) from error
  _only_the_first_prints()
  try:
    yield
    barrier("end")
  except BaseException as error:
    if _is_loss(error):
      _end_as_lost(error)
    # All may have found the same mistake: nobody is to end before the others
    # have said so too.
    with contextlib.suppress(Exception):
      barrier("failed", _TOGETHER)
    raise
  jax.distributed.shutdown()


def _check(
  coordinator: str | None, processes: int | None, process: int | None
) -> None:
  """Raises ValueError for an address at which nobody can meet."""
  if processes is not None and process is not None and process >= processes:
    raise ValueError(
      f"--process={process} of --processes={processes} does not exist; they are "
      "counted from 0"
    )
  if coordinator is None:
    return
  host, _, port = coordinator.rpartition(":")
  if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
    raise ValueError(f"--coordinator={coordinator} is not HOST:PORT")
  if process == 0:
    try:
      socket.create_server(("", int(port))).close()
    except OSError as error:
      raise ValueError(
        f"--coordinator={coordinator}: port {port} of this host cannot be "
        f"used ({error.strerror}); take another one"
      ) from error
  elif process is not None:
    _wait_for(host, int(port))


def _wait_for(host: str, port: int) -> None:
  """Waits until somebody listens; JAX would end the process where nobody does.

  Raises ValueError where nobody does in time.
  """
  end = time.monotonic() + START
  while True:
    try:
      socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
      if time.monotonic() > end:
        raise ValueError(
          f"--coordinator={host}:{port}: nobody answers there for {START:g} s "
          f"({error}); start process 0, and let this host reach that port"
        ) from error
      time.sleep(0.2)
    else:
      return


def _only_the_first_prints() -> None:
  """Closes standard output of the others, for what libraries print too."""
  if is_first():
    print(f"{count()} processes run as one", flush=True)
    return
  sys.stdout.flush()
  nowhere = os.open(os.devnull, os.O_WRONLY)
  os.dup2(nowhere, 1)
  os.close(nowhere)


def _is_loss(error: BaseException | None) -> bool:
  """True where it came of a process that is gone."""
  while error is not None:
    if isinstance(error, jax.errors.JaxRuntimeError):
      return any(word in str(error) for word in _GONE)
    error = error.__cause__ or error.__context__
  return False


def _end_as_lost(error: BaseException) -> None:
  """Says so and ends at once: an orderly end would wait for who is gone."""
  detail = " ".join(str(error).split())[:200]
  supervisor.say(f"{supervisor.LOST_LINE} ({detail})")
  sys.stdout.flush()
  os._exit(supervisor.LOST)


def is_first() -> bool:
  """True in the process that writes and prints, and where there is one."""
  return distributed.global_state.process_id == 0


def count() -> int:
  """How many processes there are."""
  return distributed.global_state.num_processes


def stop_agreed(call: int) -> bool:
  """True at the call at which all processes stop, after SIGTERM to one of them.

  All must ask at the same points of the program, with `call` counting up.
  """
  return multihost_utils.reached_preemption_sync_point(call)


def barrier(name: str, milliseconds: int = _LONG) -> None:
  """Waits until all processes are here; `name` tells it from other barriers."""
  client = distributed.global_state.client
  if client is not None:
    client.wait_at_barrier(f"diffpose_jax/{name}", milliseconds)


def said(name: str, word: str) -> list[str]:
  """What each process says, by process; it waits until all have said it.

  It takes no device, so that any thread may ask; all must ask for the same
  names, each as often.
  """
  client = distributed.global_state.client
  if client is None:
    return [word]
  _asked[name] += 1
  key = f"diffpose_jax/{name}/{_asked[name]}"
  client.key_value_set(f"{key}/{distributed.global_state.process_id}", word)
  return [
    client.blocking_key_value_get(f"{key}/{process}", _LONG)
    for process in range(count())
  ]


def compiled(name: str, function: Any, *arguments: Any) -> Any:
  """A jitted function, compiled by all processes before one of them runs it.

  Else the first to run it waits in a collective for those that still compile,
  and some of these wait half a minute and no longer.
  """
  if count() == 1:
    return function
  result = function.lower(*arguments).compile()
  barrier(name)
  return result


@contextlib.contextmanager
def first_ahead(name: str) -> Iterator[None]:
  """A context that the first process leaves before the others enter it.

  What it made is there for them, on a disk that they share; on one of its own
  each makes it again.
  """
  if not is_first():
    barrier(name)
  yield
  if is_first():
    barrier(name)


def exchanged(
  done: Bool[np.ndarray, "n"], arrays: Sequence[np.ndarray]
) -> list[np.ndarray]:
  """Rows of arrays from the processes that have them, for all to have.

  Args:
    done: which of the rows this process has.
    arrays: with `n` rows each.

  Raises:
    ValueError: nobody has a row.
  """
  if count() == 1:
    got, result = done, list(arrays)
  else:
    got, result = _from_all(done, arrays)
  if not got.all():
    raise ValueError(
      f"row {int(np.argmin(got))} of {len(got)} was made by no process; this "
      "is a bug of how they share work"
    )
  return result


def _from_all(
  done: np.ndarray, arrays: Sequence[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
  rows = np.flatnonzero(done).astype(np.int32)
  most = int(multihost_utils.process_allgather(np.int32(len(rows))).max())
  pad = most - len(rows)
  rows = np.pad(rows, (0, pad), constant_values=-1)
  everywhere = np.asarray(multihost_utils.process_allgather(rows)).reshape(-1)
  valid = everywhere >= 0
  got = np.zeros_like(done)
  got[everywhere[valid]] = True
  result = []
  for array in arrays:
    mine = array[rows]  # -1 is some row, which `valid` leaves out
    parts = np.asarray(multihost_utils.process_allgather(mine))
    full = np.zeros_like(array)
    full[everywhere[valid]] = parts.reshape(-1, *array.shape[1:])[valid]
    result.append(full)
  return got, result
