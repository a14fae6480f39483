#!/bin/bash
# tests/e2e/recover.sh - workers killed at random moments, again and again: output exactly once.
#
# numbers -> count per key (two instances) -> file with commits.  An independent program checks at
# the end that every count of every key is there once and in order, and while it runs that no line
# a reader has seen is ever taken back.  Then master and workers are killed together.
source "$(dirname "$0")/lib.sh"

KILLS=${KILLS:-6}
KEYS=100
COUNT=300000
SEED=${SEED:-$RANDOM}
RANDOM=$SEED
echo "# SEED=$SEED KILLS=$KILLS"

topology() { # NAME COUNT
    cat >"$WORK/$1.yaml" <<YAML
oxbow: 1
topology: $1
pes:
  numbers: {use: sequence, with: {rate: 30000, keys: $KEYS, count: $2}}
  tally: {use: count, parallelism: 2, with: {by: key}}
  store: {use: file-sink, with: {path: $WORK/$1, format: tsv}}
streams:
  - {from: numbers, to: tally, by: key}
  - {from: tally, to: store}
checkpoint: {every: 200ms, keep: 2}
YAML
}

# seen_is_kept: what was in the file before is still its beginning.
seen_is_kept() {
    local bytes
    bytes=$(stat -c %s "$WORK/seen")
    cmp -s -n "$bytes" "$WORK/seen" "$WORK/chaos" || return 1
    cp "$WORK/chaos" "$WORK/seen"
}
runs_again() { state_is chaos running || state_is chaos finished; }
grown() { [ "$(stat -c %s "$WORK/chaos")" -gt "$1" ] || state_is chaos finished; }

start_cluster 3
topology chaos $COUNT
oxbow deploy "$WORK/chaos.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
: >"$WORK/seen"
kept=yes
for ((k = 0; k < KILLS; k++)); do
    wait_for 30 grown "$(stat -c %s "$WORK/chaos")" || give_up "output flows" "kill $k"
    sleep "0.$((RANDOM % 90 + 10))" # a random moment, not a wait for something
    victim=w$((RANDOM % 3 + 1))
    kill -9 "${WORKER_PID[$victim]}" 2>/dev/null
    wait "${WORKER_PID[$victim]}" 2>/dev/null
    seen_is_kept || kept=no
    start_worker $victim
    wait_for 30 runs_again || give_up "recovers" "after kill $k of $victim"
done
check_same "no line that a reader saw was taken back" $kept yes
check "$KILLS kills: the topology finishes" wait_for 90 state_is chaos finished
check "and every count is there once and in order" \
    "$BIN/tests/e2e/countseq" "$WORK/chaos" $KEYS $COUNT
check "nothing pending is left beside the file" \
    bash -c "! ls -A '$WORK' | grep -q 'chaos.oxbow'"
check "the metric counts the recoveries" \
    bash -c "curl -sS '$URL/metrics' | grep -E '^oxbow_recoveries_total' | grep -qv '} 0'"
check "and the history has their receipts" \
    bash -c "[ \"\$('$BIN/oxbow' --master '$URL' -o json history chaos |
        grep -c '"'"result": "recovered"'"')\" -ge 1 ]"
"$BIN/oxbow" --master "$URL" receipt chaos >"$WORK/receipt.out" 2>"$WORK/receipt.err"
check "which are shown" grep -q 'from the loss until it ran' "$WORK/receipt.out"

topology all 0
sed -i 's/, count: 0//' "$WORK/all.yaml"
oxbow deploy "$WORK/all.yaml" >"$WORK/deploy2.out" 2>"$WORK/deploy2.err"
check "another one runs" wait_for 20 lines_above "$WORK/all" 5000
for pid in "$MASTER_PID" "${WORKER_PID[@]}"; do kill -9 "$pid" 2>/dev/null; done
wait 2>/dev/null
lines=$(lines_in "$WORK/all")
start_master
for w in w1 w2 w3; do start_worker $w; done
check "master and all workers killed: it goes on from its checkpoint" \
    wait_for 60 lines_above "$WORK/all" $((lines + 20000))
timeout -k 5 60 "$BIN/oxbow" --master "$URL" stop all >"$WORK/stop.out" 2>"$WORK/stop.err"
check_same "it is stopped by a drain" $? 0
check "and every count is there once and in order" "$BIN/tests/e2e/countseq" "$WORK/all" $KEYS 0
finish
