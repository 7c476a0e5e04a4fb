#!/usr/bin/env bash
# Runs each receiver of examples/ against `fpaas verify-receiver`, which must find nothing wrong with it. Skips, and
# says so, what cannot be had.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

FPAAS_BIN="${FPAAS_BIN:-$PROGRAMS/fpaas}"
export WEBHOOK_SECRET=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
# Outside the checkout, and by what is in it, so that it is fetched once.
cache="${XDG_CACHE_HOME:-$HOME/.cache}/fpaas"
work="$(mktemp -d)"
running=''
failed=0

skip() { # WHAT WHY
    say "SKIPPED, for want of examples: the receiver $1: $2"
    ! must_not_skip examples || die "FPAAS_MUST_RUN=$FPAAS_MUST_RUN does not let it be"
}

stop() {
    [ -z "$running" ] || { kill "$running" && wait "$running"; } 2>/dev/null || true
    running=''
}
trap 'stop; rm -rf "$work"' EXIT

# Starts it, waits for the line that says where it listens, and has it verified.
verify() { # NAME COMMAND…
    local name="$1" log="$work/$1.log" said="$work/$1.fifo" url=''
    shift
    mkfifo "$said"
    "$@" >"$said" 2>"$log" &
    running=$!
    exec 3<"$said"
    while IFS= read -r -t 60 line <&3; do
        case "$line" in 'receiver is up at '*) url="${line#receiver is up at }" && break ;; esac
    done
    say "verifying the receiver $name"
    if [ -z "$url" ]; then
        say "error: $name does not start: $(tail -n 5 "$log")"
        failed=1
    elif ! "$FPAAS_BIN" verify-receiver "$url" --secret "$WEBHOOK_SECRET" >"$work/report" 2>"$work/summary"; then
        say "error: $name is no good receiver:"
        cat "$work/report" "$work/summary" >&2
        tail -n 20 "$log" >&2
        failed=1
    else
        grep '^warn' "$work/report" >&2 || true
        tail -n 1 "$work/summary" >&2
    fi
    exec 3<&-
    stop
}

node_is_there() { have node && have npm && [ "$(node -p 'Number(process.versions.node.split(".")[0]) >= 20')" = true ]; }

express_home() { # installs by the lock file
    local lock home
    lock="$(cksum <examples/express/package-lock.json | tr ' ' -)"
    home="$cache/express-test/$lock"
    if [ ! -e "$home/installed" ]; then
        mkdir -p "$home"
        cp examples/express/package.json examples/express/package-lock.json "$home/"
        timeout 240 npm ci --prefix "$home" --no-audit --no-fund --loglevel error </dev/null >"$home/install.log" 2>&1 || return 1
        touch "$home/installed"
    fi
    # Node looks for packages beside the program.
    cp examples/express/server.mjs "$home/"
    printf '%s\n' "$home"
}

python_home() {
    local lock home
    lock="$(cksum <examples/fastapi/requirements.txt | tr ' ' -)"
    home="$cache/fastapi-test/$lock"
    if [ ! -e "$home/installed" ]; then
        mkdir -p "$home"
        timeout 240 python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$home" \
            -r examples/fastapi/requirements.txt </dev/null >"$home/install.log" 2>&1 || return 1
        touch "$home/installed"
    fi
    printf '%s\n' "$home"
}

# uvicorn says where it listens on standard error.
serve_fastapi() {
    local folder="$1"
    shift
    PYTHONPATH="$folder:examples/fastapi" PYTHONDONTWRITEBYTECODE=1 exec python3 - <<'PYTHON'
import asyncio, socket, uvicorn
listener = socket.create_server(("127.0.0.1", 0))
server = uvicorn.Server(uvicorn.Config("receiver:app", timeout_keep_alive=60, log_level="warning"))
print(f"receiver is up at http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
asyncio.run(server.serve(sockets=[listener]))
PYTHON
}

[ -x "$FPAAS_BIN" ] || { skip 'of every example' 'fpaas is not built: run `make build`'; exit 0; }

if [ -x "$PROGRAMS/receiver" ]; then
    verify axum "$PROGRAMS/receiver" --secret "$WEBHOOK_SECRET" --listen 127.0.0.1:0
else
    skip axum 'it is not built: run `make build`'
fi

if node_is_there; then
    verify lambda node examples/test/lambda.mjs
    if home="$(express_home)"; then PORT=0 verify express node "$home/server.mjs"; else skip express 'npm cannot install it'; fi
    miniflare="$(sed -n 's/^miniflare=//p' scripts/test-worker.sh)"
    export WORKER_TEST_HOME="$cache/worker-test/$miniflare"
    if [ -e "$WORKER_TEST_HOME/installed" ]; then
        verify worker node examples/test/worker.mjs
    else
        skip worker 'scripts/test-worker.sh has not installed miniflare'
    fi
else
    for name in lambda express worker; do skip "$name" 'Node 20 and npm are not installed'; done
fi

if ! have python3; then
    skip fastapi 'Python is not installed'
elif home="$(python_home)"; then
    verify fastapi serve_fastapi "$home"
else
    skip fastapi 'pip cannot install it'
fi
exit "$failed"
