"""One process alone, and what is refused; several are in multihost_test."""

import socket

import jax
import numpy as np
import pytest

from diffpose_jax import supervisor
from diffpose_jax.model import hosts


def test_one_process_is_the_first_and_waits_for_nobody():
  assert hosts.is_first() and hosts.count() == 1
  hosts.barrier("nobody")
  with hosts.first_ahead("data"):
    pass
  function = jax.jit(lambda x: 2 * x)
  assert hosts.compiled("f", function, 1.0) is function


def test_one_process_has_all_rows():
  values = np.arange(6.0).reshape(3, 2)
  (found,) = hosts.exchanged(np.ones(3, bool), [values])
  np.testing.assert_array_equal(found, values)
  with pytest.raises(ValueError, match="row 1 of 3 was made by no process"):
    hosts.exchanged(np.array([True, False, True]), [values])


@pytest.mark.parametrize(
  ("mine", "theirs"),
  [([0, 1, 4], [2, 3, 5]), ([0, 1, 2, 3, 4], [5]), ([1, 3, 5], [0, 1, 2, 4])],
)
def test_rows_of_others_come_to_their_places(monkeypatch, mine, theirs):
  """Two hosts, of which the second is played: its rows are known."""
  rng = np.random.default_rng(0)
  whole = [rng.random((6, 3)).astype(np.float32), rng.random(6)]
  most = max(len(mine), len(theirs))
  sent = []

  def gather(value):
    value = np.asarray(value)
    sent.append(value)
    if value.ndim == 0:  # how many rows
      other = np.int32(len(theirs))
    elif value.dtype == np.int32:
      other = np.array(theirs + [-1] * (most - len(theirs)), np.int32)
    else:
      array = next(a for a in whole if a.shape[1:] == value.shape[1:])
      other = array[[*theirs, *([-1] * (most - len(theirs)))]]
    assert other.shape == value.shape
    return np.stack([value, other])

  monkeypatch.setattr(hosts, "count", lambda: 2)
  monkeypatch.setattr(hosts.multihost_utils, "process_allgather", gather)
  done = np.isin(np.arange(6), mine)
  own = [
    np.where(done.reshape(-1, *[1] * (a.ndim - 1)), a, np.nan) for a in whole
  ]
  found = hosts.exchanged(done, own)
  for a, b in zip(found, whole, strict=True):
    np.testing.assert_array_equal(a, b)
  assert len(sent) == 4


@pytest.mark.parametrize("coordinator", ["host", "host:", ":12", "h:x", "h:0"])
def test_an_address_that_is_none_is_refused(coordinator):
  with (
    pytest.raises(
      ValueError, match=f"^--coordinator={coordinator} is not HOST"
    ),
    hosts.joined(coordinator=coordinator, processes=2, process=1),
  ):
    pass


def test_a_process_beyond_the_last_is_refused():
  with (
    pytest.raises(ValueError, match="^--process=2 of --processes=2 does not"),
    hosts.joined(coordinator="h:1", processes=2, process=2),
  ):
    pass


def test_a_port_that_is_taken_is_refused():
  with socket.create_server(("", 0)) as taken:
    port = taken.getsockname()[1]
    with (
      pytest.raises(
        ValueError, match=f"port {port} of this host cannot be used"
      ),
      hosts.joined(coordinator=f"localhost:{port}", processes=2, process=0),
    ):
      pass


def test_a_coordinator_that_does_not_answer_is_named(monkeypatch):
  monkeypatch.setattr(hosts, "START", 0.3)
  with socket.create_server(("", 0)) as server:
    port = server.getsockname()[1]
  with (
    pytest.raises(ValueError, match=f"=localhost:{port}: nobody answers there"),
    hosts.joined(coordinator=f"localhost:{port}", processes=2, process=1),
  ):
    pass


def _raised(error, cause=None):
  """The error as it looks once it was raised, from a cause."""
  try:
    raise error from cause
  except Exception as raised:
    return raised


@pytest.mark.parametrize(
  ("text", "lost"),
  [
    ("UNKNOWN: Gloo AllGather failed: Connection closed by peer", True),
    ("UNAVAILABLE: The following tasks are unhealthy", True),
    ("DEADLINE_EXCEEDED: Barrier timed out", True),
    ("RESOURCE_EXHAUSTED: Out of memory allocating 3 bytes", False),
    ("INVALID_ARGUMENT: Disallowed host-to-device transfer", False),
  ],
)
def test_a_loss_is_told_from_other_errors(text, lost):
  error = jax.errors.JaxRuntimeError(text)
  assert hosts._is_loss(error) == lost
  # As Orbax raises it, from a save in the background.
  assert hosts._is_loss(_raised(ValueError("save failed"), error)) == lost
  assert not hosts._is_loss(ValueError(text))


def test_a_loss_is_said_in_one_line_and_ends_at_once(monkeypatch, capsys):
  codes = []
  monkeypatch.setattr(hosts.os, "_exit", codes.append)
  hosts._end_as_lost(jax.errors.JaxRuntimeError("UNAVAILABLE:\n gone"))
  assert codes == [supervisor.LOST]
  error = capsys.readouterr().err
  assert error.startswith("diffpose_jax: error: another process of this run is")
  assert error.endswith("(UNAVAILABLE: gone)\n") and error.count("\n") == 1
