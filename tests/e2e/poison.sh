#!/bin/bash
# tests/e2e/poison.sh - a tuple that a PE cannot process: held, skipped, repaired; a PE that hangs.
#
# numbers -> first (fails on some) -> main, and numbers -> side beside it.  While `first` is held
# the side branch flows and checkpoints are taken; the worker is killed, and it is held again; one
# tuple is skipped, the next is repaired by an upgrade.  An independent program checks that every
# tuple is in both files once and in order, but for the skipped one, which is a dead letter.
source "$(dirname "$0")/lib.sh"

COUNT=60000
cc -shared -fPIC "$HERE/poison.c" -I"$BIN/include" -o "$WORK/poison.so" ||
    give_up "the plug-in builds"

# topology NAME COUNT WITH ON_ERROR
topology() {
    cat >"$WORK/$1.yaml" <<YAML
oxbow: 1
topology: $1
pes:
  numbers: {use: sequence, with: {rate: 10000, keys: 10, count: $2}}
  first: {use: ./poison.so, with: $3, on_error: $4}
  a: {use: set, with: {fields: {a: 1}}}
  b: {use: set, with: {fields: {b: 1}}}
  main: {use: file-sink, with: {path: $WORK/$1.main}}
  side: {use: file-sink, with: {path: $WORK/$1.side}}
  letters: {use: file-sink, with: {path: $WORK/$1.letters}}
streams:
  - {from: numbers, to: first}
  - {from: numbers, to: b}
  - {from: first, to: a}
  - {from: first.dead-letter, to: letters}
  - {from: a, to: main}
  - {from: b, to: side}
checkpoint: {every: 300ms, keep: 2}
YAML
}
echo "main a=1; side b=1" >"$WORK/versions"
instance_is() { # NAME STATE
    oxbow -o json status "$1" | tr -d ' \n' | grep -q "\"state\":\"$2\""
}
held_at() { # NAME SEQ
    oxbow -o json status "$1" | tr -d ' \n' | grep -q "\"held\":{[^}]*\"tuple\":{\"seq\":$2,"
}
recovered() { oxbow -o json status "$1" | tr -d ' \n' | grep -q '"recoveries":1,'; }
# verb NAME WANTED ARGS...: the verb's exit code.
verb() {
    local name=$1 wanted=$2
    shift 2
    timeout -k 5 60 "$BIN/oxbow" --master "$URL" "$@" >"$WORK/verb.out" 2>"$WORK/verb.err"
    check_same "$name" $? "$wanted"
}

start_cluster 1
topology held $COUNT '{mode: error, at: 5000, every: 20000}' '{retries: 2, then: hold}'
oxbow deploy "$WORK/held.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
check "the tuple is held and shown" wait_for 40 held_at held 5000
check "with its error" bash -c "'$BIN/oxbow' --master '$URL' status held | grep -q 'cannot do 5000'"
lines=$(lines_in "$WORK/held.side")
verb "a checkpoint is taken all the same" 0 checkpoint held --timeout 30
check "the other branch flows" wait_for 40 lines_above "$WORK/held.side" $((lines + 2000))
check "the metric says so" \
    bash -c "curl -sS '$URL/metrics' | grep -E '^oxbow_pe_held.*pe=\"first\".*} 1$' >/dev/null"
verb "a change that covers it is refused" 3 scale held first=2
check "and names it" grep -q 'first\[0\] is held' "$WORK/verb.err"
verb "nothing is held elsewhere" 3 skip held main

kill -9 "${WORKER_PID[w1]}"
wait "${WORKER_PID[w1]}" 2>/dev/null
start_worker w1
check "the worker is killed and its instances are recovered" wait_for 60 recovered held
check "it is held again" wait_for 60 held_at held 5000
verb "it is skipped" 0 skip held first
check "which says what it was" grep -q '"seq":5000' "$WORK/verb.out"
check "the next one is held" wait_for 60 held_at held 25000

sed -i 's/mode: error/mode: none/' "$WORK/held.yaml"
verb "new code takes its place" 0 upgrade "$WORK/held.yaml" --yes
check "the topology finishes" wait_for 90 state_is held finished
judge() { # NAME TOTAL OPTIONS...
    local name=$1 total=$2
    shift 2
    "$BIN/tests/e2e/tuples" --total "$total" --keys 10 "$@" --versions "$WORK/versions" \
        main="$WORK/$name.main" side="$WORK/$name.side" >"$WORK/judge.out"
}
check "every tuple is there once and in order, but for the skipped one" \
    judge held $COUNT --except main=5000
check_same "which is a dead letter" \
    "$(grep -c '"pe":"first".*"error":"cannot do 5000".*seq' "$WORK/held.letters")" 1
check_same "the only one" "$(lines_in "$WORK/held.letters")" 1

topology given 20000 '{mode: error, at: 100, every: 4000}' '{retries: 1, then: dead-letter}'
verb "another one gives tuples up by itself" 0 deploy "$WORK/given.yaml"
check "it finishes" wait_for 90 state_is given finished
check "every tuple is there once, but for those given up" judge given 20000 \
    --except main=100 --except main=4100 --except main=8100 --except main=12100 --except main=16100
check_same "which are the dead letters" "$(lines_in "$WORK/given.letters")" 5
check_same "their number is told" "$(curl -sS "$URL/metrics" |
    sed -nE 's/^oxbow_pe_failed_total.*topology="given".*pe="first".*} ([0-9]+)$/\1/p')" 5
sed -i 's/use: .\/poison.so,/use: .\/poison.so, threads: own,/' "$WORK/given.yaml"
sed -e 's/^topology: given/topology: hangs/' -e "s#$WORK/given\.#$WORK/hangs.#" \
    -e 's/mode: error, at: 100, every: 4000/mode: hang, at: 100/' \
    -e 's/on_error: {[^}]*}/on_error: {stuck_after: 500ms}/' "$WORK/given.yaml" >"$WORK/hangs.yaml"
verb "a third one hangs" 0 deploy "$WORK/hangs.yaml"
check "which is found" wait_for 40 instance_is hangs stuck
check "and said" bash -c "'$BIN/oxbow' --master '$URL' status hangs | grep -q '^stuck: first'"
check "the metric too" bash -c "curl -sS '$URL/metrics' |
    grep -E '^oxbow_pe_stuck_seconds.*topology=\"hangs\".*pe=\"first\"' | grep -qv '} 0$'"
verb "a change that covers it is refused" 3 scale hangs first=2
check "and names it" grep -q 'first\[0\] is stuck' "$WORK/verb.err"
finish
