# What the scripts share: where things are, and how they speak. Sourced, not run.

set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$ROOT"
CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$ROOT/target}"
# Relative means: seen from the checkout, wherever the script was called.
case "$CARGO_TARGET_DIR" in /*) ;; *) CARGO_TARGET_DIR="$ROOT/$CARGO_TARGET_DIR" ;; esac
export CARGO_TARGET_DIR
# The profile `dev` of Cargo.toml: cargo names its folder so.
PROGRAMS="$CARGO_TARGET_DIR/debug"

# What every build and test is asked for: the same packages and features, so that nothing compiles twice (a tidy test
# compares what cargo makes of it).
flags=(--workspace --features fpaas-log/test-util)

# A shell that was open when rustup was installed does not know where cargo is.
if ! command -v cargo >/dev/null 2>&1; then
    PATH="$PATH:${CARGO_HOME:-${HOME:-}/.cargo}/bin"
fi

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
# Whether FPAAS_MUST_RUN, a list with commas, names what is missing here.
must_not_skip() { case ",${FPAAS_MUST_RUN:-}," in *",$1,"*) ;; *) return 1 ;; esac; }
