#!/bin/bash
# tests/e2e/wide.sh - a wide shuffle (WIDE by WIDE instances; 64, or 256 by hand: 65,536 channels)
# is deployed, runs, and is scaled on both sides, on one worker and on two; every key counts on.
source "$(dirname "$0")/lib.sh"
WIDE=${WIDE:-64} KEYS=5000

topology() { # LEFT RIGHT
    cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: wide$workers
fusion: off
pes:
  numbers: {use: sequence, with: {rate: 20000, keys: $KEYS}}
  left: {use: filter, with: {field: seq, ge: 0}, parallelism: $1}
  right: {use: count, with: {by: key}, parallelism: $2}
  store: {use: file-sink, with: {path: $WORK/counts, format: tsv, commit: flush}}
streams:
  - {from: numbers, to: left, by: key}
  - {from: left, to: right, by: key}
  - {from: right, to: store}
YAML
}
flows() {
    check "$workers workers: counts come on" \
        wait_for 60 lines_above "$WORK/counts" $(($(lines_in "$WORK/counts") + 5000))
}
upgrade() { # WHAT LEFT RIGHT
    topology "$2" "$3"
    timeout -k 5 120 "$BIN/oxbow" --master "$URL" -o json upgrade "$WORK/t.yaml" --yes \
        >"$WORK/receipt" 2>"$WORK/upgrade.err"
    check_same "$workers workers: $1" $? 0
    check "$workers workers: nothing lost, doubled, out of order" \
        [ "$(grep -cE '"(lost|duplicated|reordered)": 0,' "$WORK/receipt")" = 3 ]
    flows
}

for workers in 1 2; do
    start_master
    for ((w = 1; w <= workers; w++)); do start_worker "w$w" --slots 2000; done
    topology "$WIDE" "$WIDE"
    timeout -k 5 120 "$BIN/oxbow" --master "$URL" deploy "$WORK/t.yaml" >"$WORK/deploy.out" \
        2>"$WORK/deploy.err" || give_up "$workers workers: deploys" "$(tail -n1 "$WORK/deploy.err")"
    flows
    upgrade "who counts is scaled down" "$WIDE" $((WIDE - 5))
    upgrade "both sides are scaled" $((WIDE - 3)) "$WIDE"
    timeout -k 5 60 "$BIN/oxbow" --master "$URL" stop "wide$workers" >"$WORK/stop.out" 2>&1
    check_same "$workers workers: stop" $? 0
    check "$workers workers: every key counted on, 1, 2, 3 ... ($(lines_in "$WORK/counts"))" \
        "$BIN/tests/e2e/countseq" "$WORK/counts" $KEYS 0
    for pid in "${WORKER_PID[@]}" "$MASTER_PID"; do kill -TERM "$pid" 2>/dev/null; done
    wait 2>/dev/null
    CONTROL='' HTTP=''
    rm -rf "$WORK"/data.* "$WORK/counts"
done
finish
