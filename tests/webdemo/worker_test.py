"""Real processes that refuse, break, die, hang and are stopped."""

import os
import signal
import threading
import time
from typing import Any

import pytest

from diffpose_jax.webdemo import worker

# The process imports what it does, so it stands in a file.
WORK = """
import dataclasses, os, pathlib, signal, time

@dataclasses.dataclass
class Work:
  folder: pathlib.Path

  def prepare(self):
    with open(self.folder / "starts", "a") as file:
      file.write("one\\n")

  def __call__(self, asked, told):
    kind = asked["kind"]
    if kind == "refuse":
      raise ValueError("no box\\n in it")
    if kind == "break":
      raise KeyError("a bug")
    if kind == "die":
      os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "exit":
      os._exit(7)
    if kind == "hang":
      time.sleep(1000)
    if kind == "talk":
      for i in range(10**6):
        told(i, 10**6)
        time.sleep(0.001)
    for i in range(5):
      told(i + 1, 5)
      time.sleep(0.3)
    return {"pid": os.getpid(), "given": asked["value"]}
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
  (tmp_path / "worker_test_work.py").write_text(WORK)
  monkeypatch.syspath_prepend(tmp_path)
  import worker_test_work  # pyright: ignore[reportMissingImports]

  yield worker_test_work.Work(tmp_path)
  monkeypatch.delitem(__import__("sys").modules, "worker_test_work")


@pytest.fixture
def works(work):
  with worker.Worker(work, seconds=2.5, what="the job") as found:
    yield found


def good(works, value: Any = 1, **given):
  return works({"kind": "good", "value": value}, **given)


def starts(work):
  return (work.folder / "starts").read_text().count("one")


def test_one_process_does_job_after_job(works, work):
  told = []
  one = good(works, told=lambda *given: told.append(given))
  two = good(works, value=[2, "é"])
  assert one["pid"] == two["pid"] != os.getpid()
  assert two["given"] == [2, "é"] and starts(work) == 1
  assert told[0] == (1, 5) and len(told) >= 3


def test_what_is_refused_is_a_line_and_costs_no_process(works, work):
  with pytest.raises(ValueError, match="^no box in it$"):
    works({"kind": "refuse"})
  with pytest.raises(worker.BrokenError, match="KeyError"):
    works({"kind": "break"})
  assert good(works)["given"] == 1 and starts(work) == 1


@pytest.mark.parametrize(
  ("kind", "how"), [("die", "SIGSEGV"), ("exit", "code 7")]
)
def test_a_job_that_ends_its_process_is_refused(works, work, kind, how):
  with pytest.raises(ValueError, match=rf"the job ended its process \({how}\)"):
    works({"kind": kind})
  assert good(works)["given"] == 1 and starts(work) == 2


@pytest.mark.parametrize("kind", ["hang", "talk"])
def test_a_job_that_takes_too_long_is_stopped(works, work, kind):
  good(works)
  begin = time.monotonic()
  with pytest.raises(ValueError, match="stopped: it took more than 2.5 s"):
    works({"kind": kind})
  assert time.monotonic() - begin < 5
  assert good(works)["given"] == 1 and starts(work) == 2


def test_who_asked_can_stop_it_and_nobody_else(works, work):
  good(works)
  caught = []

  def run():
    try:
      works({"kind": "hang"}, whose="me")
    except ValueError as error:
      caught.append(str(error))

  thread = threading.Thread(target=run)
  thread.start()
  while works._whose != "me":
    time.sleep(0.01)
  assert not works.stop("you") and not works.stop("")
  assert works.stop("me")
  thread.join(5)
  assert caught == ["the job was stopped"]
  assert not works.stop("me")
  assert good(works)["given"] == 1 and starts(work) == 2


def test_jobs_wait_for_each_other(works):
  found = []
  threads = [
    threading.Thread(target=lambda i=i: found.append(good(works, i)["given"]))
    for i in range(3)
  ]
  begin = time.monotonic()
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert sorted(found) == [0, 1, 2]
  assert time.monotonic() - begin > 3 * 5 * 0.3


def test_who_listens_no_more_leaves_nothing_to_the_next(works, work):
  def told(done, count):
    raise RuntimeError("gone")

  with pytest.raises(RuntimeError, match="gone"):
    good(works, told=told)
  assert good(works, 2)["given"] == 2 and starts(work) == 2


def test_its_process_ends_with_it(work):
  with worker.Worker(work, seconds=5.0, what="the job") as works:
    pid = good(works)["pid"]
    os.kill(pid, 0)
  with pytest.raises(ProcessLookupError):
    os.kill(pid, 0)
  with pytest.raises(ValueError, match="is being closed"):
    good(works)


def test_ctrl_c_is_for_the_parent(works):
  pid = good(works)["pid"]
  os.kill(pid, signal.SIGINT)
  assert good(works)["pid"] == pid
