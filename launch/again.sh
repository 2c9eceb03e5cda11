#!/usr/bin/env bash
# Runs a command, and again as long as it is killed or ends with exit code 75,
# with which diffpose_jax says that another process of the run was lost.
#
#   launch/again.sh [--times=N] [--pause=S] [--dry-run] -- COMMAND...
#
#   --times=N   at most so many starts in a row of less than ten minutes (10)
#   --pause=S   seconds between two starts (10)
#
# SIGTERM and SIGINT go to the command as SIGTERM, and it is not started again.
# Its last exit code is that of this script.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

flags "times pause" "" "$@"
: "${times:=10}" "${pause:=10}"
need times "$COUNT" "a number of starts"
need pause '[0-9]+' "a number of seconds"
((${#rest[@]})) || fail "no command; it follows --"

if [[ -n $dry_run ]]; then
  run "${rest[@]}"
  exit
fi
watch_signals
try=0
while :; do
  ((++try))
  SECONDS=0 code=0
  supervise "${rest[@]}" || code=$?
  lost "$code" && [[ -z $stopped ]] || exit "$code"
  ((SECONDS < 600)) || try=0
  ((try < times)) || break
  say "a process was lost; starting again in $pause s"
  nap "$pause"
  [[ -z $stopped ]] || exit 143
done
say "lost $times times in a row; giving up"
exit "$code"
