#!/usr/bin/env bash
# Installs what the build needs and is missing. Says what it does, asks nothing, does nothing when all is there.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

missing=()
need() { # need PACKAGE COMMAND…: the command that shows whether the package is there
    local package="$1"
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

libclang() { # bindgen loads it while RocksDB's bindings are made
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null && return 0
    compgen -G '/usr/lib*/*/libclang*.so*' >/dev/null || compgen -G '/usr/lib*/libclang*.so*' >/dev/null
}

install_with_apt() {
    local apt=(apt-get)
    if [ "$(id -u)" != 0 ]; then
        have sudo || die "please install, as root: apt-get install ${missing[*]}"
        apt=(sudo apt-get)
    fi
    say "installing with apt-get: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    "${apt[@]}" update -qq </dev/null
    "${apt[@]}" install -y -qq --no-install-recommends "${missing[@]}" </dev/null >&2
}

need libclang-dev libclang
need g++ have c++
need make have make
need ca-certificates test -e /etc/ssl/certs

if [ ${#missing[@]} -gt 0 ]; then
    if have apt-get; then
        install_with_apt
    elif [ "$(uname)" = Darwin ]; then
        die "please install: xcode-select --install (macOS is untested)"
    else
        die "please install a C++ compiler, make, and libclang with its headers (here: ${missing[*]} are not found)"
    fi
fi

have cargo || die "please install Rust: https://rustup.rs (the version is pinned in rust-toolchain.toml and fetched by rustup)"
wanted="$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)"
found="$(cargo --version)" || die "cargo does not run; rust-toolchain.toml wants Rust $wanted"
case "$found" in
    *" $wanted "*) ;;
    *) say "note: this project is built with Rust $wanted, here is $found" ;;
esac
