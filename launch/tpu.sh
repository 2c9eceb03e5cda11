#!/usr/bin/env bash
# Trains on Cloud TPU, from a queued resource to its deletion.
#
#   launch/tpu.sh create --name=N --zone=Z --type=T [--version=V] [--project=P]
#                        [--spot | --reserved] [--network=N]
#   launch/tpu.sh setup  --name=N --zone=Z [--project=P] [--disk=HOST:/EXPORT]
#                        [--data=gs://...] [--committed-only]
#   launch/tpu.sh run    --name=N --zone=Z [--project=P] --workdir=DIR
#                        [--bucket=gs://...] [--every=S] [--times=N]
#                        -- --config=FILE MORE FLAGS
#   launch/tpu.sh status | logs | stop | delete [--yes]  --name=N --zone=Z
#                        [--project=P]
#   launch/tpu.sh keep   what create, setup and run take [--recreate] [--poll=S]
#
#   --type=T       such as v5litepod-8, v6e-16; --version: its software
#   --disk=...     an NFS export, such as Filestore's, for all hosts; it is
#                  mounted at /mnt/diffpose. A workdir of several hosts lies there
#   --data=...     prepared data, copied to each host: ../diffpose-data for the
#                  run, see prepare_data.sh
#   --bucket=...   one host: keeps a copy of the workdir there, see mirror.sh
#   --recreate     keep: a preempted slice is deleted and asked for again
#   --committed-only   setup: leave out what is not committed, and say nothing
#
# Every verb takes --dry-run, which prints every command and runs none. `setup`
# copies the commit that is checked out and installs launch/locks/; `run` trains
# in the background. A host that loses another one, or whose own process is
# killed, starts again by itself; `keep` does all of it, and again after a
# preemption, until the run is done. The same workdir goes on. Nothing but
# `delete`, and `keep --recreate`, deletes anything, and these no data.
# docs/launch.md tells all, with costs.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

verb=${1:-}
shift || true
given=("$@")
flags "name zone type version project network disk data workdir bucket every times \
poll" "spot reserved committed-only recreate yes" "$@"

check() { # what every verb needs
  need name '[a-z]([a-z0-9-]{0,48}[a-z0-9])?' "lower case letters, digits and -"
  need zone '[a-z]+-[a-z0-9]+-[a-z]' "a zone, such as us-west4-a"
  may project '[a-z][a-z0-9:.-]+' "a project's id"
  tool gcloud "install the Google Cloud CLI and run: gcloud init"
  where=("--zone=$zone" ${project:+"--project=$project"})
}

software() { # what a type of slice runs, by Google's table of versions
  case $type in
    v6e-*) printf v2-alpha-tpuv6e ;;
    v5p-*) printf v2-alpha-tpuv5 ;;
    v5litepod-*) printf v2-alpha-tpuv5-lite ;;
    *) printf tpu-ubuntu2204-base ;;
  esac
}

on() { # on WORKERS COMMAND: on hosts of the slice
  run gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" "--worker=$1" \
    "--command=$2"
}

folder() { # of this commit, on the hosts
  printf 'diffpose_jax-%s' "$(git -C "$root" rev-parse --short=12 HEAD)"
}

there() { # a command of host.sh, in that folder
  printf 'cd %s && launch/host.sh %s' "$(folder)" "$(quoted "$@")"
}

check_create() {
  need type 'v[0-9][a-z0-9]*-[0-9]+' "an accelerator type, such as v5litepod-8"
  may version '[a-z0-9][a-z0-9.-]+' "a runtime version"
  may network '[a-z][a-z0-9-]*' "a network's name"
  [[ -z $spot || -z $reserved ]] || fail "--spot or --reserved, not both"
}

check_run() {
  need workdir '/[^ ]*|[A-Za-z0-9._][^ ]*' "a folder, without spaces"
  may bucket "$BUCKET" "gs://BUCKET/PATH"
  may every "$COUNT" "a number of seconds"
  may times "$COUNT" "a number of starts"
  [[ " ${rest[*]-}" == *" --config="* ]] ||
    fail "--config=FILE is missing; flags of the command follow --"
}

