#!/usr/bin/env bash
# `make up` and `make down` as a person uses them, on the image of the program that is built: likes of the recording
# come out, both nodes know of it, a client of this machine reads it, and it is there after the next `make up`. Skips,
# and says so, without Docker and its Compose, and where there is no image of Kafka.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

skip() {
    say "SKIPPED, for want of compose: make up and make down: $*"
    must_not_skip compose && die "FPAAS_MUST_RUN=$FPAAS_MUST_RUN does not let it be"
    exit 0
}

have docker && docker version >/dev/null 2>&1 || skip "no Docker daemon answers"
docker compose version >/dev/null 2>&1 || have docker-compose || skip "Docker has no Compose"
kafka="${FPAAS_KAFKA_IMAGE:-$(bash scripts/kafka.sh official)}"
docker image inspect "$kafka" >/dev/null 2>&1 || skip "the image $kafka is not here"
[ -x "$PROGRAMS/fpaas" ] && [ -x "$PROGRAMS/receiver" ] || skip "run \`make build\`"

free_port() { # below those that systems give away
    local port
    while true; do
        port=$((20000 + RANDOM % 12000))
        (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    printf '%s\n' "$port"
}

work="$(mktemp -d)"
project="fpaas-test-$$"
export FPAAS_PROJECT="$project" FPAAS_IMAGE="fpaas:test-$$" FPAAS_KAFKA_IMAGE="$kafka" XDG_CONFIG_HOME="$work"
export FPAAS_PORT_1="$(free_port)" FPAAS_PORT_2="$(free_port)" FPAAS_KAFKA_PORT="$(free_port)"
# The network that Docker makes, where the receiver is; and the recording, which is in the test's image.
export FPAAS_ALLOW_WEBHOOK_CIDR=10.0.0.0/8,172.16.0.0/12,192.168.0.0/16
export FPAAS_UPSTREAM=file:/frames.bin.zst KAFKA_HEAP_OPTS='-Xms128m -Xmx512m'

clean_up() {
    docker rm --force --volumes "$project-receiver" >/dev/null 2>&1 || true
    VOLUMES=1 bash scripts/compose.sh down >/dev/null 2>&1 || true
    docker image rm --force "$FPAAS_IMAGE" >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean_up EXIT

up() { # answers the line that it gives for curl
    bash scripts/compose.sh up >"$work/up" 2>"$work/up.log" || { cat "$work/up.log" >&2; die "make up has failed"; }
    grep -E '^ *export FPAAS_SERVER=' "$work/up"
}

down() { bash scripts/compose.sh down 2>/dev/null; }

other() { FPAAS_SERVER="http://127.0.0.1:$FPAAS_PORT_2" "$PROGRAMS/fpaas" "$@"; }

results() { "$PROGRAMS/fpaas" tap like-results 2>/dev/null | wc -l; }

say "testing make up and make down on $kafka"
base="${RUN_IMAGE:-$(bash scripts/image.sh base 2>/dev/null)}"
PROGRAM="$PROGRAMS/fpaas" RUN_IMAGE="$base" bash scripts/image.sh >"$work/image.log" 2>&1 ||
    { cat "$work/image.log" >&2; die "make image has failed"; }
cp "$PROGRAMS/receiver" testdata/pds20/frames.bin.zst "$work"
printf 'FROM %s\nCOPY receiver frames.bin.zst /\n' "$FPAAS_IMAGE" >"$work/Dockerfile"
docker build --quiet --tag "$FPAAS_IMAGE" "$work" >/dev/null 2>&1 || die "the test's image cannot be built"

eval "$(up)"
secret=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
docker run --detach --name "$project-receiver" --network "${project}_default" --entrypoint /receiver "$FPAAS_IMAGE" \
    --listen 0.0.0.0:8787 --secret "$secret" >/dev/null
sed -e "s|url: http://127.0.0.1:8787/|url: http://$project-receiver:8787/\n      secret: $secret|" \
    -e 's|^  id: likes|&\n  startFrom: earliest|' examples/likes.yaml >"$work/likes.yaml"
"$PROGRAMS/fpaas" apply -f "$work/likes.yaml"
other get likes >/dev/null || die "the second node does not know what was applied through the first"
for _ in $(seq 120); do
    [ "$(results)" -lt 719 ] || break
    sleep 0.5
done
[ "$(results)" = 719 ] || { other status likes >&2; die "$(results) results, and not 719"; }

if have kcat; then
    read="$(kcat -C -b "127.0.0.1:$FPAAS_KAFKA_PORT" -t fpaas.local.t.like-results \
        -X isolation.level=read_committed -o beginning -e -q -f '%k\n' | wc -l)"
    [ "$read" = 719 ] || die "kcat reads $read results, and not 719"
fi
user="$(docker inspect --format '{{.Config.User}}' "$FPAAS_IMAGE")"
[ "$user" = 10001:10001 ] || die "it runs as $user"

# It is in their network, which goes too.
docker rm --force --volumes "$project-receiver" >/dev/null
down || die "make down has failed"
eval "$(up)"
[ "$(results)" = 719 ] || die "$(results) results, and not 719, after down and up"
other get likes >/dev/null || die "the subscription is gone after down and up"

VOLUMES=1 down || die "make down has failed"
left="$(docker ps --all --quiet --filter "name=$project"; docker volume ls --quiet --filter "name=$project"
    docker network ls --quiet --filter "name=$project")"
[ -z "$left" ] || die "make down has left something behind: $left"
say "make up and make down: 719 likes, through two nodes and a restart"
