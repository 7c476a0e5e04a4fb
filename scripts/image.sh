#!/usr/bin/env bash
# FPaaS as an image of Docker, named by FPAAS_IMAGE (fpaas:local).
#
#   scripts/image.sh       builds the program in it (Dockerfile); with PROGRAM=bin/fpaas takes that one, stripped
#   scripts/image.sh base  prints the name of a RUN_IMAGE of this machine's own files, where none can be pulled
#
# BUILD_IMAGE and RUN_IMAGE are the images to begin with.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

image="${FPAAS_IMAGE:-fpaas:local}"
certificates=/etc/ssl/certs/ca-certificates.crt

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
have docker && docker version >/dev/null 2>&1 || die "no Docker daemon answers, which builds the image"

# A shell and `install`, for the image's build and its health check, and the C library of whatever was built here.
base_files() {
    command -v bash install
    { ldd "$(command -v bash)"; ldd "$(command -v install)"; ldd "$PROGRAMS/fpaas"; } | grep -oE '/[^ ]+\.so[^ ]*' | sort -u
}

make_base() {
    local root="$work/root" file to base
    base="fpaas/base:$(base_files | xargs sha256sum | sha256sum | cut -c 1-12)"
    if ! docker image inspect "$base" >/dev/null 2>&1; then
        say "building the base $base"
        mkdir -p "$root"/{bin,etc,tmp,usr/bin,var/lib}
        chmod 1777 "$root/tmp"
        base_files | while read -r file; do
            # A library where it is looked for.
            case "$file" in *.so*) to="$file" ;; *) to="/usr/bin/${file##*/}" ;; esac
            mkdir -p "$root$(dirname "$to")"
            cp -L "$file" "$root$to"
        done
        ln -s ../usr/bin/bash "$root/bin/bash"
        ln -s ../usr/bin/bash "$root/bin/sh"
        tar -C "$root" --owner 0 --group 0 -c . |
            docker import --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' - "$base" >&2
    fi
    printf '%s\n' "$base"
}

arguments=(--tag "$image" --file Dockerfile)
for name in BUILD_IMAGE RUN_IMAGE; do
    [ -z "${!name:-}" ] || arguments+=(--build-arg "$name=${!name}")
done

build_in_it() {
    say "building $image with the program in it: a quarter of an hour or more, the first time"
    local commit
    commit="$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)"
    docker build "${arguments[@]}" --build-arg "COMMIT=$commit" . >&2
}

take_what_is_built() {
    [ -x "$PROGRAM" ] || die "PROGRAM=$PROGRAM is no program; \`make build\` leaves bin/fpaas"
    [ -r "$certificates" ] || die "$certificates is missing, which the image gets a copy of"
    say "building $image of $PROGRAM"
    install -D --strip "$PROGRAM" "$work/program/usr/local/bin/fpaas"
    install -D -m 0644 "$certificates" "$work/program$certificates"
    docker build "${arguments[@]}" --target given "$work" >&2
}

case "${1:-}" in
    base) make_base ;;
    '')
        if [ -n "${PROGRAM:-}" ]; then take_what_is_built; else build_in_it; fi
        bytes="$(docker image inspect --format '{{.Size}}' "$image")"
        say "built: $image, $(docker run --rm "$image" --version), $((bytes / 1000000)) MB"
        printf '%s\n' "$image"
        ;;
    *) die "usage: scripts/image.sh [base]" ;;
esac
