#!/bin/sh
# bench/upgrade/cost.sh - what being able to change costs while nothing changes, in instructions.
#
# A worker runs under callgrind, which counts every instruction executed between the begin and the
# end of a chain's turn (chain_run), PEs and all.  By debug information each belongs to a source
# line, also where the compiler has inlined it, and so to the function that was written there.
# cost.awk adds up those that are there for changes.  Counts are exact and the same on a busy
# machine; they are not time.
#
# usage: cost.sh [BUILD] [TUPLES]          needs valgrind
set -eu
build=$(cd "${1:-build}" && pwd)
tuples=${2:-1000000}
here=$(cd "$(dirname "$0")" && pwd)
command -v valgrind >/dev/null || { echo "valgrind is not installed; nothing is counted"; exit 0; }
dir=$(mktemp -d /tmp/oxbow-cost-XXXXXX)
pids=
cleanup() {
    for pid in $pids; do
        kill "$pid" 2>/dev/null || true
    done
    rm -rf "$dir"
}
trap cleanup EXIT INT TERM

# The five PEs of bench's row `chain`, and what is between them.
topology() { # NAME FUSION
    cat <<YAML
oxbow: 1
topology: $1
fusion: $2
pes:
  rows: {use: '$build/bench/bench_pes.so:bench-rows', with: {count: $tuples, report: $dir/from}}
  map: {use: '$build/bench/bench_pes.so:bench-map'}
  filter: {use: '$build/bench/bench_pes.so:bench-filter'}
  sum: {use: '$build/bench/bench_pes.so:bench-sum'}
  sink: {use: '$build/bench/bench_pes.so:bench-sink', with: {fields: [k, sum], report: $dir/to}}
streams:
  - {from: rows, to: map}
  - {from: map, to: filter}
  - {from: filter, to: sum, by: k}
  - {from: sum, to: sink}
YAML
}

said() { # FILE KEY: what follows KEY in the line `ready ...`
    sed -n "s/^ready .*$2\([^ ]*\).*/\1/p" "$1"
}

wait_for() { # COMMAND...: 120 s at most
    n=0
    until "$@" >/dev/null 2>&1; do
        n=$((n + 1))
        [ "$n" -le 1200 ] || { echo "error: waited too long for: $*" >&2; exit 1; }
        sleep 0.1
    done
}

is_ready() { [ -n "$(said "$1" "$2")" ]; }
has_ended() { "$build/oxbow" --master "$url" -o json status "$1" | grep -q '"state": *"ended"'; }

count() { # NAME FUSION
    topology "$1" "$2" > "$dir/$1.yaml"
    mkdir "$dir/$1"
    "$build/oxbow-master" --data "$dir/$1/master" --listen 127.0.0.1:0 --http 127.0.0.1:0 \
        > "$dir/$1/master.log" 2>&1 &
    master=$!
    pids="$pids $master"
    wait_for is_ready "$dir/$1/master.log" http=
    url=http://$(said "$dir/$1/master.log" http=)
    valgrind --tool=callgrind --toggle-collect=chain_run --compress-strings=no \
        --compress-pos=no --callgrind-out-file="$dir/$1/counts" "$build/oxbow-worker" \
        --master "$(said "$dir/$1/master.log" control=)" --name cost --data "$dir/$1/worker" \
        --threads 1 > "$dir/$1/worker.log" 2>&1 &
    worker=$!
    pids="$pids $worker"
    wait_for is_ready "$dir/$1/worker.log" name=
    "$build/oxbow" --master "$url" deploy "$dir/$1.yaml" > "$dir/$1/out" 2>&1 || {
        cat "$dir/$1/out" >&2
        exit 1
    }
    wait_for has_ended "$1"
    kill "$worker"
    wait "$worker" || true
    kill "$master"
    wait "$master" || true
    printf '%s\n' "$1"
    (cd "$here/../.." && awk -v tuples="$tuples" -f "$here/cost.awk" "$dir/$1/counts")
}

count fused auto
count hops off
