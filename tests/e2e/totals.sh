#!/bin/bash
# tests/e2e/totals.sh - what the PEs say they have taken in and given out is all there was, also of
# instances that are gone: scaled up and down, drained away, exchanged, and at the end.
source "$(dirname "$0")/lib.sh"

COUNT=${COUNT:-60000}
topology() { # TALLIES WIDTH
    cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: totals
${CHECKPOINT:-}
pes:
  numbers: {use: sequence, with: {count: $COUNT, rate: 30000, keys: 100}}
  pass: {use: set, with: {fields: {v: ${2:-1}}}, parallelism: $1}
  tally: {use: count, with: {by: key}, parallelism: $1}
  store: {use: file-sink, with: {path: $WORK/out, format: tsv}, place: {labels: {name: w1}}}
streams:
  - {from: numbers, to: pass, by: key}
  - {from: pass, to: tally, by: key}
  - {from: tally, to: store, by: key}
YAML
}
run() { timeout -k 5 60 "$BIN/oxbow" --master "$URL" "$@" >"$WORK/run.out" 2>"$WORK/run.err"; }
totals() { # PE: in and out
    echo "$(pe_tuples totals "$1" in) $(pe_tuples totals "$1" out)"
}
# watch_totals: a line for each time that a total is less than before, until the topology is over
watch_totals() {
    local pe side now
    declare -A most=()
    until [ -e "$WORK/over" ]; do
        for pe in numbers pass tally store; do
            for side in in out; do
                now=$(pe_tuples totals $pe $side)
                [ "$now" -ge "${most[$pe.$side]:-0}" ] || echo "$pe $side ${most[$pe.$side]} $now"
                most[$pe.$side]=$now
            done
        done
    done >"$WORK/shrunk"
}
is_over() { [ "$(topology_state totals)" = finished ]; }

# walk NAME: all ways in which instances go, while numbers flow
walk() {
    rm -f "$WORK/over"
    topology 2
    run deploy "$WORK/t.yaml" || give_up "$1: deploys" "$(tail -n1 "$WORK/run.err")"
    check "$1: numbers flow" wait_for 20 tuples_above totals store in 100
    watch_totals &
    local watcher=$! n
    PIDS+=("$watcher")
    for n in 4 1 3; do
        run scale totals pass=$n tally=$n
        check_same "$1: over $n" $? 0
    done
    run drain w2
    check_same "$1: w2 is drained" $? 0
    run undrain w2
    topology 3 2
    run upgrade "$WORK/t.yaml" --yes
    check_same "$1: other parameters" $? 0
    run scale totals pass=1 tally=1
    check_same "$1: over 1" $? 0
    check "$1: it ends" wait_for 60 is_over
    : >"$WORK/over"
    wait "$watcher"
    check_same "$1: no total ever shrank" "$(cat "$WORK/shrunk")" ""
    check_same "$1: numbers" "$(totals numbers)" "0 $COUNT"
    check_same "$1: pass" "$(totals pass)" "$COUNT $COUNT"
    check_same "$1: tally" "$(totals tally)" "$COUNT $COUNT"
    check_same "$1: store" "$(totals store)" "$COUNT 0"
    check_same "$1: and the file has them" "$(lines_in "$WORK/out")" "$COUNT"
}

start_master
for w in w1 w2; do start_worker $w --label "name=$w"; done
walk plain
CHECKPOINT='checkpoint: {every: 200ms}'
walk saved
finish
