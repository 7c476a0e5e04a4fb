#!/bin/bash
# The entry point of the local image. Configured as the official image is, by the same class of Kafka's: variables named
# KAFKA_…, or a file /mnt/shared/config/server.properties.
set -e
java=(/opt/java/bin/java -Dlog4j2.statusLoggerLevel=OFF -Dorg.slf4j.simpleLogger.defaultLogLevel=warn)
java+=(-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info -cp '/opt/kafka/libs/*')
read -ra flags <<<"${KAFKA_JVM_PERFORMANCE_OPTS:-}"
java+=("${flags[@]}")
export CLUSTER_ID="${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}"

# Formats the data folder too, and fails where that was done before, by an earlier start of this container.
said="$("${java[@]}" kafka.docker.KafkaDockerWrapper setup \
    --default-configs-dir /etc/kafka/docker --mounted-configs-dir /mnt/shared/config \
    --final-configs-dir /opt/kafka/config 2>&1)" ||
    [[ "$said" == *"already formatted"* ]] || { echo "$said" >&2; exit 1; }

read -ra heap <<<"${KAFKA_HEAP_OPTS:--Xmx1G -Xms1G}"
read -ra more <<<"${KAFKA_OPTS:-}"
exec "${java[@]}" "${heap[@]}" "${more[@]}" kafka.Kafka /opt/kafka/config/server.properties
