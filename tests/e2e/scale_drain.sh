#!/bin/bash
# tests/e2e/scale_drain.sh - scale and drain a running topology; every number arrives once.
source "$(dirname "$0")/lib.sh"

start_cluster 2
cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: wide
pes:
  numbers: {use: sequence, with: {rate: 20000}}
  work: # its comment stays
    use: filter
    with: {field: seq, ge: 0}
    parallelism: 2
  store: {use: file-sink, with: {path: $WORK/numbers, format: tsv, commit: flush}}
streams:
  - {from: numbers, to: work}
  - {from: work, to: store}
YAML
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
check "numbers flow" wait_for 10 lines_above "$WORK/numbers" 2000
run() { timeout -k 5 60 "$BIN/oxbow" --master "$URL" "$@" >"$WORK/out" 2>"$WORK/run.err"; }
slots_of() {
    curl -sS -m 5 "$URL/v1/workers" | tr '{' '\n' |
        sed -nE "s/.*\"name\":\"$1\".*\"slots_used\":([0-9]+).*/\1/p"
}

run -o json scale wide work=4
check_same "scale up" $? 0
check "its receipt is done" grep -q '"result": "done"' "$WORK/out"
run scale wide work=4
check "the same again is no change" grep -q "^no change" "$WORK/out"
run scale wide none=4
check_same "an unknown PE is refused" $? 3
run scale wide work
check_same "no number is a usage error" $? 2

free=w1 && [ "$(slots_of w1)" -lt "$(slots_of w2)" ] || free=w2
run -o json drain $free # the one that holds neither source nor sink
check_same "drain" $? 0
check_same "prints a list of receipts" "$(tr -d ' \n' <"$WORK/out" | cut -c1-2)" '[{'
check_same "nothing is there any more" "$(slots_of $free)" 0
run scale wide work=6
check_same "scale while drained" $? 0
check_same "nothing comes there" "$(slots_of $free)" 0
run -o json drain $free
check_same "draining again: an empty list" "$(tr -d ' \n' <"$WORK/out")" '[]'
run undrain $free
check_same "undrain" $? 0
run scale wide work=8
check "instances come again" [ "$(slots_of $free)" -gt 0 ]
run drain nobody
check_same "an unknown worker is refused" $? 3

oxbow stop wide >"$WORK/stop.out" 2>"$WORK/stop.err"
check_same "stop" $? 0
cut -f1 "$WORK/numbers" | sort -n >"$WORK/seen"
check "every number once ($(lines_in "$WORK/seen"))" \
    cmp -s "$WORK/seen" <(seq 0 $(($(lines_in "$WORK/seen") - 1)))
finish
