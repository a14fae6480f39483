#!/bin/bash
# tests/e2e/hold_rescale.sh - what a checkpoint has of a held PE's input outlives the skip.
#
# first (two instances) is held, and a checkpoint has the input that it keeps.  The tuple is
# skipped, but no further checkpoint can be stored: a change to three instances, after which that
# checkpoint could not be restored, is refused, and a worker's death brings the held tuple back.
# With a newer checkpoint the same change is made, and the next death restores the new version.
source "$(dirname "$0")/lib.sh"

COUNT=60000
cc -shared -fPIC "$HERE/poison.c" -I"$BIN/include" -o "$WORK/poison.so" ||
    give_up "the plug-in builds"
echo "main a=1" >"$WORK/versions"
topology() { # PARALLELISM
    cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: t
pes:
  numbers: {use: sequence, with: {rate: 4000, keys: 10, count: $COUNT}, place: {labels: {n: "2"}}}
  first: {use: ./poison.so, parallelism: $1, with: {mode: error, at: 4000}, on_error: {then: hold},
          place: {labels: {n: "1"}}}
  a: {use: set, with: {fields: {a: 1}}, place: {labels: {n: "1"}}}
  main: {use: file-sink, with: {path: $WORK/t.main}, place: {labels: {n: "2"}}}
streams:
  - {from: numbers, to: first, by: key}
  - {from: first, to: a}
  - {from: a, to: main}
checkpoint: {every: 300s, keep: 2}
YAML
}
status_json() { curl -sS -m 5 "$URL/v1/topologies/t" | tr -d ' \n'; }
held_at() { status_json | grep -q "\"held\":{[^}]*\"tuple\":{\"seq\":$1,"; }
nothing_held() { ! status_json | grep -q '"held":{'; }
recovered() { status_json | grep -q "\"recoveries\":$1,"; }
verb() { # NAME WANTED ARGS...
    local name=$1 wanted=$2
    shift 2
    timeout -k 5 60 "$BIN/oxbow" --master "$URL" "$@" >"$WORK/verb.out" 2>"$WORK/verb.err"
    check_same "$name" $? "$wanted"
}
lose() { # RECOVERIES so far, with this one
    kill -9 "${WORKER_PID[w1]}" && wait "${WORKER_PID[w1]}" 2>/dev/null
    start_worker w1 --label n=1
    check "w1 is killed and recovered ($1)" wait_for 30 recovered "$1"
}

export OXBOW_FAILPOINTS=store.manifest.before=fail@0 OXBOW_FAILPOINTS_WHEN=$WORK/full
start_master
unset OXBOW_FAILPOINTS OXBOW_FAILPOINTS_WHEN
for w in 1 2; do start_worker w$w --label n=$w; done
topology 2
verb "deploys" 0 deploy "$WORK/t.yaml"
check "a tuple is held" wait_for 40 held_at 4000
verb "a checkpoint has what it keeps" 0 checkpoint t
touch "$WORK/full" # no other one is complete from now on
verb "it is skipped" 0 skip t first
check "it goes on" wait_for 10 nothing_held
topology 3
verb "it cannot be scaled yet" 3 upgrade "$WORK/t.yaml" --yes
check "and is told why" grep -q 'PE first\[1\] has kept input .* no checkpoint is complete since' \
    "$WORK/verb.err"
check "and what to do" grep -q 'wait for a newer checkpoint' "$WORK/verb.err"
lose 1
check "the tuple is held again" wait_for 40 held_at 4000
verb "it is skipped again" 0 skip t first
check "it goes on again" wait_for 10 nothing_held
rm "$WORK/full"
verb "a newer checkpoint" 0 checkpoint t
verb "it is scaled" 0 upgrade "$WORK/t.yaml" --yes
lose 2
check "the topology finishes" wait_for 90 state_is t finished
check "every tuple is there once and in order, but for the skipped one" \
    "$BIN/tests/e2e/tuples" --total $COUNT --keys 10 --except main=4000 \
    --versions "$WORK/versions" main="$WORK/t.main"
finish
