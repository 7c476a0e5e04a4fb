#!/usr/bin/env bash
# Tests the Worker of examples/worker under the real workerd. Skips, and says so, where that cannot be had.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

miniflare=4.20251210.0
# Outside the checkout and by version, so that it is fetched once.
home="${XDG_CACHE_HOME:-$HOME/.cache}/fpaas/worker-test/$miniflare"

skip() {
    say "SKIPPED, for want of worker: the Worker: $*"
    case ",${FPAAS_MUST_RUN:-}," in *,worker,*) die "FPAAS_MUST_RUN=$FPAAS_MUST_RUN does not let it be" ;; esac
    exit 0
}

have node || skip "node is not installed"
have npm || skip "npm is not installed"
[ "$(node -p 'Number(process.versions.node.split(".")[0]) >= 20')" = true ] || skip "node $(node --version) is too old"

if [ ! -e "$home/installed" ]; then
    say "installing miniflare $miniflare (with workerd) into $home"
    mkdir -p "$home"
    timeout 240 npm install --prefix "$home" --no-audit --no-fund --no-save --loglevel error "miniflare@$miniflare" \
        </dev/null >"$home/install.log" 2>&1 || skip "npm cannot install miniflare: $(tail -n 1 "$home/install.log")"
    touch "$home/installed"
fi

say "testing the Worker under workerd"
WORKER_TEST_HOME="$home" timeout 120 node --test examples/worker/test/worker.test.mjs
