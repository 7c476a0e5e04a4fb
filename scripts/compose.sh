#!/usr/bin/env bash
# docker-compose.kafka.yml: FPaaS on Kafka, in containers of this machine.
#
#   scripts/compose.sh up    starts it, waits until it is ready, and says what to do next
#   scripts/compose.sh down  ends it and keeps what it holds; with VOLUMES=1 removes that too
#
# FPAAS_IMAGE and FPAAS_KAFKA_IMAGE name the images, FPAAS_PORT_1, FPAAS_PORT_2 and FPAAS_KAFKA_PORT the ports.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# How long everything may take to be ready, in seconds, once the images are there.
patience=180

have docker && docker version >/dev/null 2>&1 || die "no Docker daemon answers; without one: make demo LOG=kafka"
if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
elif have docker-compose; then
    compose=(docker-compose)
else
    die "Docker has no Compose; Debian and Ubuntu call it docker-compose, Docker itself docker-compose-plugin"
fi
compose+=(--project-name "${FPAAS_PROJECT:-fpaas}" --file docker-compose.kafka.yml)

export FPAAS_IMAGE="${FPAAS_IMAGE:-fpaas:local}"
export FPAAS_KAFKA_IMAGE="${FPAAS_KAFKA_IMAGE:-$(bash scripts/kafka.sh official)}"

here() { docker image inspect "$1" >/dev/null 2>&1; }

# Both nodes have the same, and the next start too.
api_key() {
    local file="${XDG_CONFIG_HOME:-${HOME:-}/.config}/fpaas/compose.key"
    if [ ! -s "$file" ]; then
        mkdir -p "$(dirname "$file")"
        (umask 077 && od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$file")
    fi
    cat "$file"
}

images() {
    here "$FPAAS_KAFKA_IMAGE" || timeout 300 docker pull --quiet "$FPAAS_KAFKA_IMAGE" >&2 ||
        die "the image $FPAAS_KAFKA_IMAGE cannot be pulled; \`make kafka-image\` builds one, for FPAAS_KAFKA_IMAGE"
    here "$FPAAS_IMAGE" || bash scripts/image.sh >/dev/null ||
        die "the image $FPAAS_IMAGE cannot be built; \`make image PROGRAM=bin/fpaas\` takes a program that is there"
}

health() { # health CONTAINER
    docker inspect --format '{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}' "$1"
}

wait_for_health() { # of the broker and both nodes
    local begin=$SECONDS container healthy
    while true; do
        healthy=0
        for container in $("${compose[@]}" ps -q 2>/dev/null); do
            [ "$(health "$container")" != 'running healthy' ] || healthy=$((healthy + 1))
        done
        [ "$healthy" -lt 3 ] || return 0
        [ $((SECONDS - begin)) -lt "$patience" ] || return 1
        sleep 0.5
    done
}

failed() {
    "${compose[@]}" ps >&2
    "${compose[@]}" logs --tail 20 >&2
    die "$1; \`make down\` ends what is there"
}

address() { # address SERVICE PORT: where it is published
    "${compose[@]}" port "$1" "$2"
}

up() {
    export FPAAS_API_KEY="${FPAAS_API_KEY:-$(api_key)}"
    images
    say "starting a broker of $FPAAS_KAFKA_IMAGE and two nodes of $FPAAS_IMAGE"
    "${compose[@]}" up --detach >&2 || failed "it cannot be started"
    wait_for_health || failed "it is not ready after $patience seconds"
    local first second kafka
    first="$(address node-1 8080)" second="$(address node-2 8080)" kafka="$(address kafka 9094)"
    cat <<END
FPaaS is up: two nodes that share the work, on one broker of Kafka.

  API       http://$first and http://$second
  Kafka     $kafka, for any client on this machine

For curl and bin/fpaas, in this terminal:

  export FPAAS_SERVER=http://$first FPAAS_API_KEY='$FPAAS_API_KEY'

Try next:

  bin/fpaas tap firehose -n 3
  kcat -C -b $kafka -t fpaas.firehose -X isolation.level=read_committed -o beginning -c 3
  make down                      it keeps what it holds; VOLUMES=1 make down removes that too
END
}

down() {
    local more=()
    [ -z "${VOLUMES:-}" ] || more+=(--volumes)
    # A file that asks for it cannot be read without it.
    FPAAS_API_KEY="${FPAAS_API_KEY:--}" "${compose[@]}" down ${more[@]+"${more[@]}"} >&2
}

case "${1:-}" in
    up) up ;;
    down) down ;;
    *) die "usage: scripts/compose.sh up | down" ;;
esac
