#!/usr/bin/env bash
# Prints the folder of the Python packages that tests compare with; nothing where they cannot be had. Fetched once.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The parser of Prometheus's client; a client of Kafka, with what it unpacks records with.
packages=(prometheus_client==0.26.0 kafka-python==3.0.12 lz4==4.4.5)
home="${XDG_CACHE_HOME:-${HOME:-}/.cache}/fpaas/python/$(IFS=,; echo "${packages[*]}")"

if [ ! -e "$home/installed" ]; then
    have python3 || exit 0
    mkdir -p "$home"
    say "installing ${packages[*]} into $home"
    timeout 60 python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$home" "${packages[@]}" \
        </dev/null >"$home/install.log" 2>&1 || exit 0
    touch "$home/installed"
fi
printf '%s\n' "$home"
