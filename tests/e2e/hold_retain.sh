#!/bin/bash
# tests/e2e/hold_retain.sh - a held PE whose worker dies; who feeds it retains what it has sent.
#
# numbers and a side branch on w2, first (holds) and its sink on w1.  w1 is killed while `first` is
# held: it is restored with the input that it keeps, numbers stays and sends its log again behind
# that.  The tuple is skipped, w1 killed once more: the skip has lasted.  The next one is repaired.
source "$(dirname "$0")/lib.sh"

COUNT=40000
cc -shared -fPIC "$HERE/poison.c" -I"$BIN/include" -o "$WORK/poison.so" ||
    give_up "the plug-in builds"
echo "main a=1; side b=1" >"$WORK/versions"
topology() { # MODE
    cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: t
pes:
  numbers: {use: sequence, with: {rate: 5000, keys: 10, count: $COUNT}, place: {labels: {n: "2"}}}
  first: {use: ./poison.so, with: {mode: $1, at: 4000, every: 12000}, on_error: {then: hold},
          place: {labels: {n: "1"}}}
  a: {use: set, with: {fields: {a: 1}}, place: {labels: {n: "1"}}}
  b: {use: set, with: {fields: {b: 1}}, place: {labels: {n: "2"}}}
  main: {use: file-sink, with: {path: $WORK/t.main}, place: {labels: {n: "1"}}}
  letters: {use: file-sink, with: {path: $WORK/t.letters}, place: {labels: {n: "1"}}}
  side: {use: file-sink, with: {path: $WORK/t.side}, place: {labels: {n: "2"}}}
streams:
  - {from: numbers, to: first}
  - {from: numbers, to: b}
  - {from: first, to: a}
  - {from: first.dead-letter, to: letters}
  - {from: a, to: main}
  - {from: b, to: side}
checkpoint: {every: 400ms, keep: 2, retain: 32MiB}
YAML
}
status_json() { curl -sS -m 5 "$URL/v1/topologies/t" | tr -d ' \n'; }
held_at() { status_json | grep -q "\"held\":{[^}]*\"tuple\":{\"seq\":$1,"; }
completed() { status_json | sed -nE 's/.*"completed":([0-9]+).*/\1/p'; }
more_completed() { [ "$(completed)" -gt "$1" ]; }
recovered() { status_json | grep -q "\"recoveries\":$1,"; }
ids() { # PE: of its instances
    status_json | sed 's/{"name":/\n/g' | sed -nE "s/^\"$1\",\"use\".*\"instances\":\[(.*)/\1/p" |
        grep -oE '"id":[0-9]+' | tr '\n' ' '
}
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

start_master
for w in 1 2; do start_worker w$w --label n=$w; done
topology error
verb "deploys" 0 deploy "$WORK/t.yaml"
check "a tuple is held" wait_for 40 held_at 4000
before=$(completed)
check "checkpoints go on, with the input it keeps" wait_for 30 more_completed "$before"
numbers=$(ids numbers)$(ids b)$(ids side)
lose 1
check_same "who feeds it has stayed" "$(ids numbers)$(ids b)$(ids side)" "$numbers"
check "it is held again" wait_for 40 held_at 4000
verb "it is skipped" 0 skip t first
check "which says from when on that lasts" grep -q '^this lasts once a checkpoint' "$WORK/verb.out"
check "the next one is held" wait_for 40 held_at 16000
before=$(completed)
check "a checkpoint later" wait_for 30 more_completed $((before + 1))
lose 2
check "the skip has lasted" wait_for 40 held_at 16000
topology none
verb "new code takes its place" 0 upgrade "$WORK/t.yaml" --yes
check "the topology finishes" wait_for 90 state_is t finished
check "every tuple is there once and in order, but for the skipped one" \
    "$BIN/tests/e2e/tuples" --total $COUNT --keys 10 --except main=4000 \
    --versions "$WORK/versions" main="$WORK/t.main" side="$WORK/t.side"
check_same "which is one dead letter" "$(lines_in "$WORK/t.letters")" 1
finish
