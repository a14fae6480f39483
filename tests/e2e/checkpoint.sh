#!/bin/bash
# tests/e2e/checkpoint.sh - checkpoints: lines appear with them, by verb, beside upgrades; damaged
# ones are not used.
source "$(dirname "$0")/lib.sh"

KEYS=10
topology() { # EVERY [EXTRA PE, between tally and store]
    {
        echo "oxbow: 1" && echo "topology: saved" && echo "pes:"
        echo "  numbers: {use: sequence, with: {rate: 20000, keys: $KEYS}}"
        echo "  tally: {use: count, parallelism: 2, with: {by: key}}"
        [ -z "${2:-}" ] || echo "  $2: {use: filter, with: {field: count, ge: 0}}"
        echo "  store: {use: file-sink, with: {path: $WORK/saved, format: tsv}}"
        echo "streams:"
        echo "  - {from: numbers, to: tally, by: key}"
        if [ -z "${2:-}" ]; then
            echo "  - {from: tally, to: store}"
        else
            echo "  - {from: tally, to: $2}" && echo "  - {from: $2, to: store}"
        fi
        echo "checkpoint: {every: $1, keep: 2}"
    } >"$WORK/t.yaml"
}
metric() { curl -sS -m 5 "$URL/metrics" | sed -nE "s/^$1\{topology=\"saved\"\} (.*)/\1/p"; }
completed() { [ "$(metric oxbow_checkpoints_total)" -ge "$1" ]; }
files() { ls "$WORK/data.master/checkpoints/saved" | cut -d. -f1 | sort -nu | wc -l; }

start_cluster 2
topology 1h
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
check "numbers flow" wait_for 20 tuples_above saved store in 5000
check_same "without a checkpoint no line shows" "$(lines_in "$WORK/saved")" 0
oxbow checkpoint saved >"$WORK/verb.out" 2>"$WORK/verb.err"
check_same "oxbow checkpoint" $? 0
check "says what it took" grep -q '^checkpoint [0-9]* of saved: [0-9]* bytes in ' "$WORK/verb.out"
check "its lines show" wait_for 10 lines_above "$WORK/saved" 4000
oxbow checkpoint nothing >"$WORK/none.out" 2>"$WORK/none.err"
check_same "of an unknown topology it is refused" $? 3
for n in 1 2 3; do oxbow checkpoint saved >"$WORK/verb.out" 2>&1; done
check "keep: 2: files that no kept checkpoint stands on are gone" test "$(files)" -le 4

# Upgrades while checkpoints are taken: one of both gives way, nothing is lost.
topology 100ms
oxbow upgrade "$WORK/t.yaml" --yes >"$WORK/every.out" 2>"$WORK/every.err"
check_same "how often is changed while it runs" $? 0
check "and heeded" wait_for 20 completed 8
for n in 1 2 3 4; do
    topology 100ms "extra$n"
    timeout -k 5 60 "$BIN/oxbow" --master "$URL" upgrade "$WORK/t.yaml" --yes \
        >"$WORK/up$n.out" 2>"$WORK/up$n.err"
    check_same "upgrade $n beside checkpoints" $? 0
done
before=$(metric oxbow_checkpoints_total)
check "checkpoints go on after upgrades" wait_for 20 completed $((before + 3))

kill -9 "${WORKER_PID[w1]}" && wait "${WORKER_PID[w1]}" 2>/dev/null
start_worker w1
check "a worker killed between upgrades: it runs again" \
    wait_for 30 tuples_above saved store in 1000
timeout -k 5 60 "$BIN/oxbow" --master "$URL" stop saved >"$WORK/stop.out" 2>"$WORK/stop.err"
check_same "stop drains and commits" $? 0
check "every count once and in order" "$BIN/tests/e2e/countseq" "$WORK/saved" $KEYS 0

# Damaged files are never used.
topology 1h
rm -f "$WORK/saved"
oxbow deploy "$WORK/t.yaml" >"$WORK/again.out" 2>"$WORK/again.err"
check_same "deployed anew" $? 0
wait_for 20 tuples_above saved store in 1000
oxbow checkpoint saved >"$WORK/verb.out" 2>&1
damage() { # FILE...
    local f
    for f in "$@"; do
        printf '\377' | dd of="$f" bs=1 seek=60 conv=notrunc status=none
    done
}
restart_workers() {
    local w
    for w in w1 w2; do
        kill -9 "${WORKER_PID[$w]}" && wait "${WORKER_PID[$w]}" 2>/dev/null
        start_worker $w
    done
}
damage "$WORK/data.master/checkpoints/saved"/*.tally.0
restart_workers
check "a flipped byte in every checkpoint: a clear stop" wait_for 30 state_is saved failed
check "with the reason" \
    bash -c "curl -sS '$URL/v1/topologies/saved' |
        grep -q 'no checkpoint of topology saved is whole'"

# Only the newest is damaged, and nothing that it committed shows outside: the one before is used.
cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: older
pes:
  numbers: {use: sequence, with: {rate: 20000, keys: $KEYS}}
  tally: {use: count, with: {by: key}}
  end: {use: null-sink}
streams:
  - {from: numbers, to: tally, by: key}
  - {from: tally, to: end}
checkpoint: {every: 1h, keep: 2}
YAML
says_damaged() { # COMMAND...: it names the checkpoint and the reason
    oxbow "$@" | grep -q "checkpoint $bad is damaged, .*: .*tally.0"
}
oxbow deploy "$WORK/t.yaml" >"$WORK/older.out" 2>"$WORK/older.err"
check_same "another one is deployed" $? 0
for n in 1 2; do oxbow checkpoint older >"$WORK/verb.out" 2>&1; done
bad=$(sed -nE 's/^checkpoint ([0-9]+) of.*/\1/p' "$WORK/verb.out")
damage "$WORK/data.master/checkpoints/older/$bad.tally.0"
restart_workers
check "the newest one is damaged: status says which, and why" \
    wait_for 30 says_damaged status older
check "... the one before is gone back to" wait_for 30 state_is older running
check "... history tells it" says_damaged history older
check "... and the receipt" says_damaged receipt older
oxbow checkpoint older >"$WORK/verb.out" 2>&1
restart_workers
not_damaged() { state_is older running && ! says_damaged status older; }
check "... after the next recovery the status is quiet again" wait_for 30 not_damaged
finish
