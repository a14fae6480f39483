#!/bin/bash
# tests/e2e/ended_recovered.sh - a PE that has ended and one that has not are scaled, and their
# worker dies before a checkpoint knows of it.  Restored from the one before, each instance takes
# its keys from several: final results are still there once (R3), and every count that goes on, too.
source "$(dirname "$0")/lib.sh"

COUNT=20000 KEYS=500
cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: ends
pes:
  short: {use: sequence, with: {count: $COUNT, keys: $KEYS}}
  tally: {use: count, with: {by: key, emit: final}, parallelism: 4}
  finals: {use: file-sink, with: {path: $WORK/finals, format: tsv}}
  long: {use: sequence, with: {rate: 2000, keys: $KEYS}}
  counts: {use: count, with: {by: key}, parallelism: 4}
  store: {use: file-sink, with: {path: $WORK/store, format: tsv}}
streams:
  - {from: short, to: tally, by: key}
  - {from: tally, to: finals, by: key}
  - {from: long, to: counts, by: key}
  - {from: counts, to: store}
checkpoint: {every: 1h}
YAML
run() { timeout -k 5 60 "$BIN/oxbow" --master "$URL" "$@" >"$WORK/out" 2>"$WORK/run.err"; }
finals_once() { # WHAT: one result for each key, and together all that was counted
    check_same "$1" "$(awk '{k[$1]++; n += $2} END {for (x in k) if (k[x] == 1) once++
        print NR, once, n}' "$WORK/finals")" "$KEYS $KEYS $COUNT"
}
pe_state() { # PE: states of its instances, each once
    curl -sS -m 5 "$URL/v1/topologies/ends" | tr -d ' \n' | sed -E "s/.*\"name\":\"$1\",\"use\"//" |
        sed -E 's/"name":"[a-z]+","use".*//' | grep -oE '"state":"[a-z]+"' | sort -u | tr -d '\n'
}
has_ended() { [ "$(pe_state "$1")" = '"state":"ended"' ]; }
recoveries() { run -o json history ends && grep -c '"result": "recovered"' "$WORK/out"; }
recovered() { # N: so often, and it runs
    [ "$(recoveries)" -ge "$1" ] && state_is ends running
}
start_dying() { # NAME: it dies at the next checkpoint that it takes while $WORK/armed.NAME is there
    OXBOW_FAILPOINTS=checkpoint.taken=kill OXBOW_FAILPOINTS_WHEN=$WORK/armed.$1 start_worker "$1"
}
lose() { # WORKER N: it dies behind the scaling to N, and before the checkpoint that follows
    local before
    before=$(recoveries)
    : >"$WORK/armed.$1"
    run scale ends tally=$2 counts=$2 # it may hear of the loss or be quicker
    wait "${WORKER_PID[$1]}" 2>/dev/null
    rm "$WORK/armed.$1"
    start_dying "$1"
    wait_for 30 recovered $((before + 1)) ||
        give_up "scaled to $2, and lost before the next checkpoint" "it is not recovered"
    ok "scaled to $2, and lost before the next checkpoint"
    check "scaled to $2: it has ended" wait_for 20 has_ended finals
    run checkpoint ends
    check_same "scaled to $2: a checkpoint" $? 0
    finals_once "scaled to $2: still one final result for every key"
}

start_master
start_dying w1
start_dying w2
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
check "what counts ends" wait_for 60 has_ended finals
run checkpoint ends
check_same "a checkpoint with its end in it" $? 0
finals_once "every key has one final result, and none is missing"

lose w2 3
lose w1 1 # where all of it is now
run stop ends
check_same "stop" $? 0
finals_once "and at its end"
check "every count that went on is there once and in order" \
    "$BIN/tests/e2e/countseq" "$WORK/store" $KEYS 0
check "and there are some ($(lines_in "$WORK/store"))" [ "$(lines_in "$WORK/store")" -gt $KEYS ]
finish
