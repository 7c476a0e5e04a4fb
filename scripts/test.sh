#!/usr/bin/env bash
# Every test: the workspace's, and the examples where Node and Python are there. With arguments, what `cargo test`
# makes of them.
#
# What cannot run here is skipped with a line that begins with SKIPPED; FPAAS_MUST_RUN names what must not be, such as
# `mount,python,program` (testkit/src/skip.rs), or `worker`, `examples` or `compose`.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# A broken invariant stops a test instead of being counted.
export FPAAS_INVARIANTS=panic
export FPAAS_BIN="${FPAAS_BIN:-$PROGRAMS/fpaas}"
# The longest of them wait most of the time: for a broker, a session, a retry.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$((2 * $(nproc)))}"

if [ $# -gt 0 ]; then
    exec cargo test "${flags[@]}" "$@"
fi

bash scripts/setup.sh test
FPAAS_PYTHON_PACKAGES="$(bash scripts/python-packages.sh)"
export FPAAS_PYTHON_PACKAGES
say "testing; compiling the tests comes first"
# All of them, also behind one that fails.
failed=0
cargo test "${flags[@]}" --no-fail-fast || failed=$?
bash scripts/test-worker.sh || failed=$?
bash scripts/test-examples.sh || failed=$?
bash scripts/test-compose.sh || failed=$?
exit "$failed"
