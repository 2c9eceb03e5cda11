# shellcheck shell=bash
# What the scripts of this folder share; they source it. Bash 3.2 and newer.
#
# Flags are --name=value or --name, and what follows -- is for the command.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
dry_run='' # prints every command and runs none
rest=()    # what stood after --

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }

fail() { # a mistake of whoever called, told in one line
  say "$*"
  exit 2
}

usage() { # the comment on top of the script
  sed -n '2,/^[^#]/{/^#/{s/^# \{0,1\}//;p;};}' "$0"
}

# flags "VALUED" "SWITCHES" ARGUMENTS...: sets a variable for each of them, with
# _ for -, empty where it is not given.
flags() {
  local _valued=" $1 " _switches=" $2 " _name
  for _name in $1 $2; do printf -v "${_name//-/_}" ''; done
  shift 2
  while (($#)); do
    _name=${1%%=*} _name=${_name#--}
    case $1 in
      --) shift && rest=("$@") && return ;;
      --help | -h) usage && exit 0 ;;
      --dry-run) dry_run=1 ;;
      --*=*)
        [[ $_valued == *" $_name "* ]] || fail "unknown flag --$_name=; see --help"
        printf -v "${_name//-/_}" '%s' "${1#*=}"
        ;;
      --*)
        [[ $_valued != *" $_name "* ]] || fail "--$_name needs a value: --$_name=..."
        [[ $_switches == *" $_name "* ]] || fail "unknown flag --$_name; see --help"
        printf -v "${_name//-/_}" 1
        ;;
      *) fail "unexpected '$1'; what is for the command follows --" ;;
    esac
    shift
  done
}

