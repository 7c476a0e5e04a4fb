#!/usr/bin/env bash
# Builds the programs and links bin/fpaas. On a terminal cargo shows its own progress; elsewhere a line now and then
# says how many packages are done.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# How often a line is worth printing, in seconds.
every=20

rocksdb_built() { compgen -G "$PROGRAMS/build/librocksdb-sys-*/out/librocksdb.a" >/dev/null; }

packages() { # how many there are to compile for this machine
    cargo tree "${flags[@]}" --edges normal,build --prefix none --no-dedupe --format '{p}' 2>/dev/null |
        awk '{ print $1, $2 }' | sort -u | wc -l
}

watch_artifacts() { # reads cargo's messages; a line every 20 s, also while nothing comes
    local total="$1" line='' part='' id done=0 next=$((SECONDS + every))
    declare -A seen=()
    while true; do
        if IFS= read -r -t "$every" part; then
            line+="$part"
            if [[ "$line" == '{"reason":"compiler-artifact","package_id":"'* ]]; then
                id="${line#*\"package_id\":\"}"
                id="${id%%\"*}"
                [ -n "${seen[$id]:-}" ] || { seen[$id]=1; done=$((done + 1)); }
            fi
            line=''
        elif [ $? -gt 128 ]; then
            line+="$part" # a time-out, perhaps in the middle of a line
        else
            break
        fi
        if [ $SECONDS -ge $next ]; then
            say "  compiled $done of $total packages (${SECONDS} s)"
            next=$((SECONDS + every))
        fi
    done
}

# Also what only tests and benches are built from, for this kind of machine: from here on no network is needed.
fetch() {
    local host
    host="$(rustc -vV | sed -n 's/^host: //p')"
    cargo fetch --quiet --locked --target "$host" </dev/null ||
        say "note: not all packages could be fetched; what is built needs those that it names"
}

fetch
rocksdb_built || say "The first build compiles RocksDB, which takes about ten minutes on two cores. This happens once."

if [ -t 2 ]; then
    cargo build "${flags[@]}" --bins
else
    total="$(packages)" || total='?'
    say "building $total packages"
    cargo build "${flags[@]}" --bins --message-format=json-render-diagnostics --quiet | watch_artifacts "$total"
fi

mkdir -p bin
for program in fpaas receiver; do
    # Only where it leads elsewhere: whoever runs it meanwhile must find it.
    [ "$(readlink "bin/$program")" = "$PROGRAMS/$program" ] || ln -sfn "$PROGRAMS/$program" "bin/$program"
done
say "built: bin/fpaas ($(bin/fpaas --version))"
