#!/usr/bin/env bash
# The demo: `make demo`, or `make demo RELAY=wss://…`. Its exit code is that of the demo program: 0 when every check
# held, 69 when the relay cannot be reached, 130 after Ctrl-C.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

arguments=()
[ -z "${RELAY:-}" ] || arguments+=(--relay "$RELAY")
exec "$PROGRAMS/demo" ${arguments[@]+"${arguments[@]}"}
