#!/usr/bin/env bash
# The demo: `make demo`; live with RELAY=wss://…, on Kafka with LOG=kafka. Its exit code is that of the demo program: 0
# when every check held, 69 when the relay, or a broker, cannot be had, 130 after Ctrl-C.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

arguments=()
[ -z "${RELAY:-}" ] || arguments+=(--relay "$RELAY")
[ -z "${LOG:-}" ] || arguments+=(--log "$LOG")
exec "$PROGRAMS/demo" ${arguments[@]+"${arguments[@]}"}
