#!/usr/bin/env bash
# Predicts many videos on Kubernetes (GKE, or a cluster of one's own), by a Job
# of as many parts as one asks for.
#
#   launch/predict_gke.sh create --name=N --image=I --shards=N [--parallel=N]
#                        [--accelerator=A] [--cpus=N] --claim=C
#                        --input=/workspace/VIDEOS --out=/workspace/POSES
#                        [--retries=N] [--spot] [--dry-run] -- MORE FLAGS OF predict
#   launch/predict_gke.sh show   like create: prints the manifest
#   launch/predict_gke.sh status | logs | delete  --name=N [--dry-run]
#
#   --image=I        built from launch/Dockerfile, target cuda or cpu
#   --shards=N       in how many parts the videos are, a pod each
#   --parallel=N     pods at the same time (as many)
#   --accelerator=A  the node's label, nvidia-l4: each pod has one such GPU;
#                    without it none has
#   --cpus=N         processors of each pod (4)
#   --claim=C        a PersistentVolumeClaim that all pods can write, at /workspace
#   --retries=N      of a part whose pod is killed (3); evictions do not count
#
# All take --namespace=N. The manifest is launch/predict_gke.yaml. The same job
# again, once deleted, does what is left. `delete` removes the Job, no data.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

verb=${1:-}
shift || true
flags "name image shards parallel accelerator cpus claim input out retries \
namespace" "spot" "$@"
: "${parallel:=$shards}" "${cpus:=4}" "${retries:=3}"

check_job() {
  need shards "$COUNT" "a number of parts"
  need parallel "$COUNT" "a number of pods"
  may accelerator '[a-z0-9][a-z0-9.-]*' "the label of an accelerator"
  need cpus "$COUNT" "a number of processors"
  need input '/workspace/[A-Za-z0-9._/=*?-]+' "videos below /workspace"
  need out '/workspace/[A-Za-z0-9._/=-]+' "a folder below /workspace"
  need retries '[0-9]+' "a number of tries"
  check_pod
}

manifest() {
  local line flag mark='# if'
  while IFS= read -r line; do
    case $line in
      *"$mark gpu spot") [[ -n $accelerator$spot ]] || continue ;;
      *"$mark gpu") [[ -n $accelerator ]] || continue ;;
      *"$mark spot") [[ -n $spot ]] || continue ;;
      *'@FLAG@'*)
        for flag in ${rest[@]+"${rest[@]}"}; do
          printf '%s\n' "${line/@FLAG@/$flag}"
        done
        continue
        ;;
    esac
    line=${line//@NAME@/$name} line=${line//@IMAGE@/$image}
    line=${line//@SHARDS@/$shards} line=${line//@PARALLEL@/$parallel}
    line=${line//@ACCELERATOR@/$accelerator} line=${line//@CLAIM@/$claim}
    line=${line//@INPUT@/$input} line=${line//@OUT@/$out}
    line=${line//@CPUS@/$cpus}
    printf '%s\n' "${line//@RETRIES@/$retries}"
  done < <(grep -v '^#' "$here/predict_gke.yaml")
}

case $verb in
  show)
    reach
    check_job
    manifest
    ;;
  create)
    reach
    check_job
    send_manifest
    ;;
  status)
    reach
    run "${kubectl[@]}" get job "$name" \
      "--output=custom-columns=NAME:.metadata.name,DONE:.status.completedIndexes,FAILED:.status.failedIndexes,ACTIVE:.status.active"
    run "${kubectl[@]}" get pods "--selector=batch.kubernetes.io/job-name=$name"
    ;;
  logs)
    reach
    run "${kubectl[@]}" logs --prefix --tail=20 --max-log-requests=50 \
      --container=predict "--selector=batch.kubernetes.io/job-name=$name"
    ;;
  delete)
    reach
    run "${kubectl[@]}" delete job "$name"
    ;;
  --help | -h | help) usage ;;
  *) fail "unknown verb '$verb': create, show, status, logs, delete" ;;
esac
