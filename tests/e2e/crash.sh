#!/bin/bash
# tests/e2e/crash.sh - a tuple on which a PE crashes its worker's process.
#
# numbers -> first (crashes on one tuple) -> a -> main, and numbers -> b -> side beside it.
# Somebody starts the worker again whenever it dies.  The PE and the signal are named; after a few
# crashes from one checkpoint the tuple is found, and on_error applies to it alone: held and
# repaired by an upgrade, given up as a dead letter, or the topology stops with that reason.
source "$(dirname "$0")/lib.sh"
ulimit -c 0

COUNT=20000
cc -shared -fPIC "$HERE/poison.c" -I"$BIN/include" -o "$WORK/poison.so" ||
    give_up "the plug-in builds"
echo "main a=1; side b=1" >"$WORK/versions"

# supervise NAME: a worker that is started again whenever it ends.
supervise() {
    while [ ! -e "$WORK/over" ]; do
        "$BIN/oxbow-worker" --master "$CONTROL" --name "$1" --data "$WORK/data.$1" &
        echo $! >"$WORK/$1.pid"
        wait $!
        echo died >>"$WORK/$1.deaths"
    done
}
end_worker() {
    touch "$WORK/over"
    kill -9 "$(cat "$WORK/w1.pid")" 2>/dev/null
    cleanup
}
trap end_worker EXIT

topology() { # NAME WITH ON_ERROR
    cat >"$WORK/$1.yaml" <<YAML
oxbow: 1
topology: $1
pes:
  numbers: {use: sequence, with: {rate: 10000, keys: 10, count: $COUNT}}
  first: {use: ./poison.so, with: $2, on_error: $3}
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
status_of() { curl -sS -m 5 "$URL/v1/topologies/$1" | tr -d '\n'; }
shows() { status_of "$1" | grep -qE "$2"; }
verb() { # NAME WANTED ARGS...
    local name=$1 wanted=$2
    shift 2
    timeout -k 5 60 "$BIN/oxbow" --master "$URL" "$@" >"$WORK/verb.out" 2>"$WORK/verb.err"
    check_same "$name" $? "$wanted"
}
# A checkpoint may be complete between two crashes: then there is a new one to crash from.
crashes_from_one() { # NAME: the most from one checkpoint, and those from the last one
    awk -v complete="checkpoint.complete topology=$1 " -v trouble="instance.trouble topology=$1 " '
        index($0, complete) { n = 0 }
        index($0, trouble) && /kind=crashed/ { n++; most = n > most ? n : most }
        END { print most + 0, n + 0 }' "$WORK/master.err"
}
judge() { # NAME OPTIONS...
    local name=$1
    shift
    "$BIN/tests/e2e/tuples" --total $COUNT --keys 10 "$@" --versions "$WORK/versions" \
        main="$WORK/$name.main" side="$WORK/$name.side" >"$WORK/judge.out"
}

start_master
: >"$WORK/w1.deaths"
spawn w1 supervise w1
SAID='PE first\[0\] crashed worker w1: signal 11 \([A-Za-z ]+\) in process\(\)'

topology hold '{mode: crash, at: 8000}' '{then: hold}'
verb "deploys" 0 deploy "$WORK/hold.yaml"
check "the tuple is found, and held" \
    wait_for 60 shows hold '"held": ?\{[^}]*"tuple": ?\{"seq": ?8000,'
check "with what it did" shows hold "\"held\": ?\{\"error\": ?\"$SAID"
check "the status counts" shows hold '"crashes": ?\[\{"pe": ?"first"'
read -r most _ < <(crashes_from_one hold)
check "it took no more than four deaths" test "$most" -ge 3 -a "$most" -le 4
deaths=$(lines_in "$WORK/w1.deaths")
curl -sS -m 5 "$URL/v1/topologies/hold/receipts" | tr -d '\n' >"$WORK/receipts"
check "receipts of the recoveries say why" grep -qE "\"cause\": ?\"$SAID" "$WORK/receipts"
verb "a checkpoint is taken all the same" 0 checkpoint hold --timeout 30
check "the other branch flows to its end" wait_for 40 lines_above "$WORK/hold.side" $((COUNT - 1))
kill -9 "$(cat "$WORK/w1.pid")"
check "killed by somebody else, it is recovered" \
    wait_for 60 shows hold "\"recoveries\": ?$((deaths + 1)),"
check "and held again" wait_for 30 shows hold '"held": ?\{[^}]*"tuple": ?\{"seq": ?8000,'
check_same "without another crash" "$(lines_in "$WORK/w1.deaths")" $((deaths + 1))
topology hold '{mode: none}' '{then: hold}'
verb "new code takes its place" 0 upgrade "$WORK/hold.yaml" --yes
check "the topology finishes" wait_for 90 state_is hold finished
check "every tuple is there once and in order" judge hold

topology given '{mode: crash, at: 8000}' '{then: dead-letter}'
verb "another one gives it up by itself" 0 deploy "$WORK/given.yaml"
check "it finishes" wait_for 90 state_is given finished
check "every tuple is there once, but for that one" judge given --except main=8000
check_same "which is a dead letter" "$(grep -cE "\"error\":\"$SAID.*\"seq\":8000" \
    <(sed 's/\\"/"/g' "$WORK/given.letters"))" 1
check_same "the only one" "$(lines_in "$WORK/given.letters")" 1

topology stops '{mode: crash, at: 8000}' '{then: stop}'
verb "a third one stops" 0 deploy "$WORK/stops.yaml"
check "it fails" wait_for 60 state_is stops failed
check "with that reason" shows stops "\"error\": ?\{\"message\": ?\"$SAID"
read -r _ last < <(crashes_from_one stops)
check_same "after three deaths" "$last" 3
finish