create() {
  check_create
  run gcloud compute tpus queued-resources create "$name" "${where[@]}" \
    "--node-id=$name" "--accelerator-type=$type" \
    "--runtime-version=${version:-$(software)}" \
    ${spot:+--spot} ${reserved:+--reserved} ${network:+"--network=$network"}
}

setup() {
  may disk '[A-Za-z0-9.-]+:/[A-Za-z0-9_./-]+' "HOST:/EXPORT"
  may data "$BUCKET" "gs://BUCKET/PATH"
  git -C "$root" rev-parse HEAD >/dev/null 2>&1 ||
    fail "$root is no git checkout, so that what to copy is not known"
  [[ -n $committed_only || -z $(git -C "$root" status --porcelain) ]] ||
    fail "there are changes that are not committed and would not be copied;" \
      "commit them, or give --committed-only"
  local archive commit to
  commit=$(git -C "$root" rev-parse HEAD) to=$(folder)
  if [[ -n $dry_run ]]; then
    archive=$to.tar.gz
  else
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    archive=$scratch/$to.tar.gz
  fi
  run git -C "$root" archive --format=tar.gz "--prefix=$to/" \
    "--output=$archive" HEAD
  run gcloud compute tpus tpu-vm scp "$archive" "$name:$to.tar.gz" \
    "${where[@]}" --worker=all
  on all "tar -xzf $to.tar.gz && echo $commit > $to/COMMIT && $(
    there setup ${disk:+"--disk=$disk"} ${data:+"--data=$data"}
  )"
}

run_there() {
  check_run
  on all "$(
    there start "--workdir=$workdir" ${bucket:+"--bucket=$bucket"} \
      ${every:+"--every=$every"} ${times:+"--times=$times"} -- "${rest[@]}"
  )"
}

state() { # of the queued resource; "none" where there is none
  local text code=0
  text=$(describe 2>&1) || code=$?
  if ((code == 0)); then
    printf '%s' "${text##*$'\n'}"
  elif [[ $text == *NOT_FOUND* ]]; then
    printf none
  else
    fail "$text"
  fi
}

run_state() { # of the run on all hosts: what is not "running" there, else that
  local all
  all=$(on all "$(there status)" 2>/dev/null) || { printf unknown && return; }
  grep -v '^running$' <<<"$all" | head -n 1 || printf running
}

delete() {
  run gcloud compute tpus queued-resources delete "$name" "${where[@]}" \
    --force ${yes:+--quiet}
}

describe() {
  run gcloud compute tpus queued-resources describe "$name" "${where[@]}" \
    "--format=value(state.state)"
}

status() {
  describe
  on all "$(there status)"
}

logs() { on 0 "$(there log)"; }

stop() { on all "$(there stop)"; }

keep() {
  check_create
  check_run
  may poll "$COUNT" "a number of seconds"
  if [[ -n $dry_run ]]; then
    describe
    create
    setup
    run_there
    on all "$(there status)"
    return
  fi
  watch_signals
  local slice trained
  while [[ -z $stopped ]]; do
    slice=$(state) || exit
    case $slice in
      none) create ;;
      ACTIVE)
        trained=$(run_state)
        say "$slice, run: $trained"
        case $trained in
          running) ;;
          "ended 0") return ;;
          "ended 2") fail "the run was refused; see: $0 logs" ;;
          *)
            { "$0" setup "${given[@]}" && "$0" run "${given[@]}"; } ||
              say "trying again"
            ;;
        esac
        ;;
      SUSPENDED | FAILED)
        [[ -n $recreate ]] ||
          fail "the slice is $slice, as after a preemption; delete it, or give" \
            "--recreate"
        say "$slice; asking for a new slice"
        yes=1 delete
        create
        ;;
      *) say "$slice" ;;
    esac
    nap "${poll:-60}"
  done
  say "no longer kept; the run goes on, see: $0 stop"
  return 143
}

case $verb in
  create | setup | keep | delete | run | status | logs | stop)
    check
    [[ $verb != run ]] || verb=run_there
    "$verb"
    ;;
  --help | -h | help) usage ;;
  *)
    fail "unknown verb '$verb': create, setup, run, status, logs, stop," \
      "delete, keep"
    ;;
esac
