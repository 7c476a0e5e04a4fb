#!/usr/bin/env bash
# The benches: ratios against a peer or a limit, taken in one run. With arguments, what `cargo bench` makes of them.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

say "a bench counts only when the machine is idle; load: $(cut -d ' ' -f 1-3 /proc/loadavg 2>/dev/null || echo unknown)"
# The profile everything is built with: `bench` would compile RocksDB a second time.
cargo bench --profile dev "${flags[@]}" --bench '*' "$@"
