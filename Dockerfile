# FPaaS as an image; `make image` builds it, docker-compose.kafka.yml runs it.
#
#   docker build --tag fpaas .     builds the program in it, which takes RocksDB and OpenSSL: a quarter of an hour or more
#   make image PROGRAM=bin/fpaas   takes the program that `make build` has left
#
# The program loads the C library of RUN_IMAGE, which must not be older than the one it was built with.

ARG BUILD_IMAGE=rust:1.95.0-bookworm
ARG RUN_IMAGE=debian:bookworm-slim

# Everything but the program. It runs as a user without a name or rights, who owns the data folder and nothing else.
FROM ${RUN_IMAGE} AS run
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/fpaas
ENV FPAAS_DATA=/var/lib/fpaas FPAAS_LISTEN=0.0.0.0:8080
VOLUME /var/lib/fpaas
WORKDIR /var/lib/fpaas
EXPOSE 8080
USER 10001:10001
# It finishes what is under way, within ten seconds.
STOPSIGNAL SIGTERM
# /readyz, asked without another program.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD ["/bin/bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/${FPAAS_LISTEN##*:} && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r -t 4 _ status _ <&3 && [ \"$status\" = 200 ]"]
ENTRYPOINT ["/usr/local/bin/fpaas"]
CMD ["serve"]

# With a program that is there: scripts/image.sh lays it and the certificates into the folder `program`.
FROM run AS given
COPY program/ /

FROM ${BUILD_IMAGE} AS build
ARG COMMIT=unknown
# The toolchain of the image, not one that has rustfmt and clippy besides.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /source
COPY . .
RUN bash scripts/setup.sh
RUN FPAAS_COMMIT=${COMMIT} cargo build --locked --package fpaas --bin fpaas
RUN install -D --strip target/debug/fpaas /program/usr/local/bin/fpaas \
    && install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /program/etc/ssl/certs/ca-certificates.crt

FROM run
COPY --from=build /program/ /
