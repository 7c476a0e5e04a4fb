#!/usr/bin/env bash
# Makes what is in this folder anew: an authority that nobody trusts, and a server of it at 127.0.0.1. Their keys are
# public, so they are good for tests alone.
set -euo pipefail
cd "$(dirname "$0")"
key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1.key"; }
signed() { # name, alternative name
    key "$1"
    openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -days 36500 -out "$1.pem" \
        -extfile <(printf 'basicConstraints=CA:FALSE\nsubjectAltName=%s\n' "$2")
    rm "$1.csr"
}
key ca
openssl req -x509 -new -key ca.key -subj "/CN=fpaas test authority" -days 36500 -out ca.pem \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
signed server IP:127.0.0.1,DNS:localhost
signed elsewhere DNS:elsewhere.example
rm -f ca.key ./*.srl
