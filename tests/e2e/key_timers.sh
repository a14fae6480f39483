#!/bin/bash
# tests/e2e/key_timers.sh - timers of keys are state: nobody who waits is forgotten or comes twice.
#
# Every tuple waits 2 s at `later`, in a timer of its own key.  Meanwhile `later` gets new code, is
# scaled up and down, moves to another worker, and its worker is killed.  In the end each tuple has
# come out once; what waited at a change or a death, too.
source "$(dirname "$0")/lib.sh"

RATE=2000
cc -shared -fPIC "$HERE/later.c" -I"$BIN/include" -o "$WORK/later.so" ||
    give_up "the plug-in builds"
topology() { # DELAY PARALLELISM WORKER
    cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: t
pes:
  numbers: {use: sequence, with: {rate: $RATE, keys: 100}, place: {labels: {n: "1"}}}
  later: {use: ./later.so, parallelism: $2, with: {delay: $1}, place: {labels: {n: "$3"}}}
  out: {use: file-sink, with: {path: $WORK/out, format: tsv}, place: {labels: {n: "1"}}}
streams:
  - {from: numbers, to: later, by: seq}
  - {from: later, to: out}
checkpoint: {every: 500ms}
YAML
}
status_json() { curl -sS -m 5 "$URL/v1/topologies/t" | tr -d ' \n'; }
recovered() { status_json | grep -q "\"recoveries\":$1,"; }
change() { # NAME DELAY PARALLELISM WORKER
    topology "$2" "$3" "$4"
    timeout -k 5 60 "$BIN/oxbow" --master "$URL" upgrade "$WORK/t.yaml" --yes >"$WORK/up.out" \
        2>"$WORK/up.err"
    check_same "$1" $? 0
    goes_on "$1: they go on coming"
}
holes() { # of those up to N: lines that are missing or come twice
    sort -n "$WORK/out" | awk -v n="$1" '$1 <= n {
        if ($1 != want++) bad++
        want = $1 + 1
    } END {print bad + (want != n + 1)}'
}
all_there() { [ -s "$WORK/out" ] && [ "$(holes "$1")" = 0 ]; }
goes_on() { # NAME: all that wait by now come
    check "$1" wait_for 40 all_there $(($(sort -n "$WORK/out" | tail -n1) + 3 * RATE))
}

start_master
for w in 1 2 3; do start_worker w$w --label n=$((w < 3 ? w : 2)); done
topology 2s 2 2
timeout -k 5 60 "$BIN/oxbow" --master "$URL" deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>&1
check_same "deploys" $? 0
check "some wait" wait_for 20 lines_above "$WORK/out" 1000
change "new code" 2500ms 2 2
change "scaled up" 2500ms 3 2
change "scaled down" 2500ms 1 2
change "moved to another worker" 2500ms 1 1
change "and back, with other code" 2s 2 2
for w in w2 w3; do
    kill -9 "${WORKER_PID[$w]}" && wait "${WORKER_PID[$w]}" 2>/dev/null
    start_worker $w --label n=2
done
check "both workers die and it is recovered" wait_for 40 recovered 1
goes_on "what waited comes all the same"
timeout -k 5 60 "$BIN/oxbow" --master "$URL" stop t --now >"$WORK/stop.out" 2>&1
check_same "nothing has come twice" "$(sort -n "$WORK/out" | uniq -d | wc -l)" 0
finish
