#!/usr/bin/env bash
# Prints where the Python packages are that tests compare with, as PYTHONPATH takes it; of those that cannot be had,
# nothing. Fetched once.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

have python3 || exit 0
found=()

# The folder that pip fills with the packages behind its flags.
installed() { # FLAGS PACKAGES…
    local flags="$1" home
    shift
    home="${XDG_CACHE_HOME:-${HOME:-}/.cache}/fpaas/python/$(IFS=,; echo "$*")"
    if [ ! -e "$home/installed" ]; then
        mkdir -p "$home"
        say "installing $* into $home"
        # shellcheck disable=SC2086 # Flags are words.
        timeout 180 python3 -m pip install --quiet --disable-pip-version-check $flags --target "$home" "$@" \
            </dev/null >"$home/install.log" 2>&1 || return 0
        touch "$home/installed"
    fi
    found+=("$home")
}

# The parser of Prometheus's client; a client of Kafka, with what it unpacks records with.
installed --no-deps prometheus_client==0.26.0 kafka-python==3.0.12 lz4==4.4.5
# What checks signatures: Standard Webhooks' own library, and ed25519.
installed "" standardwebhooks==1.1.0 cryptography==48.0.0
# Asks the API whatever its document allows, and some of what it does not.
installed "" schemathesis==4.32.5
(IFS=:; printf '%s\n' "${found[*]}")
