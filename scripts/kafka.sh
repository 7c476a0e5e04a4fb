#!/usr/bin/env bash
# Kafka for tests, on a machine that has Java 17 or newer and Maven, or Docker:
#
#   scripts/kafka.sh jars         prints the folder of the broker's own jars, which Maven fetches once
#   scripts/kafka.sh build-image  prints the name of a local image with a broker, which is built once; takes a JDK
#   scripts/kafka.sh image        prints the name of an image that Docker has or can pull; else as build-image
#   scripts/kafka.sh official     prints the name of the official image
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

recipe=testkit/kafka
version="$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$recipe/pom.xml")"
official="apache/kafka:$version"
cache="${XDG_CACHE_HOME:-${HOME:-}/.cache}/fpaas/kafka/$version"

jars() {
    if [ ! -d "$cache/libs" ]; then
        have mvn || die "Maven is not installed, which fetches the broker's jars"
        local new
        mkdir -p "$cache"
        new="$(mktemp -d "$cache/new.XXXXXX")"
        say "fetching the jars of Kafka $version (54 MB) into $cache"
        timeout 400 mvn -q -B -f "$recipe/pom.xml" dependency:copy-dependencies "-DoutputDirectory=$new" \
            </dev/null >"$new.log" 2>&1 || die "Maven cannot fetch them: $new.log"
        (cd "$new" && sha256sum --quiet --check "$ROOT/$recipe/jars.sha256" >&2) || die "these are not the jars wanted"
        # Whoever else fetches them at the same time has the same.
        chmod 755 "$new"
        mv -T "$new" "$cache/libs" 2>/dev/null || rm -rf "$new"
        rm -f "$new.log"
    fi
    printf '%s\n' "$cache/libs"
}

# The classes behind the tools that the official image has in /opt/kafka/bin.
tools() {
    cat <<'END'
kafka-topics org.apache.kafka.tools.TopicCommand
kafka-consumer-groups org.apache.kafka.tools.consumer.group.ConsumerGroupCommand
kafka-console-consumer org.apache.kafka.tools.consumer.ConsoleConsumer
kafka-console-producer org.apache.kafka.tools.ConsoleProducer
kafka-transactions org.apache.kafka.tools.TransactionsCommand
kafka-configs kafka.admin.ConfigCommand
kafka-acls kafka.admin.AclCommand
kafka-storage kafka.tools.StorageTool
END
}

java_runtime() { # java_runtime FOLDER: what the broker needs of it
    local modules=java.base,java.desktop,java.instrument,java.logging,java.management,java.naming,java.rmi
    modules+=,java.security.jgss,java.security.sasl,java.sql,java.xml,jdk.crypto.ec,jdk.management,jdk.unsupported
    jlink --add-modules "$modules,jdk.zipfs" --strip-debug --no-header-files --no-man-pages --compress=2 \
        --output "$1" >&2
}

shared_libraries() { # shared_libraries ROOT: copies what the programs in it load
    local root="$1" library
    {
        ldd "$root"/bin/* "$root/opt/java/bin/java"
        find "$root/opt/java/lib" -name '*.so' -exec ldd {} +
    } 2>/dev/null | grep -oE '/[^ ]+\.so[^ ]*' | grep -v "^$root" | sort -u | while read -r library; do
        mkdir -p "$root$(dirname "$library")"
        cp -L "$library" "$root$library"
    done
}

image_root() { # image_root FOLDER: everything that is in the image
    local root="$1" name class libs
    libs="$(jars)"
    mkdir -p "$root"/{bin,tmp,etc/kafka/docker,mnt/shared/config,opt/kafka/{bin,config},var/lib/kafka/data}
    java_runtime "$root/opt/java"
    cp -r "$libs" "$root/opt/kafka/libs"
    cp -L "$(command -v bash)" "$root/bin/bash"
    ln -s bash "$root/bin/sh"
    shared_libraries "$root"
    install -m 755 "$recipe/run.sh" "$root/opt/kafka/run.sh"
    tools | while read -r name class; do
        printf '#!/bin/bash\nexec /opt/java/bin/java -Xmx256m -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "/opt/kafka/libs/*" %s "$@"\n' "$class" \
            >"$root/opt/kafka/bin/$name.sh"
        chmod 755 "$root/opt/kafka/bin/$name.sh"
    done
    chmod -R a+rX "$root"
    # The broker runs as a user who may write here alone.
    chmod 1777 "$root/tmp" "$root/opt/kafka/config" "$root/var/lib/kafka/data"
}

build_image() {
    local tag
    tag="fpaas/kafka-test:$version-$(cat "$recipe"/* scripts/kafka.sh | sha256sum | cut -c 1-12)"
    if ! docker image inspect "$tag" >/dev/null 2>&1; then
        have jlink || die "a JDK is not installed, from which the image's Java is made"
        say "building the image $tag"
        # Not local: it is removed when all of this has ended.
        work="$(mktemp -d)"
        trap 'rm -rf "$work"' EXIT
        image_root "$work/root"
        tar -C "$work/root" --owner 0 --group 0 -c . | docker import --change 'ENTRYPOINT ["/opt/kafka/run.sh"]' \
            --change 'USER 1000:1000' --change 'ENV PATH=/opt/kafka/bin:/opt/java/bin:/bin' \
            --change 'EXPOSE 9092' - "$tag" >&2
    fi
    printf '%s\n' "$tag"
}

image() {
    if docker image inspect "$official" >/dev/null 2>&1 || timeout 300 docker pull --quiet "$official" >&2; then
        printf '%s\n' "$official"
    else
        build_image
    fi
}

case "${1:-}" in
    jars) jars ;;
    build-image) build_image ;;
    image) image ;;
    official) printf '%s\n' "$official" ;;
    *) die "usage: scripts/kafka.sh jars | build-image | image | official" ;;
esac
