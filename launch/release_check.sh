#!/usr/bin/env bash
# Builds wheel and sdist into dist/ and tries them as a user would: each in a
# bare environment, outside of the checkout.
#
#   launch/release_check.sh [--pythons="python3.11 python3.12"] [--dry-run]
#
# For each Python: the wheel installs; `doctor` finds nothing wrong; a config and
# a builder of the installed package do a dry run of training; the extras
# resolve. The sdist holds what is in git and builds. Needs the package index;
# ten minutes on two cores.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

flags "pythons" "" "$@"
read -ra interpreters <<<"${pythons:-python3.11 python3.12}"
for python in "${interpreters[@]}"; do
  tool "$python" "say which ones are: --pythons=..."
done
scratch=$root/.cache/release
[[ -n $dry_run ]] || scratch=$(mktemp -d)
[[ -n $dry_run ]] || trap 'rm -rf "$scratch"' EXIT
dist=$root/dist

step() { printf '\n== %s\n' "$*" >&2; }

pip() { # in an environment of scratch
  local environment=$1
  shift
  run "$scratch/$environment/bin/python" -m pip \
    --disable-pip-version-check --quiet "$@"
}

step "build"
run rm -rf "$dist"
run "${interpreters[0]}" -m venv "$scratch/build"
pip build install build twine uv
run "$scratch/build/bin/python" -m build --outdir "$dist" "$root"
run "$scratch/build/bin/python" -m twine check --strict "$dist"/*
wheel=$dist/diffpose_jax-VERSION-py3-none-any.whl
[[ -n $dry_run ]] || wheel=$(echo "$dist"/*.whl)

if [[ -z $dry_run ]]; then
  step "what is in git and not in the sdist, or the other way round"
  tar -tzf "$dist"/*.tar.gz | cut -d/ -f2- | sort >"$scratch/packed"
  git -C "$root" ls-files | sort >"$scratch/known"
  # PKG-INFO is made by the build; the others are of git and of CI alone.
  comm -3 "$scratch/packed" "$scratch/known" |
    grep -vE '^\s*(PKG-INFO|\.(ci|github)/.*|\.[a-z-]+|\.pre-commit-config\.yaml)$' &&
    fail "see [tool.hatch.build.targets.sdist] of pyproject.toml"
fi

for python in "${interpreters[@]}"; do
  step "$python, from the wheel"
  name=$(basename "$python")
  run "$python" -m venv "$scratch/$name"
  pip "$name" install "$wheel"
  run mkdir -p "$scratch/elsewhere"
  program=("$scratch/$name/bin/python" -m diffpose_jax.main)
  run env --chdir="$scratch/elsewhere" "${program[@]}" doctor
  run env --chdir="$scratch/elsewhere" "${program[@]}" \
    --config=configs/synthetic.py "--workdir=$name" --dry_run \
    --config.data.synthetic.train_videos=2 \
    --config.data.synthetic.val_videos=1 --config.train.batch=8
  pip "$name" install --dry-run "${wheel}[cpu,video,detect,hdf5]"
  # uv reads what these need and does not fetch their gigabytes, as pip would.
  for extra in cuda tpu ray webdemo onnx; do
    run "$scratch/build/bin/uv" pip install --quiet --dry-run \
      --python "$scratch/$name/bin/python" "${wheel}[$extra]"
  done
done
step "done: $wheel"
