#!/usr/bin/env bash
# Trains with several processes on the CPU of one machine, which run as one: to
# try what many hosts do. Several GPUs of a machine need no launcher: one
# process takes them all, see docs/launch.md.
#
#   launch/local.sh --config=FILE --workdir=DIR [--processes=N] [--devices=N]
#                   [--times=N] [--port=P] [--dry-run] [-- MORE FLAGS]
#
#   --processes=N   how many (2)
#   --devices=N     CPU devices of each (1)
#   --times=N       starts in a row after the loss of a process (10)
#   --port=P        where they meet (a free one)
#
# The first process prints here, the others to WORKDIR/process-I.log. SIGTERM or
# Ctrl-C lets all finish their step and save; the same command goes on from
# there. The exit code is that of the first process that failed, or 0.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

given=("$@")
flags "config workdir processes devices times port" "once" "$@"
: "${processes:=2}" "${devices:=1}" "${times:=10}"
need config '.+' "a config file"
need workdir '.+' "the run's folder"
need processes "$COUNT" "a number of processes"
need devices "$COUNT" "a number of devices"
need times "$COUNT" "a number of starts"
may port "$COUNT" "a port"
python=$(interpreter)

if [[ -z $once && -z $dry_run ]]; then
  record "$workdir" "$python" "$0" "${given[@]}"
  exec "$here/again.sh" "--times=$times" --pause=1 -- "$0" --once "${given[@]}"
fi

free_port() {
  "$python" -c 'import socket
print(socket.create_server(("", 0)).getsockname()[1])'
}

if [[ -z $port ]]; then
  [[ -z $dry_run ]] && port=$(free_port) || port=8476
fi
command=(
  env JAX_PLATFORMS=cpu
  "XLA_FLAGS=--xla_force_host_platform_device_count=$devices ${XLA_FLAGS:-}"
  "$python" -m diffpose_jax.main train
  "--config=$config" "--workdir=$workdir" ${rest[@]+"${rest[@]}"}
  --multihost "--coordinator=localhost:$port" "--processes=$processes"
)

if [[ -n $dry_run ]]; then
  for ((i = 0; i < processes; i++)); do run "${command[@]}" "--process=$i"; done
  exit
fi
watch_signals
started=()
for ((i = 0; i < processes; i++)); do
  log=$workdir/process-$i.log
  ((i)) || log=/dev/stdout
  apart "${command[@]}" "--process=$i" >>"$log" 2>&1 &
  started+=($!)
done
known "${started[@]}"
result=0
for child in "${started[@]}"; do
  code=0
  ended "$child" || code=$?
  # Where one was lost, the others end with 75, and all are to start again.
  if ((result == 0 || code == 75)); then result=$code; fi
done
exit "$result"
