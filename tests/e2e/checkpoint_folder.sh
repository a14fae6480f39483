#!/bin/bash
# tests/e2e/checkpoint_folder.sh - checkpoints in a folder that all workers share:
# checked at deploy, and recovered from.
source "$(dirname "$0")/lib.sh"

KEYS=10
topology() { # LOCATION
    cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: shared
pes:
  numbers: {use: sequence, with: {rate: 20000, keys: $KEYS}}
  tally: {use: count, parallelism: 2, with: {by: key}}
  store: {use: file-sink, with: {path: $WORK/shared, format: tsv}}
streams:
  - {from: numbers, to: tally, by: key}
  - {from: tally, to: store}
checkpoint: {every: 100ms, keep: 2, location: "file://$1"}
YAML
}
recovered() { curl -sS "$URL/metrics" | grep -qE '^oxbow_recoveries_total\{.*\} [1-9]'; }

start_cluster 2
: >"$WORK/file" # no folder can be made below a file, not even by root
topology "$WORK/file/below"
oxbow deploy "$WORK/t.yaml" >"$WORK/bad.out" 2>"$WORK/bad.err"
check "a location that cannot be written is refused" [ $? != 0 ]
check "and said by a worker" grep -q 'worker w[12] cannot keep checkpoints' "$WORK/bad.err"

topology "$WORK/folder"
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
check "lines appear with checkpoints" wait_for 20 lines_above "$WORK/shared" 5000
check "whose files are there" bash -c "ls '$WORK/folder/shared' | grep -q tally"
few_files() { [ "$(ls "$WORK/folder/shared" | cut -d. -f1 | sort -nu | wc -l)" -le "$1" ]; }
epoch_of() { ls "$WORK/folder/shared" | cut -d. -f1 | sort -n | tail -n1; }
first=$(epoch_of)
later() { [ "$(epoch_of)" -gt $((first + 60)) ]; }
check "many checkpoints later" wait_for 60 later
check "files that nobody needs are gone there, too" wait_for 20 few_files 50
check "and nothing with the master" bash -c "! ls '$WORK/data.master/checkpoints/shared'"
for w in w1 w2; do
    kill -9 "${WORKER_PID[$w]}" && wait "${WORKER_PID[$w]}" 2>/dev/null
    start_worker $w
done
check "workers killed: it recovers" wait_for 30 recovered
lines=$(lines_in "$WORK/shared")
check "and goes on" wait_for 30 lines_above "$WORK/shared" $((lines + 5000))
timeout -k 5 60 "$BIN/oxbow" --master "$URL" stop shared >"$WORK/stop.out" 2>"$WORK/stop.err"
check_same "stop" $? 0

# Another cluster, with the same folder and the same name.
(
    WORK=$WORK/other
    mkdir -p "$WORK"
    CONTROL='' HTTP='' PIDS=()
    start_cluster 1
    oxbow deploy "$WORK/../t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err"
    echo $? >"$WORK/code"
    for pid in "${PIDS[@]}"; do kill -9 "$pid" 2>/dev/null; done
)
check_same "another cluster may not keep a topology of that name there" \
    "$(cat "$WORK/other/code")" 1
check "and is told whose it is" grep -q 'another cluster keeps checkpoints' \
    "$WORK/other/deploy.err"

# A worker that has another folder mounted there.
if unshare -m true 2>/dev/null; then
    kill -9 "${WORKER_PID[w2]}" && wait "${WORKER_PID[w2]}" 2>/dev/null
    spawn w2 unshare -m bash -c "mount -t tmpfs none '$WORK/folder' && exec '$BIN/oxbow-worker' \
        --master $CONTROL --name w2 --data '$WORK/data.w2' --listen 127.0.0.1:0"
    wait_for 10 is_ready w2
    sed -i 's/^topology: shared/topology: apart/' "$WORK/t.yaml"
    oxbow deploy "$WORK/t.yaml" >"$WORK/apart.out" 2>"$WORK/apart.err"
    check "workers that do not see the same folder are found at deploy" [ $? != 0 ]
    check "and named" grep -q 'does not see what worker w[12] writes' "$WORK/apart.err"
else
    skip "workers that do not see the same folder" "no mount namespaces here"
fi
check "every count once and in order" "$BIN/tests/e2e/countseq" "$WORK/shared" $KEYS 0
finish
