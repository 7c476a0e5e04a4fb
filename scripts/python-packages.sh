#!/usr/bin/env bash
# Prints the folder of the Python packages that tests compare with; nothing where they cannot be had. Fetched once.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

package=prometheus_client==0.26.0
home="${XDG_CACHE_HOME:-${HOME:-}/.cache}/fpaas/python/$package"

if [ ! -e "$home/installed" ]; then
    have python3 || exit 0
    mkdir -p "$home"
    say "installing $package into $home"
    timeout 60 python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$home" "$package" \
        </dev/null >"$home/install.log" 2>&1 || exit 0
    touch "$home/installed"
fi
printf '%s\n' "$home"
