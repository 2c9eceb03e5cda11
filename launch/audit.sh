#!/usr/bin/env bash
# Looks up the locked packages in the public databases of known vulnerabilities.
#
#   launch/audit.sh [--locks="cpu-py312 cuda-py312 ..."] [--dry-run]
#
#   --locks=...   names in launch/locks/; all of them where it is not given
#
# Needs the network. Exit code 1 where something is found; what it is, and which
# version mends it, is printed.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

flags "locks" "" "$@"
read -ra names <<<"${locks:-$(cd "$here/locks" && echo ./*.txt)}"
files=()
for name in "${names[@]}"; do
  file=$here/locks/$(basename "${name%.txt}").txt
  [[ -f $file ]] || fail "there is no lock $file"
  files+=("--requirement=$file")
done
environment=$root/.cache/audit
[[ -x $environment/bin/pip-audit ]] || {
  run "$(interpreter)" -m venv "$environment"
  run "$environment/bin/python" -m pip --disable-pip-version-check --quiet \
    install "pip-audit>=2.10"
}
# They are exact, so that nothing is to be resolved or installed. What could not
# be looked up is an error, too.
run "$environment/bin/pip-audit" --strict --disable-pip --no-deps "${files[@]}"
