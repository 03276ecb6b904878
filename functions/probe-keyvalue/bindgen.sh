#!/usr/bin/env bash
# Writes src/bindings.rs; with --check it only compares. See sdk/bindgen.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec "${WIT_BINDGEN:-wit-bindgen}" rust ../../sdk/wit/deps/keyvalue wit --world probe:keyvalue/standard --out-dir src \
  --generate-all --runtime-path tawi::bindings::rt "$@"
