#!/usr/bin/env bash
# Every test: the workspace's, and the Worker where Node is there. With arguments, what `cargo test` makes of them.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# A broken invariant stops a test instead of being counted.
export FPAAS_INVARIANTS=panic
export FPAAS_BIN="${FPAAS_BIN:-$PROGRAMS/fpaas}"

if [ $# -gt 0 ]; then
    exec cargo test "${flags[@]}" "$@"
fi
say "testing; compiling the tests comes first"
cargo test "${flags[@]}"
bash scripts/test-worker.sh
