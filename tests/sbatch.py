"""What a batch script of launch/ asks Slurm for."""

import pathlib

LAUNCH = pathlib.Path(__file__).resolve().parents[1] / "launch"


def text(name):
  """The script itself."""
  return (LAUNCH / name).read_text()


def asked(name):
  """Its options by name; all are where Slurm reads them."""
  found = {}
  script = text(name)
  for line in script.splitlines():
    if line.startswith("#SBATCH"):
      option, _, value = line.removeprefix("#SBATCH --").partition("=")
      found[option] = value
  # Slurm reads none after the first command.
  before = script.partition("\nset -euo")[0]
  assert script.count("\n#SBATCH") == before.count("\n#SBATCH") > 8
  return found
