#!/usr/bin/env bash
# Fills corpus/frame with the frames of the recording, one file each: what cargo-fuzz starts from.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo run --quiet -p fpaas-ingest --example frames -- testdata/pds20/frames.bin.zst ingest/fuzz/corpus/frame
