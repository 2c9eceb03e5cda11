"""A runner that `export` wrote, as a program without some packages."""

import subprocess
import sys

_REFUSE = """
import runpy, sys
class No:
  def find_spec(self, name, *_):
    if name.split('.')[0] in {without!r}:
      raise ImportError(name)
sys.meta_path.insert(0, No())
sys.argv = ['run.py', *{words!r}]
runpy.run_path({path!r}, run_name='__main__')
"""


def joints(path, *words, without, cwd):
  """The joints [17 2] that it prints of one clip, where these are not there."""
  words = [str(word) for word in words]
  program = _REFUSE.format(without=without, words=words, path=str(path))
  done = subprocess.run(
    [sys.executable, "-c", program],
    cwd=cwd,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  first, *lines = done.stdout.splitlines()
  assert first == "clip 0" and len(lines) == 17
  return [[float(word) for word in line.split()[1:3]] for line in lines]
