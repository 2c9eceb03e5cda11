#!/usr/bin/env bash
# What tpu.sh runs on each host of a TPU slice: installs this copy of the project
# and trains in the background, as a unit of systemd.
#
#   launch/host.sh setup [--disk=HOST:/EXPORT] [--data=gs://...] [--extra=tpu]
#                        [--dry-run]
#   launch/host.sh start --workdir=DIR [--bucket=gs://...] [--every=S]
#                        [--times=N] [--dry-run] -- --config=FILE MORE FLAGS
#   launch/host.sh status | log | stop [--dry-run]
#
#   --disk=...     an NFS export, such as Filestore's, mounted at /mnt/diffpose;
#                  runs go to /mnt/diffpose/runs
#   --data=...     prepared data, copied to ~/diffpose-data, see prepare_data.sh
#   --workdir=DIR  of many hosts: on that disk
#   --bucket=...   keeps a copy of the workdir there, see mirror.sh; one host only
#
# `status` prints "not started", "running" or "ended CODE". `stop` lets the run
# finish its step and save. The loss of a process starts it again, see again.sh.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

verb=${1:-}
shift || true
flags "disk data extra workdir bucket every times" "" "$@"
unit=diffpose
mount=${DIFFPOSE_MOUNT:-/mnt/diffpose}
metadata=http://metadata.google.internal/computeMetadata/v1/instance/attributes

hosts() { # how many the slice has, as Cloud TPU says
  local all
  all=$(curl -sf -H 'Metadata-Flavor: Google' \
    "$metadata/worker-network-endpoints") || all=''
  awk -F, '{ print (NF ? NF : 1) }' <<<"$all"
}

number() { # which of them this is
  curl -sf -H 'Metadata-Flavor: Google' "$metadata/agent-worker-number" ||
    echo 0
}

find_python() { # sets `python`, 3.11 or newer: one that is there, or uv's
  for python in python3.13 python3.12 python3.11 python3; do
    if "$python" -c 'import sys, venv, ensurepip
sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      return
    fi
  done
  run python3 -m pip install --quiet --user "uv==0.13.9"
  run python3 -m uv python install --quiet 3.12
  python=python3.12
  [[ -n $dry_run ]] || python=$(python3 -m uv python find 3.12)
}

setup() {
  may disk '[A-Za-z0-9.-]+:/[A-Za-z0-9_./-]+' "HOST:/EXPORT"
  may data "$BUCKET" "gs://BUCKET/PATH"
  may extra 'cpu|cuda|tpu' "cpu, cuda or tpu"
  if [[ -n $disk ]] && ! mountpoint -q "$mount" 2>/dev/null; then
    run sudo apt-get install --yes --quiet nfs-common
    run sudo mkdir -p "$mount"
    run sudo mount -t nfs -o hard,noatime "$disk" "$mount"
    run sudo mkdir -p "$mount/runs"
    run sudo chown "$(id -u)" "$mount/runs"
  fi
  local python
  find_python
  run "$here/setup.sh" "$python" "$root/.venv" "${extra:-tpu}"
  [[ -z $data ]] ||
    run "$here/prepare_data.sh" get "--out=$HOME/diffpose-data" "--bucket=$data"
}

property() { # of the unit, as systemd says it
  systemctl show "$unit" "--property=$1" --value
}

is_running() {
  [[ $(property ActiveState) =~ ^(active|activating|deactivating|reloading)$ &&
    $(property SubState) != exited ]]
}

status() {
  if is_running; then
    echo running
  elif [[ $(property LoadState) != loaded ]]; then
    echo "not started"
  elif [[ $(property ExecMainCode) == 1 ]]; then # it ended by itself
    printf 'ended %s\n' "$(property ExecMainStatus)"
  else
    printf 'ended %s\n' $((128 + $(property ExecMainStatus)))
  fi
}

start() {
  need workdir '.+' "the run's folder"
  may bucket "$BUCKET" "gs://BUCKET/PATH"
  may every "$COUNT" "a number of seconds"
  may times "$COUNT" "a number of starts"
  ((${#rest[@]})) || fail "no flags for the command; they follow --"
  if [[ -n $bucket ]] && (($(hosts) > 1)); then
    fail "--bucket is for one host, this slice has $(hosts); give a --workdir" \
      "on a disk that all see, see setup --disk"
  fi
  ! is_running || fail "a run is under way here; see status, stop"
  local python command
  python=$(interpreter)
  command=("$python" -m diffpose_jax.main train "--workdir=$workdir"
    "${rest[@]}" --multihost)
  command=("$here/again.sh" "--times=${times:-10}" -- "${command[@]}")
  [[ -z $bucket ]] || command=("$here/mirror.sh" "--workdir=$workdir"
    "--bucket=$bucket" "--every=${every:-600}" -- "${command[@]}")
  # mirror.sh does so by itself, once it has fetched what there was.
  if [[ -z $bucket && -z $dry_run && $(number) == 0 ]]; then
    record "$workdir" "$python" "${command[@]}"
  fi
  # What ended before is forgotten. systemd signals the first process alone,
  # which passes it on; a second signal would end the run at once.
  run sudo systemctl stop "$unit" || true
  run sudo systemctl reset-failed "$unit" || true
  run sudo systemd-run "--unit=$unit" --quiet \
    --uid="$(id -un)" --working-directory="$PWD" \
    --property=KillMode=mixed --property=TimeoutStopSec=120 \
    --property=RemainAfterExit=yes --setenv=HOME="$HOME" \
    --setenv=PATH="$PATH" "${command[@]}"
}

stop() {
  is_running || fail "nothing runs here"
  run sudo systemctl kill --kill-who=main --signal=TERM "$unit"
  [[ -n $dry_run ]] || while is_running; do sleep 1; done
  [[ -n $dry_run ]] || status
}

case $verb in
  setup | start | status | stop) "$verb" ;;
  log) run sudo journalctl --unit="$unit" --no-pager --output=cat --lines=100 ;;
  --help | -h | help) usage ;;
  *) fail "unknown verb '$verb': setup, start, status, log, stop" ;;
esac
