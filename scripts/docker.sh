#!/usr/bin/env bash
# A Docker daemon for a run that needs one and finds none, such as CI's. For root alone.
#
#   scripts/docker.sh up           starts one where none answers, and prints its folder; prints nothing where one does
#   scripts/docker.sh down FOLDER  ends the one that was started, and nothing else
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

answers() { docker version >/dev/null 2>&1; }

up() {
    ! answers || return 0
    [ "$(id -u)" = 0 ] || die "no Docker daemon answers, and only root may start one"
    have dockerd || die "dockerd is not installed (scripts/setup.sh kafka)"
    local folder
    folder="$(mktemp -d "${TMPDIR:-/tmp}/fpaas-docker.XXXXXX")"
    # All it keeps is its own: what another left that was killed, a lock or the number of a process, would stop it. What
    # it publishes is reached from this machine alone.
    nohup setsid dockerd --ip 127.0.0.1 --pidfile "$folder/pid" --data-root "$folder/data" --exec-root "$folder/run" \
        </dev/null >"$folder/log" 2>&1 &
    for _ in $(seq 300); do
        if answers; then
            printf '%s\n' "$folder"
            return
        fi
        sleep 0.1
    done
    tail -n 20 "$folder/log" >&2
    down "$folder"
    die "the Docker daemon did not come up within half a minute"
}

down() {
    local pid
    pid="$(cat "$1/pid" 2>/dev/null)" || return 0
    kill "$pid" 2>/dev/null || return 0
    for _ in $(seq 300); do
        if ! kill -0 "$pid" 2>/dev/null; then
            rm -rf "$1" || say "note: the Docker daemon has left something in $1"
            return
        fi
        sleep 0.1
    done
    die "the Docker daemon $pid does not end"
}

case "${1:-}" in
    up) up ;;
    down) down "${2:?}" ;;
    *) die "usage: scripts/docker.sh up | down FOLDER" ;;
esac
