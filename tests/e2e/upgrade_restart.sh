#!/bin/bash
# tests/e2e/upgrade_restart.sh - a master killed at any moment of an upgrade: one version or the
# other runs afterwards, whole, and the history says which.
source "$(dirname "$0")/lib.sh"

start_cluster 2
topology() { # PES...: numbers -> PEs -> store
    local from=numbers pe
    echo "oxbow: 1" && echo "topology: torn" && echo "pes:"
    echo "  numbers: {use: sequence, with: {rate: 20000}}"
    for pe in "$@"; do echo "  $pe: {use: filter, with: {field: seq, ge: 0}}"; done
    echo "  store: {use: file-sink, with: {path: $WORK/numbers, format: tsv, commit: flush}}"
    echo "streams:"
    for pe in "$@"; do echo "  - {from: $from, to: $pe}" && from=$pe; done
    echo "  - {from: $from, to: store}"
}
topology >"$WORK/t.yaml"
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
check "numbers flow" wait_for 10 lines_above "$WORK/numbers" 2000

for ms in 0 2 5 10 20 40; do
    topology "p$ms" >"$WORK/t.yaml"
    "$BIN/oxbow" --master "$URL" upgrade "$WORK/t.yaml" --yes >"$WORK/up.out" 2>&1 &
    up=$!
    sleep "$(printf '0.%03d' "$ms")"
    kill -9 "$MASTER_PID" && wait "$MASTER_PID" 2>/dev/null
    wait $up 2>/dev/null
    start_master
    check "killed after $ms ms: it runs again" wait_for 15 state_is torn running
    before=$(lines_in "$WORK/numbers")
    check "killed after $ms ms: numbers flow" \
        wait_for 10 lines_above "$WORK/numbers" $((before + 2000))
    both() { [ "$(curl -sS -m 5 "$URL/v1/workers" | grep -o '"state": *"up"' | wc -l)" = 2 ]; }
    check "killed after $ms ms: both workers are back" wait_for 15 both
    again() { oxbow upgrade "$WORK/t.yaml" --yes >"$WORK/again.out" 2>"$WORK/again.err"; }
    check "killed after $ms ms: the upgrade is done, or can be done now" wait_for 10 again
done
timeout -k 5 30 "$BIN/oxbow" --master "$URL" stop torn >"$WORK/stop.out" 2>"$WORK/stop.err"
check_same "stop" $? 0
cut -f1 "$WORK/numbers" >"$WORK/seen"
check "every number once and in order ($(lines_in "$WORK/seen"))" \
    cmp -s "$WORK/seen" <(seq 0 $(($(lines_in "$WORK/seen") - 1)))
finish
