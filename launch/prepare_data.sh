#!/usr/bin/env bash
# Prepares a data set here, checks it, and copies it to a bucket; or copies it
# from there to a disk, for training to read.
#
#   launch/prepare_data.sh put --dataset=NAME --source=DIR --out=DIR
#                          --bucket=gs://BUCKET/PATH [--dry-run] [-- MORE FLAGS]
#   launch/prepare_data.sh get --out=DIR --bucket=gs://BUCKET/PATH [--dry-run]
#
#   --dataset=NAME   see: python -m diffpose_jax.main help prepare
#   --source=DIR     the data set as published; not for synthetic
#   --out=DIR        the prepared folder
#   --bucket=...     the copy; a folder of its own
#
# Called again after an interruption it goes on. The manifest, prepared.json, is
# copied last and checked: a copy that has it is whole. Nothing is deleted. MORE
# FLAGS are for the verb prepare, such as --boxes=FILE.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

verb=${1:-}
shift || true
flags "dataset source out bucket" "" "$@"
manifest=prepared.json

copied() { # FROM TO: all but the manifest, and then the manifest
  run gcloud storage rsync --recursive "--exclude=^$manifest\$" "$1" "$2"
  run gcloud storage cp "$1/$manifest" "$2/$manifest"
}

check() {
  need out '.+' "the prepared folder"
  out=${out%/} bucket=${bucket%/}
  need bucket "$BUCKET" "gs://BUCKET/PATH"
  [[ $bucket == gs://*/* ]] ||
    fail "--bucket=$bucket has no path; give the set a folder of its own"
  tool gcloud "install the Google Cloud CLI"
  program=("$(interpreter)" -m diffpose_jax.main)
}

put() {
  need dataset '[a-z0-9_]+' "the name of a data set"
  [[ -n $source || $dataset == synthetic ]] ||
    fail "--source is missing: the folder of $dataset as published"
  run "${program[@]}" prepare "--dataset=$dataset" \
    ${source:+"--source=$source"} "--out=$out" ${rest[@]+"${rest[@]}"}
  run "${program[@]}" prepare --check "--out=$out"
  copied "$out" "$bucket"
  say "$out is in $bucket"
}

get() {
  copied "$bucket" "$out"
  run "${program[@]}" prepare --check "--out=$out"
  say "train with --config.data.prepared=$out"
}

case $verb in
  put | get)
    check
    [[ $verb == put || -n $dry_run ]] || mkdir -p "$out"
    "$verb"
    ;;
  --help | -h | help) usage ;;
  *) fail "unknown verb '$verb': put, get" ;;
esac
