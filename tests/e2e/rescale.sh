#!/bin/bash
# tests/e2e/rescale.sh - a PE with keyed state is scaled and moved while numbers flow through it.
#
# numbers -> counts (by key, emit each) -> store: at the end the counts of every key in the file are
# 1, 2, 3 ... in order, and each key has as many as the numbers sent say.  On 1, 2 and 3 workers.
source "$(dirname "$0")/lib.sh"

KEYS=300000

# topology PARALLELISM [SETTINGS...]: settings of the PE counts
topology() {
    local n=$1 more=${2:-}
    cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: $name
pes:
  numbers: {use: sequence, with: {rate: ${RATE:-50000}, keys: $KEYS}${NUMBERS:+, $NUMBERS}}
  counts: {use: count, parallelism: $n, with: {by: [key]}${more:+, $more}}
  store: {use: file-sink, with: {path: $WORK/$name, format: tsv, commit: flush}${STORE:+, $STORE}}
streams:
  - {from: numbers, to: counts, by: key}
  - {from: counts, to: store}
YAML
}

upgrade() { # WHAT: from $WORK/t.yaml; the receipt must say that nothing was lost
    timeout -k 5 60 "$BIN/oxbow" --master "$URL" -o json upgrade "$WORK/t.yaml" --yes \
        >"$WORK/receipt" 2>"$WORK/upgrade.err"
    local code=$?
    if [ $code = 0 ] && grep -q '"result": "done"' "$WORK/receipt" &&
        [ "$(grep -cE '^  "(lost|duplicated|reordered)": 0,' "$WORK/receipt")" = 3 ]; then
        ok "$workers workers: $1"
    else
        not_ok "$workers workers: $1" "exit $code: $(tail -n1 "$WORK/upgrade.err")"
    fi
    [ -z "${SHOW:-}" ] || grep -E 'max|state_|_ms' "$WORK/receipt" | tr -d '\n' | sed 's/^/# /'
    [ -z "${SHOW:-}" ] || echo
}
moved() { # state entries were moved
    check "$workers workers: $1" grep -qE '"state_entries_moved": [1-9]' "$WORK/receipt"
}
flows() {
    check "$workers workers: numbers flow on" \
        wait_for 10 lines_above "$WORK/$name" $(($(lines_in "$WORK/$name") + 20000))
}

for workers in ${WORKERS:-1 2 3}; do
    start_master
    for ((i = 1; i <= workers; i++)); do start_worker "w$i" --label "n=$i"; done
    name=scale$workers
    topology 1
    oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
        give_up "$workers workers: deploys" "$(tail -n1 "$WORK/deploy.err")"
    check "$workers workers: every key is there" \
        wait_for 60 lines_above "$WORK/$name" $((KEYS + 20000))
    for n in 4 2 3; do
        topology $n
        upgrade "scaled to $n"
        moved "scaling to $n moved state"
        flows
    done
    if [ "$workers" -gt 1 ]; then
        for w in 2 1; do
            topology 3 "place: {labels: {n: \"$w\"}}"
            upgrade "moved to worker $w"
            moved "moving to worker $w moved state"
            flows
        done
        NUMBERS='place: {labels: {n: "2"}}' topology 3
        upgrade "the source is moved, and the rest spread"
        flows
        NUMBERS='place: {labels: {n: "1"}}' STORE='place: {labels: {n: "2"}}' topology 2
        upgrade "the source and the sink are moved"
        flows
    fi
    topology 1
    upgrade "scaled to 1"
    moved "scaling to 1 moved state"
    flows
    timeout -k 5 30 "$BIN/oxbow" --master "$URL" stop $name >"$WORK/stop.out" 2>"$WORK/stop.err"
    check_same "$workers workers: stop" $? 0
    awk -F'\t' -v keys=$KEYS '
        { if ($2 != ++n[$1]) bad++ }
        END { for (k = 0; k < keys; k++) {
                  want = int((NR - 1 - k) / keys) + 1
                  if (n[k] != want) wrong++ }
              printf "bad=%d wrong=%d\n", bad, wrong }' "$WORK/$name" >"$WORK/checked"
    check_same "$workers workers: every count once and in order ($(lines_in "$WORK/$name"))" \
        "$(cat "$WORK/checked")" "bad=0 wrong=0"
    for pid in "${WORKER_PID[@]}" "$MASTER_PID"; do kill -TERM "$pid" 2>/dev/null; done
    wait 2>/dev/null
    CONTROL='' HTTP=''
    WORKER_PID=()
    rm -rf "$WORK"/data.*
done
finish
