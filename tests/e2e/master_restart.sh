#!/bin/bash
# tests/e2e/master_restart.sh - a master that is killed and started again finds its cluster again.
#
# While it is away tuples go on flowing; afterwards it knows the topology, its state and its
# workers, takes orders, and nothing was lost or doubled.
source "$(dirname "$0")/lib.sh"

start_cluster 2
cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: orphan
pes:
  numbers: {use: sequence, with: {rate: 20000, keys: 16}}
  same: {use: filter, parallelism: 2, with: {field: seq, ge: 0}}
  store: {use: file-sink, with: {path: $WORK/numbers, format: tsv, commit: flush}}
streams:
  - {from: numbers, to: same, by: key}
  - {from: same, to: store}
YAML
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
check "tuples flow" wait_for 10 lines_above "$WORK/numbers" 1000

for round in 1 2; do
    kill -9 "$MASTER_PID" && wait "$MASTER_PID" 2>/dev/null
    before=$(lines_in "$WORK/numbers")
    check "round $round: tuples flow without a master" \
        wait_for 10 lines_above "$WORK/numbers" $((before + 20000))
    start_master # the same ports and data
    check "round $round: the topology is running again" wait_for 15 state_is orphan running
    up() { [ "$(curl -sS -m 5 "$URL/v1/workers" | grep -o '"state": *"up"' | wc -l)" = 2 ]; }
    check "round $round: both workers are back" wait_for 15 up
    before=$(lines_in "$WORK/numbers")
    check "round $round: tuples flow on" \
        wait_for 10 lines_above "$WORK/numbers" $((before + 1000))
    counted() { tuples_above orphan numbers out "$before"; }
    check "round $round: its counters are known" wait_for 10 counted
done

timeout -k 5 30 "$BIN/oxbow" --master "$URL" stop orphan >"$WORK/stop.out" 2>"$WORK/stop.err"
check_same "stop after two restarts" $? 0
cut -f1 "$WORK/numbers" | sort -n >"$WORK/seen"
count=$(wc -l <"$WORK/seen")
check "no number is missing or doubled ($count)" \
    cmp -s "$WORK/seen" <(seq 0 $((count - 1)))
finish
