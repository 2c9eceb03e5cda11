#!/usr/bin/env bash
# Writes down what is started where it will work, and becomes it.
#
#   launch/recorded.sh --workdir=DIR [--dry-run] -- COMMAND...
#
# WORKDIR/launches.txt gets time, commit and command, WORKDIR/lock.txt the exact
# versions installed. Of the pods of an indexed Kubernetes job the first writes.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

flags "workdir" "" "$@"
need workdir '.+' "the run's folder"
((${#rest[@]})) || fail "no command; it follows --"
if [[ -n $dry_run ]]; then
  run "${rest[@]}"
  exit
fi
if [[ ${JOB_COMPLETION_INDEX:-0} == 0 ]]; then
  record "$workdir" "$(interpreter)" "${rest[@]}"
fi
exec "${rest[@]}"
