#!/usr/bin/env bash
# Writes src/bindings/ from wit/. With --check it writes nothing and fails when they no longer match.
# The bindings are committed, so that building a function needs no generator:
#   cargo install --locked --version 0.63.0 wit-bindgen-cli
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

generator=${WIT_BINDGEN:-wit-bindgen}
version=0.63.0
case $("$generator" --version 2>/dev/null || true) in
  *" $version") ;;
  *) echo "needs wit-bindgen $version on PATH or in WIT_BINDGEN" >&2; exit 69 ;;
esac

generate() {
  local world=$1
  shift
  "$generator" rust wit --world "$world" --out-dir src/bindings --runtime-path crate::bindings::rt "$@" >/dev/null
}

# What `guest` has is not made again for a world that adds an export to it.
generate_export() {
  local world=$1 it path with=()
  for it in $2; do
    path=${it%@*}
    path=${path//[:\/]/::}
    with+=(--with "$it=crate::bindings::guest::${path//-/_}")
  done
  shift 2
  generate "$world" "${with[@]}" --generate-all --pub-export-macro --export-macro-name "export_$world" \
    --default-bindings-module "tawi::bindings::$world" "$@"
}

tawi=$(echo tawi:app/{types,publish,command,state,history,secrets}@0.1.0 wasi:config/store@0.2.0-rc.1 wasi:logging/logging@0.1.0-draft)
wasi=$(echo wasi:io/{error,poll,streams}@0.2.12 wasi:clocks/monotonic-clock@0.2.12 wasi:http/{types,outgoing-handler}@0.2.12)
generate guest --generate-all "$@"
generate_export event "$tawi" "$@"
generate_export http "$tawi $wasi" "$@"
generate_export decoder "$tawi" "$@"
for kind in schedule batch window silence change threshold; do
  generate_export "$kind" "$tawi tawi:app/trigger@0.1.0" "$@"
done
