#!/usr/bin/env bash
# Hostile frames for a while: with cargo-fuzz and a nightly toolchain the fuzz target, otherwise mutations of recorded
# frames from a seed that is printed and repeated by FPAAS_FUZZ_SEED. Both check the same (ingest/fuzz/check.rs).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if have cargo-fuzz && cargo +nightly --version >/dev/null 2>&1; then
    bash ingest/fuzz/corpus.sh
    cd ingest
    exec cargo +nightly fuzz run frame -- -max_total_time="${FPAAS_FUZZ_SECONDS:-300}"
fi

say "cargo-fuzz with nightly is not here (cargo install --locked cargo-fuzz): mutating recorded frames instead"
export FPAAS_FUZZ_SEED="${FPAAS_FUZZ_SEED:-$(od -An -N8 -tu8 /dev/urandom | tr -d ' ')}"
say "again: make fuzz FPAAS_FUZZ_SEED=$FPAAS_FUZZ_SEED"
exec bash scripts/test.sh --test it hostile:: -- --nocapture
