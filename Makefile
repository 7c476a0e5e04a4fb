# What a person runs, and exactly what CI runs. `make help` lists it.
#
# One cargo profile (`dev`, opt-level 3) and one feature set for all of it, so that RocksDB compiles once.
# Build output goes to `target`, or to CARGO_TARGET_DIR where that is set.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export CARGO_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))

# How long the long forms run.
FPAAS_CRASH_ROUNDS ?= 200
FPAAS_FAULT_ROUNDS ?= 100
FPAAS_FUZZ_FRAMES ?= 5000000
FPAAS_SEEDS ?= 10000

.PHONY: help setup build demo test test-crash test-nodes test-simulation test-mutants test-worker test-examples fuzz check tidy test-compose advisories bench kafka-image image up down

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

setup: ## Install what the build needs and is missing (Debian, Ubuntu); elsewhere say what to install
	@bash scripts/setup.sh

build: setup ## Build everything; leaves the program at bin/fpaas
	@bash scripts/build.sh

demo: build ## Likes of a real PDS to batches to webhook calls to a topic, through a kill -9; RELAY=wss://… does it live, LOG=kafka on Kafka
	@exec bash scripts/demo.sh

test: build ## Every test (at most 15 minutes after the build)
	@bash scripts/test.sh

test-crash: build ## The crash test in its long form: FPAAS_CRASH_ROUNDS=200 kills
	@FPAAS_CRASH_ROUNDS=$(FPAAS_CRASH_ROUNDS) bash scripts/test.sh --test crash -- --nocapture --test-threads 1

test-nodes: build ## Nodes on Kafka: FPAAS_FAULT_ROUNDS=100 faults of every kind, brokers lost, how long a takeover takes
	@FPAAS_FAULT_ROUNDS=$(FPAAS_FAULT_ROUNDS) FPAAS_FAULTS=all bash scripts/test.sh --test crash -- \
		--nocapture --include-ignored --test-threads 1 takeover leader faults
	@bash scripts/test.sh --test program -- --nocapture --include-ignored remade

test-simulation: build ## The dispatcher against endpoints, crashes and a log that fail, in virtual time: FPAAS_SEEDS=10000 of them
	@FPAAS_SEEDS=$(FPAAS_SEEDS) bash scripts/test.sh --test simulation -- --nocapture

test-mutants: build ## Realistic bugs of the dispatcher, one after the other: the suite must find each (testkit/mutants)
	@bash scripts/mutants.sh

test-worker: ## The receiver as a Cloudflare Worker, under the real workerd (needs Node)
	@bash scripts/test-worker.sh

test-examples: build ## Each receiver of examples/ against fpaas verify-receiver (needs Node, Python; skips what cannot be had)
	@bash scripts/test-examples.sh

test-compose: build ## make up and make down, with containers and ports of the test's own (needs Docker with Compose)
	@bash scripts/test-compose.sh

kafka-image: ## A local image of Kafka for FPAAS_KAFKA_IMAGE, where the official one cannot be pulled; prints its name
	@bash scripts/kafka.sh build-image

image: ## FPaaS as an image of Docker, fpaas:local; PROGRAM=bin/fpaas takes what `make build` has left
	@bash scripts/image.sh

up: ## FPaaS on Kafka in containers: a broker and two nodes (docker-compose.kafka.yml); waits until they are ready
	@bash scripts/compose.sh up

down: ## The end of `make up`; what it holds is kept, except with VOLUMES=1
	@bash scripts/compose.sh down

fuzz: build ## Hostile frames: cargo-fuzz where it is, else FPAAS_FUZZ_FRAMES=5000000 mutations from a fresh seed
	@FPAAS_FUZZ_FRAMES=$(FPAAS_FUZZ_FRAMES) bash scripts/fuzz.sh

check: setup tidy ## Format, lints, tidiness, licences and sources of dependencies, docs
	cargo fmt --all --check
	cargo clippy --workspace --features fpaas-log/test-util --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
	@bash scripts/deny.sh

tidy: setup ## File and function length, dependency edges, links
	@bash scripts/test.sh --test tidy

bench: build ## Ratios against a peer or a limit, taken in one run
	@bash scripts/bench.sh
