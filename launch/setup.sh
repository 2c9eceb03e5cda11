#!/usr/bin/env bash
# Makes a virtual environment with the locked packages and this project in it.
#
#   launch/setup.sh [PYTHON] [VENV] [EXTRA]     defaults: python3 .venv cpu
#
# EXTRA is cpu, cuda or tpu. Called again, it returns at once unless the lock
# or pyproject.toml changed; an interrupted call is taken up where it stopped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${1:-python3} venv=${2:-.venv} extra=${3:-cpu}

fail() {
  printf 'setup: %s\n' "$*" >&2
  exit 2
}

minor() { # prints 11 for Python 3.11; fails below it
  "$1" -c 'import sys; print(sys.version_info[1]); \
sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

if [ ! -x "$venv/bin/python" ]; then
  command -v "$python" >/dev/null ||
    fail "$python not found; install Python 3.11 or newer, or say PYTHON=..."
  minor "$python" >/dev/null ||
    fail "$($python --version 2>&1) is too old, 3.11 or newer is needed;" \
      "say which one to use: make PYTHON=python3.12 ..."
  "$python" -m venv "$venv" || {
    rm -rf "$venv"
    fail "$python cannot make a virtual environment (Debian: install python3-venv)"
  }
fi

version=$(minor "$venv/bin/python") ||
  fail "$venv holds a Python below 3.11, or is broken; remove it: rm -r $venv"
[ "$version" -le 12 ] || version=12 # The sets for 3.12 and newer are the same.
lock=launch/locks/$extra-py3$version.txt
[ -f "$lock" ] || fail "no lock $lock; EXTRA is cpu, cuda or tpu"

stamp=$venv/.installed
wanted=$(cat "$lock" pyproject.toml | cksum)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && exit 0

printf 'setup: installing %s into %s (one to three minutes)\n' "$lock" "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet install)
"${pip[@]}" --requirement "$lock"
"${pip[@]}" --no-deps --no-build-isolation --editable .
printf '%s' "$wanted" >"$stamp"
