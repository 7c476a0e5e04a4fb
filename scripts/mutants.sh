#!/usr/bin/env bash
# Mutants: realistic bugs of the dispatcher, one patch each (testkit/mutants). The suite must find every one of them.
# With arguments, only the patches whose names hold one of them.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# One folder for all of them: what a patch does not touch is compiled once.
tree="$CARGO_TARGET_DIR/mutants"
mkdir -p "$tree"
tar --exclude ./target --exclude ./.git --exclude ./bin --exclude "$CARGO_TARGET_DIR" -cf - . | tar -xf - -C "$tree"
# What an earlier run has left there may be newer than what is here.
find "$tree/dispatcher/src" -name '*.rs' -exec touch {} +
export FPAAS_INVARIANTS=panic RUST_BACKTRACE=0 FPAAS_SEEDS="${FPAAS_SEEDS:-2000}"

chosen=()
for patch in "$PWD"/testkit/mutants/*.patch; do
    name="$(basename "$patch" .patch)"
    if [ $# -eq 0 ]; then
        chosen+=("$patch")
    else
        for part in "$@"; do [[ "$name" != *"$part"* ]] || chosen+=("$patch"); done
    fi
done
[ ${#chosen[@]} -gt 0 ] || die "no mutant has such a name"

tests=(-p fpaas-dispatcher -p fpaas-testkit --features fpaas-log/test-util)
survivors=()
for patch in "${chosen[@]}"; do
    name="$(basename "$patch" .patch)"
    (cd "$tree" && patch -p1 --quiet <"$patch") || die "$name does not apply: make it again"
    begun=$SECONDS
    (cd "$tree" && cargo test --locked "${tests[@]}" -p fpaas-dispatcher --lib --test simulation --test it --no-run) \
        >"$tree.log" 2>&1 || { tail -30 "$tree.log"; die "$name does not compile: make it again"; }
    killer=''
    for part in "--lib" "--test simulation" "--test it"; do
        # shellcheck disable=SC2086
        if ! (cd "$tree" && cargo test --locked "${tests[@]}" -p fpaas-dispatcher $part) >"$tree.log" 2>&1; then
            killer="$(grep -m 1 -E '^test .* FAILED' "$tree.log" | awk '{ print $2 }')"
            break
        fi
    done
    # As it was, and newer than what was compiled.
    sed -n 's|^+++ b/||p' "$patch" | while read -r file; do cp "$file" "$tree/$file"; done
    if [ -n "$killer" ]; then
        say "killed    $name ($((SECONDS - begun)) s): $killer"
    else
        say "SURVIVED  $name"
        survivors+=("$name")
    fi
done
say "$((${#chosen[@]} - ${#survivors[@]})) of ${#chosen[@]} mutants killed"
[ ${#survivors[@]} -eq 0 ] || die "survived: ${survivors[*]}"
