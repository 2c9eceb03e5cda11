#!/usr/bin/env bash
# Runs a command beside a copy of its workdir in a bucket: fetches it where the
# workdir is new, keeps it up to date, and brings it to date at the end.
#
#   launch/mirror.sh --workdir=DIR --bucket=gs://BUCKET/PATH [--every=S]
#                    [--dry-run] -- COMMAND...
#
#   --workdir=DIR   on a local disk; for one host only
#   --bucket=...    the copy; a folder of its own, for this run alone
#   --every=S       seconds between two updates (600)
#
# Copied are checkpoints and records; not data/, source/ and what is being
# written. A checkpoint that is gone from the workdir is removed from the copy
# once all newer ones are there, and nothing else is ever removed. SIGTERM and
# SIGINT go to the command as SIGTERM; the last update follows its end. The exit
# code is the command's, or 74 where only the last update failed.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

flags "workdir bucket every" "" "$@"
: "${every:=600}"
need workdir '.+' "the run's folder"
workdir=${workdir%/} bucket=${bucket%/}
need bucket "$BUCKET" "gs://BUCKET/PATH"
[[ $bucket == gs://*/* ]] || fail "--bucket=$bucket has no path; a run needs" \
  "a folder of its own: $bucket/NAME"
need every "$COUNT" "a number of seconds"
((${#rest[@]})) || fail "no command; it follows --"
tool gcloud "install the Google Cloud CLI"

quiet=--no-user-output-enabled # errors are told all the same
id=mirror.id # of workdir and copy: that they belong together
shot=$(dirname "$workdir")/.$(basename "$workdir").mirror

asked() { # what gcloud says of the copy; empty where there is no such object
  local errors code=0
  errors=$(mktemp)
  gcloud storage "$@" 2>"$errors" || code=$?
  if ((code)) && ! grep -q "matched no objects" "$errors"; then
    cat "$errors" >&2
    rm -f "$errors"
    fail "$bucket cannot be read; whether it holds this run is not known"
  fi
  rm -f "$errors"
}

begin() { # the workdir as the copy has it, where one of them is new
  local theirs there mine=''
  theirs=$(asked cat "$bucket/$id") || exit
  [[ ! -f $workdir/$id ]] || mine=$(<"$workdir/$id")
  if [[ -z $theirs ]]; then
    there=$(asked ls "$bucket") || exit
    [[ -z $there ]] ||
      fail "$bucket holds something else; a run needs a folder of its own"
    mkdir -p "$workdir"
    [[ -n $mine ]] ||
      od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$workdir/$id"
    gcloud storage cp $quiet "$workdir/$id" "$bucket/$id"
  elif [[ -z $mine && ! -e $workdir/config.json ]]; then
    say "fetching $bucket"
    mkdir -p "$workdir"
    gcloud storage rsync $quiet --recursive "$bucket" "$workdir"
  elif [[ $theirs != "$mine" ]]; then
    fail "$workdir and $bucket hold different runs; give another --workdir," \
      "or another --bucket"
  fi
}

# What is there now: a step that is removed meanwhile stays until it is copied.
snapshot() {
  local entry name
  rm -rf "$shot"
  mkdir -p "$shot/checkpoints"
  for entry in "$workdir"/*; do
    name=${entry##*/}
    case $name in
      data | source | checkpoints | train.lock) ;;
      *) cp -R "$entry" "$shot/" || return ;;
    esac
  done
  for entry in "$workdir"/checkpoints/*; do
    name=${entry##*/}
    [[ $name =~ ^[0-9]+$ ]] || continue
    # Links: a step's files never change.
    cp -Rl "$entry" "$shot/checkpoints/" || return
  done
}

update() {
  snapshot 2>/dev/null || snapshot || return # a step may go while it is copied
  gcloud storage rsync $quiet --recursive "$shot" "$bucket" || return
  gcloud storage rsync $quiet --recursive --delete-unmatched-destination-objects \
    "$shot/checkpoints" "$bucket/checkpoints"
}

updating() { # until it is ended between two updates
  local end=''
  trap 'end=1; kill $! 2>/dev/null || true' TERM
  while :; do
    sleep "$every" &
    wait $! || true
    [[ -z $end ]] || return 0
    update >/dev/null || say "$bucket could not be updated; trying again"
    [[ -z $end ]] || return 0
  done
}

if [[ -n $dry_run ]]; then
  run gcloud storage cat "$bucket/$id"
  run gcloud storage ls "$bucket"
  run gcloud storage cp $quiet "$workdir/$id" "$bucket/$id"
  run gcloud storage rsync $quiet --recursive "$bucket" "$workdir"
  run "${rest[@]}"
  run gcloud storage rsync $quiet --recursive "$shot" "$bucket"
  run gcloud storage rsync $quiet --recursive \
    --delete-unmatched-destination-objects "$shot/checkpoints" \
    "$bucket/checkpoints"
  exit
fi
begin
record "$workdir" "$(interpreter)" "${rest[@]}"
watch_signals
updating &
updater=$!
code=0
supervise "${rest[@]}" || code=$?
kill -TERM "$updater" 2>/dev/null || true
wait "$updater" 2>/dev/null || true
for pause in 1 10 0; do
  if update >/dev/null; then
    rm -rf "$shot"
    exit "$code"
  fi
  say "$bucket could not be updated"
  sleep "$pause"
done
rm -rf "$shot"
say "the copy in $bucket is older than $workdir"
((code)) || code=74
exit "$code"
