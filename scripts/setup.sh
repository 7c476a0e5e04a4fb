#!/usr/bin/env bash
# Installs what the build needs and is missing. Says what it does, does nothing when all is there, and then needs no
# network. With `test`, also what only the tests need; with `kafka`, as with `test` where CI runs it, also what brings a
# real Kafka and reads it: Docker with Compose, Java with Maven, kcat. A person's machine gets those only when asked:
# tests take what is there.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

missing=()
need() { # need PACKAGE COMMAND…: the command that shows whether the package is there
    local package="$1"
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

libclang() { # bindgen loads it while RocksDB's bindings are made; libclang-cpp.so is another library
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    local folder name
    for folder in '/usr/lib/llvm-*/lib' '/usr/lib*/*' '/usr/lib*' '/usr/local/lib'; do
        for name in 'libclang.so*' 'libclang-[0-9]*.so*'; do
            compgen -G "$folder/$name" >/dev/null && return 0
        done
    done
    return 1
}

openssl_perl() { # modules that OpenSSL's build loads, and that a minimal perl lacks
    perl -MFindBin -MIPC::Cmd -MFile::Compare -MFile::Copy -MPod::Usage -e 1
}

docker_to_be_had() { # by a daemon that runs, or by one that can be started
    have docker && { have dockerd || docker version; }
}

compose() { docker compose version || have docker-compose; }

jdk() { # 17 or newer, with what makes a smaller one of it
    local version
    have jlink && version="$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p')" && [ "${version:-0}" -ge 17 ]
}

need_kafka() {
    need docker.io docker_to_be_had
    # In some releases the client is a package of its own.
    if ! have docker && have apt-cache && apt-cache show docker-cli >/dev/null 2>&1; then
        missing+=(docker-cli)
    fi
    # A daemon that runs has its own.
    docker version >/dev/null 2>&1 || need iptables have iptables
    need docker-compose compose
    need kcat have kcat
    need default-jdk-headless jdk
    need maven have mvn
}

install_with_apt() {
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get)
    local by_hand="please install, as root: apt-get install ${missing[*]}"
    if [ "$(id -u)" != 0 ]; then
        have sudo || die "$by_hand"
        apt=(sudo "${apt[@]}")
    fi
    say "installing with ${apt[*]}: ${missing[*]}"
    "${apt[@]}" update -qq </dev/null >&2 || say "note: the lists of packages could not be brought up to date"
    "${apt[@]}" install -y -qq --no-install-recommends "${missing[@]}" </dev/null >&2 || die "$by_hand"
}

need libclang-dev libclang
need g++ have c++
# OpenSSL and librdkafka are built from source.
need gcc have cc
need make have make
need perl openssl_perl
need ca-certificates test -e /etc/ssl/certs
case "${1:-}" in test | kafka) need curl have curl ;; esac
if [ "${1:-}" = kafka ] || [ "${1:-}${CI:+ in CI}" = 'test in CI' ]; then
    need_kafka
fi

if [ ${#missing[@]} -gt 0 ]; then
    if have apt-get; then
        install_with_apt
    elif [ "$(uname)" = Darwin ]; then
        die "please install: xcode-select --install (macOS is untested)"
    else
        die "please install what Debian calls ${missing[*]}"
    fi
fi

have cargo || die "please install Rust: https://rustup.rs (it fetches the version of rust-toolchain.toml by itself)"
wanted="$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)"
found="$(cargo --version </dev/null)" || die "cargo does not run; rust-toolchain.toml wants Rust $wanted"
found="$(awk '{ print $2 }' <<<"$found")"
if [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
    die "Rust $wanted is needed, here is $found: https://rustup.rs installs one that fetches it by itself"
elif [ "$found" != "$wanted" ]; then
    say "note: this project is built with Rust $wanted, here is $found"
fi
