#!/usr/bin/env bash
# Licences, sources and bans of the dependencies (deny.toml); known vulnerabilities where their database can be reached.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if ! have cargo-deny; then
    must_not_skip deny && die "cargo-deny is not installed, and FPAAS_MUST_RUN=$FPAAS_MUST_RUN does not let it be"
    say "SKIPPED: cargo-deny is not installed (cargo install --locked cargo-deny)"
    exit 0
fi

cargo deny --all-features check bans licenses sources

if ! timeout 60 cargo deny --all-features fetch db </dev/null >/dev/null 2>&1; then
    say "SKIPPED: advisories, since their database cannot be reached from here"
    exit 0
fi
cargo deny --all-features check advisories
