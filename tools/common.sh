# shellcheck shell=bash
# What the set-up scripts share. Sourced by them, never run on its own.

# Programs that only this checkout uses live beside its build output: `cargo clean` removes them, set-up brings them back.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034  # read by the scripts that source this
tools_dir=${TAWI_TOOLS_DIR:-$root/target/tools}
case $tools_dir in /*) ;; *) tools_dir=$PWD/$tools_dir ;; esac

# Every script does the same from every directory.
cd "$root" || exit

# Progress goes to stderr: a script's output may be something another script reads.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

fail() {
  say "$*"
  exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# Runs a command and stays silent if it succeeds; the output is worth reading only when it fails.
quietly() {
  local output
  if ! output=$("$@" 2>&1); then
    printf '%s\n' "$output" >&2
    return 1
  fi
}

# A scratch directory that is gone when the script ends, however it ends.
make_scratch() {
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
}

# sudo may ask for a password only where somebody can type one.
can_be_root() {
  [ "$(id -u)" = 0 ] || { has sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; }
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Takes commands, one string each, and runs them as root. Who can't be root is shown the very same commands.
root_steps() {
  local step
  if ! can_be_root; then
    say "this needs root and there is no way to become root here; please run as root:"
    printf '    %s\n' "$@" >&2
    fail "then run $0 again"
  fi
  for step in "$@"; do
    quietly as_root sh -c "$step" || fail "failed: \`$step\`"
  done
}

# apt-get install waits for dpkg's lock if told to; apt-get update never waits for the lock of the package lists. Another
# update may well be under way on a fresh machine, so ask again for a minute. A source that can't be reached is not
# the end either: what we want may be in the lists already, and if not, the installation says so.
update_package_lists() {
  local output try
  for try in 1 2 3 4 5 6 7 8 9 10 11 12; do
    output=$(LC_ALL=C as_root apt-get -q update 2>&1) && return
    case $output in
      *"Could not get lock"*) [ "$try" = 12 ] || sleep 5 ;;
      *) break ;;
    esac
  done
  say "apt-get update failed, going on with the package lists as they are"
}

# --no-remove because some of our packages conflict with others (rustc-web with Debian's rustc): whoever has those
# shall decide alone.
apt_install() {
  local install="apt-get install -y -q --no-install-recommends --no-remove $*"
  if can_be_root; then
    update_package_lists
    say "installing $*"
    root_steps "DEBIAN_FRONTEND=noninteractive $install -o DPkg::Lock::Timeout=300"
  else
    root_steps "apt-get update" "$install"
  fi
}
