#!/bin/bash
# tests/e2e/rollback_checkpoint.sh - `rollback --to-checkpoint` undoes what a bad version did to the
# state, as far as committed output allows.
#
# The bad version counts every number twice.  While no checkpoint of it is complete (the store is
# made to refuse them) it is undone without a trace: in the end every count is there once and in
# order.  Afterwards it is refused, or, with --keep-output, goes on behind what was committed.
source "$(dirname "$0")/lib.sh"

KEYS=10
topology() { # NAME COUNT [bad]
    cat >"$WORK/$1.yaml" <<YAML
oxbow: 1
topology: $1
pes:
  numbers: {use: sequence, with: {rate: 20000, keys: $KEYS, count: $2}}
  tally: {use: count, parallelism: 2, with: {by: key}}
  store: {use: file-sink, with: {path: $WORK/$1, format: tsv}}
${3:+  again: {use: filter, with: {field: seq, ge: 0\}\}
  side: {use: file-sink, with: {path: $WORK/$1.side, format: tsv\}\}}
streams:
  - {from: numbers, to: tally, by: key}
  - {from: tally, to: store}
${3:+  - {from: numbers, to: again\}
  - {from: again, to: tally, by: key, name: twice\}
  - {from: again, to: side, name: aside\}}
checkpoint: {every: 1h, keep: 2}
YAML
}
verb() { # NAME ARGUMENTS...: of oxbow; output and exit code are kept
    local name=$1
    shift
    timeout -k 5 60 "$BIN/oxbow" --master "$URL" "$@" >"$WORK/$name.out" 2>"$WORK/$name.err"
}
version_of() {
    curl -sS -m 5 "$URL/v1/topologies/$1" | sed -nE 's/^[^[]*"version": ?([0-9]+).*/\1/p'
}
is_gone() { ! kill -0 "$1" 2>/dev/null || grep -q '^State:.*Z' "/proc/$1/status"; }

# The master is told by a file when no checkpoint is to become complete, and when to die.
export OXBOW_FAILPOINTS_WHEN=$WORK/now
OXBOW_FAILPOINTS=store.manifest.before=fail@0 start_master
for w in w1 w2; do start_worker $w; done

topology quick 300000
verb deploy deploy "$WORK/quick.yaml"
check "numbers flow" wait_for 30 tuples_above quick store in 10000
verb first checkpoint quick
check_same "a checkpoint of the good version" $? 0
touch "$WORK/now"
topology quick 300000 bad
verb bad upgrade "$WORK/quick.yaml" --yes
check_same "the bad version runs" $? 0
check "and counts twice" wait_for 30 tuples_above quick again in 10000
verb back rollback quick --to-checkpoint
check_same "nothing of it was committed: it is undone" $? 0
check "the receipt says to where" grep -q '^quick: version 2 -> 3, done: as it was at checkpoint' \
    "$WORK/back.out"
rm "$WORK/now"
check_same "which is a version of its own" "$(version_of quick)" 3
verb history -o json history quick
tr -d ' \n' <"$WORK/history.out" >"$WORK/history"
check "in the history with its receipt" \
    grep -q '"version":3,"from":2,.*"result":"done","checkpoint":' "$WORK/history"
check "it finishes" wait_for 90 state_is quick finished
check "and every count is there once and in order" \
    "$BIN/tests/e2e/countseq" "$WORK/quick" $KEYS 300000
check_same "what the bad version alone wrote never shows" "$(lines_in "$WORK/quick.side")" 0

topology slow 100000000
verb deploy2 deploy "$WORK/slow.yaml"
check "another one flows" wait_for 30 tuples_above slow store in 10000
verb none rollback slow --to-checkpoint
check_same "there is no version before the first: refused" $? 3
verb second checkpoint slow
cp "$WORK/slow" "$WORK/slow.at"
topology slow 100000000 bad
verb bad2 upgrade "$WORK/slow.yaml" --yes
check "its output is committed" wait_for 30 lines_above "$WORK/slow.side" 0
verb refused rollback slow --to-checkpoint
check_same "so it cannot be undone: refused" $? 3
check "with the reason and the way out" grep -q 'committed with checkpoint.*--keep-output' \
    "$WORK/refused.err"
check_same "and nothing has changed" "$(version_of slow) $(topology_state slow)" "2 running"
verb keep rollback slow --to-checkpoint --keep-output
check_same "with --keep-output it is done" $? 0
cp "$WORK/slow" "$WORK/slow.kept"
cp "$WORK/slow.side" "$WORK/slow.side.kept"
for w in w1 w2; do # before its first checkpoint: once more from the one it went back to
    kill -9 "${WORKER_PID[$w]}" 2>/dev/null && wait "${WORKER_PID[$w]}" 2>/dev/null
    start_worker $w
done
check "and goes on after a recovery" wait_for 60 tuples_above slow store in 5000
verb stop stop slow
check_same "stops" $? 0
check "what was committed stays" cmp -s -n "$(stat -c %s "$WORK/slow.kept")" "$WORK/slow.kept" \
    "$WORK/slow"
check "also where the bad version alone wrote" cmp -s "$WORK/slow.side.kept" "$WORK/slow.side"
tail -c +$(($(stat -c %s "$WORK/slow.kept") + 1)) "$WORK/slow" >"$WORK/slow.since"
check "behind it every count follows the checkpoint's" bash -c "
    awk 'NR == FNR {n[\$1] = \$2; next} \$2 != n[\$1] + 1 {exit 1} {n[\$1] = \$2}' \
        '$WORK/slow.at' '$WORK/slow.since' && [ -s '$WORK/slow.since' ]"

# The master dies in the middle.
topology torn 100000000
verb deploy3 deploy "$WORK/torn.yaml"
wait_for 30 tuples_above torn store in 10000
verb third checkpoint torn
topology torn 100000000 bad
touch "$WORK/now" # no checkpoint of the bad version is complete
verb bad3 upgrade "$WORK/torn.yaml" --yes
kill -9 "$MASTER_PID" && wait "$MASTER_PID" 2>/dev/null
OXBOW_FAILPOINTS=store.rollback.after=kill,store.manifest.before=fail@0 start_master
check "a master that will die at the decision runs" wait_for 30 state_is torn running
verb torn rollback torn --to-checkpoint
check "it dies" wait_for 10 is_gone "$MASTER_PID"
wait "$MASTER_PID" 2>/dev/null
rm "$WORK/now"
start_master
check "the next one goes through with it" wait_for 60 state_is torn running
check_same "to the version that was decided" "$(version_of torn)" 3
verb receipt receipt torn 3
check "with its receipt" grep -q 'version 2 -> 3, done: as it was at checkpoint' "$WORK/receipt.out"
verb stop3 stop torn
check_same "and it stops" $? 0
check "every count once and in order" bash -c \
    "awk '\$2 != n[\$1] + 1 {exit 1} {n[\$1] = \$2}' '$WORK/torn' && [ -s '$WORK/torn' ]"
finish