# need FLAG REGEX MEANING: it must be given, and match; `may` lets it be empty.
need() {
  local _name=${1//-/_}
  [[ -n ${!_name} ]] || fail "--$1 is missing: $3; see --help"
  may "$@"
}

may() {
  local _name=${1//-/_}
  [[ -z ${!_name} || ${!_name} =~ ^($2)$ ]] ||
    fail "--$1=${!_name} is not $3; see --help"
}

# shellcheck disable=SC2034  # for the scripts
BUCKET='gs://[a-z0-9][a-z0-9._-]+(/[A-Za-z0-9._=-]+)*'
# shellcheck disable=SC2034
COUNT='[1-9][0-9]*'

quoted() { # the words of a command as a shell reads them
  local text
  printf -v text '%q ' "$@"
  printf '%s' "${text% }"
}

run() { # a command, or its text in a dry run
  if [[ -n $dry_run ]]; then
    quoted "$@"
    echo
  else
    "$@"
  fi
}

tool() { # a program that must be there, except in a dry run
  [[ -n $dry_run ]] || command -v "$1" >/dev/null ||
    fail "$1 is not installed; $2"
}

# The commit of this code: of the checkout, or what was written down where it is
# a copy; with "+changes" where it is not quite that commit.
commit() {
  local found changes=''
  if [[ -n ${DIFFPOSE_COMMIT:-} ]]; then
    printf '%s' "$DIFFPOSE_COMMIT"
  elif [[ -f $root/COMMIT ]]; then
    tr -d '\n' <"$root/COMMIT"
  elif found=$(git -C "$root" rev-parse HEAD 2>/dev/null); then
    [[ -z $(git -C "$root" status --porcelain 2>/dev/null) ]] || changes=+changes
    printf '%s%s' "$found" "$changes"
  else
    printf unknown
  fi
}

# Where the project is to be had: DIFFPOSE_URL, or where the checkout is from,
# without a name or password in it.
address() {
  local url=${DIFFPOSE_URL:-}
  [[ -n $url ]] || url=$(git -C "$root" config --get remote.origin.url || true)
  printf '%s' "${url:-unknown}" | sed -E 's#://[^/@]*@#://#'
}

# The Python that has the project: DIFFPOSE_PYTHON, that of `make setup`, or one
# on the path.
interpreter() {
  local found=${DIFFPOSE_PYTHON:-$root/.venv/bin/python}
  [[ -x $found ]] || found=python3
  printf '%s' "$found"
}

# record WORKDIR PYTHON COMMAND...: adds what is started to WORKDIR/launches.txt,
# and keeps the exact versions of what is installed beside it.
record() {
  local workdir=$1 python=$2
  shift 2
  mkdir -p "$workdir"
  "$python" -m pip --disable-pip-version-check freeze --all \
    >"$workdir/lock.txt" 2>/dev/null || echo unknown >"$workdir/lock.txt"
  {
    printf 'time: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
    printf 'commit: %s\nfrom: %s\n' "$(commit)" "$(address)"
    printf 'versions: lock.txt, crc %s\n' "$(cksum <"$workdir/lock.txt")"
    printf 'command: %s\n\n' "$(quoted "$@")"
  } >>"$workdir/launches.txt"
}

# --- Commands under watch: signals reach them once, and their exit codes come
# back. Each gets a session of its own, since what a terminal sends to all of a
# group, and what is passed on here, would be two signals: the second one ends a
# run at once.

children=()
stopped='' passed_on=''

pass_on() { # as TERM: what a shell starts in the background may not hear INT
  stopped=1
  ((${#children[@]})) || return 0
  passed_on=1
  kill -TERM "${children[@]}" 2>/dev/null || true
}

known() { # the processes that signals go to; one may have come before
  children=("$@")
  [[ -z $stopped || -n $passed_on ]] || pass_on
}

watch_signals() { trap pass_on TERM INT HUP; }

apart() { # becomes the command, in a session of its own where there are such
  if command -v setsid >/dev/null; then exec setsid "$@"; else exec "$@"; fi
}

ended() { # exit code of a process, whatever signals come meanwhile
  local code=0 own=0
  wait "$1" || code=$?
  while kill -0 "$1" 2>/dev/null; do
    code=0
    wait "$1" || code=$?
  done
  # A signal cuts wait short, and its code is then the signal's: ask once more.
  wait "$1" 2>/dev/null || own=$?
  ((own == 127)) && own=$code # it was told before, and is not known any more
  return "$own"
}

supervise() { # runs a command; returns its exit code
  local code=0
  apart "$@" &
  known $!
  ended $! || code=$?
  children=()
  return "$code"
}

lost() { # whether an exit code says: start again; another process was lost, or
  # this one was killed by a signal that is not one to stop
  (($1 == 75)) || (($1 > 128 && $1 < 193 && $1 != 130 && $1 != 143))
}

nap() { # seconds, cut short by a signal
  [[ -n $stopped ]] || supervise sleep "$1" || true
}

# --- Kubernetes. Scripts have `manifest`, and flags --name, --namespace.

reach() { # kubectl: what reaches the cluster
  need name '[a-z]([a-z0-9-]{0,38}[a-z0-9])?' \
    "at most 40 lower case letters, digits and -"
  may namespace '[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?' "a namespace"
  tool kubectl "install it, and let it reach the cluster"
  # shellcheck disable=SC2154  # made by `flags`
  kubectl=(kubectl ${namespace:+"--namespace=$namespace"})
}

check_pod() { # what each pod is made of, and the flags of its command
  need image '[A-Za-z0-9][A-Za-z0-9./_:@-]*' "an image"
  need claim '[a-z0-9][a-z0-9.-]*' "the name of a claim"
  local flag
  for flag in ${rest[@]+"${rest[@]}"}; do
    # Kubernetes would read $(NAME) as a variable.
    # shellcheck disable=SC2016
    [[ $flag != *[$'\n@"\\']* && $flag != *'$('* ]] ||
      fail "'$flag': no \", \\, @, \$( or end of line in a flag"
  done
}

send_manifest() { # creates what `manifest` prints
  if [[ -n $dry_run ]]; then
    run "${kubectl[@]}" create --filename=-
  else
    manifest | "${kubectl[@]}" create --filename=-
  fi
}
