#!/usr/bin/env bash
# Trains on Kubernetes with JobSet (GKE, or a cluster of one's own).
#
#   launch/gke.sh create --kind=tpu|gpu --name=N --image=I --hosts=N --chips=N
#                        --accelerator=A [--topology=T] --claim=C --workdir=/workspace/W
#                        [--restarts=N] [--spot] [--dry-run]
#                        -- --config=FILE MORE FLAGS
#   launch/gke.sh show   like create: prints the manifest
#   launch/gke.sh status | logs | delete  --name=N [--dry-run]
#
#   --image=I        built from launch/Dockerfile, target tpu or cuda
#   --hosts=N        pods, one a host; --chips=N: TPU chips or GPUs of each
#   --accelerator=A  the node's label: tpu-v5-lite-podslice, nvidia-h100-80gb
#   --topology=T     of a TPU slice: 2x4, 4x4
#   --claim=C        a PersistentVolumeClaim that all pods can write, at /workspace
#   --restarts=N     of the whole set (50)
#
# All take --namespace=N. The manifest is launch/gke.yaml. Data and workdir lie
# on the claim; the same workdir goes on. `delete` removes the JobSet, no data.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

verb=${1:-}
shift || true
flags "kind name image hosts chips accelerator topology claim workdir restarts \
namespace" "spot" "$@"
: "${restarts:=50}"

check_set() {
  need kind 'tpu|gpu' "tpu or gpu"
  need hosts "$COUNT" "a number of hosts"
  need chips "$COUNT" "a number of chips"
  need accelerator '[a-z0-9][a-z0-9.-]*' "the label of an accelerator"
  need workdir '/workspace/[A-Za-z0-9._/=-]+' "a folder below /workspace"
  need restarts '[0-9]+' "a number of restarts"
  if [[ $kind == tpu ]]; then
    need topology '[0-9]+x[0-9]+(x[0-9]+)?' "a topology, such as 2x4"
  else
    [[ -z $topology ]] || fail "--topology is for --kind=tpu"
  fi
  [[ " ${rest[*]-}" == *" --config="* ]] ||
    fail "--config=FILE is missing; flags of the command follow --"
  check_pod
}

manifest() {
  local line flag
  awk -v wanted="# name: $kind" '
    /^# name: /{ on = $0 == wanted; next } /^---$/{ on = 0 } on' \
    "$here/gke.yaml" | while IFS= read -r line; do
    case $line in
      *'# if spot'*) [[ -n $spot ]] || continue ;;
      *'@FLAG@'*)
        for flag in "${rest[@]}"; do printf '%s\n' "${line/@FLAG@/$flag}"; done
        continue
        ;;
    esac
    line=${line//@NAME@/$name} line=${line//@IMAGE@/$image}
    line=${line//@HOSTS@/$hosts} line=${line//@CHIPS@/$chips}
    line=${line//@ACCELERATOR@/$accelerator} line=${line//@CLAIM@/$claim}
    line=${line//@TOPOLOGY@/$topology} line=${line//@WORKDIR@/$workdir}
    printf '%s\n' "${line//@RESTARTS@/$restarts}"
  done
}

case $verb in
  show)
    reach
    check_set
    manifest
    ;;
  create)
    reach
    check_set
    send_manifest
    ;;
  status)
    reach
    run "${kubectl[@]}" get jobset "$name"
    run "${kubectl[@]}" get pods "--selector=jobset.sigs.k8s.io/jobset-name=$name"
    ;;
  logs)
    reach
    run "${kubectl[@]}" logs --follow --tail=100 --container=train \
      "--selector=jobset.sigs.k8s.io/jobset-name=$name,batch.kubernetes.io/job-completion-index=0"
    ;;
  delete)
    reach
    run "${kubectl[@]}" delete jobset "$name"
    ;;
  --help | -h | help) usage ;;
  *) fail "unknown verb '$verb': create, show, status, logs, delete" ;;
esac
