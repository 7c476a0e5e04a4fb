#!/usr/bin/env bash
# Makes what is in this folder anew: authorities that nobody trusts, and a server and clients of them. Their keys are
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

# What endpoints know their callers by: another authority, and clients of it with keys of every form.
key clients-ca
openssl req -x509 -new -key clients-ca.key -subj "/CN=fpaas test authority of clients" -days 36500 -out clients-ca.pem \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
client() { # name, further options of its certificate
    openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA clients-ca.pem -CAkey clients-ca.key "${@:2}" -out "$1.pem" \
        -extfile <(printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n')
    rm "$1.csr"
}
key client-acme
client client-acme -days 36500
cat clients-ca.pem >> client-acme.pem
openssl ecparam -name secp384r1 -genkey -out client-acme-next.key
client client-acme-next -days 36500
openssl genrsa -traditional -out client-umbrella.key 2048
client client-umbrella -days 36500
key client-expired
openssl req -new -key client-expired.key -subj /CN=client-expired -out client-expired.csr
touch index.txt
settings='[a]\ndatabase=index.txt\nnew_certs_dir=.\nrand_serial=yes\ndefault_md=sha256\npolicy=p\n[p]\nCN=supplied\n'
openssl ca -batch -config <(printf "$settings") -name a -in client-expired.csr -cert clients-ca.pem -keyfile clients-ca.key -notext -out client-expired.pem \
    -startdate 19980101000000Z -enddate 19990101000000Z -extfile <(printf 'basicConstraints=CA:FALSE\n')
openssl pkcs8 -topk8 -in client-acme.key -passout pass:secret -out client-encrypted.key
rm -f clients-ca.key ./*.srl ./*.csr index.txt* [0-9A-F]*.pem
