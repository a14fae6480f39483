#!/bin/bash
# tests/e2e/recover_apart.sh - a branch that shares no stream with what was lost does not notice.
#
# Two branches in one topology: worker w2 holds a part of the first one, w3 a part of the second, w1
# of both.  w2 is killed.  The first branch is rolled back, exactly once; the second keeps its
# instances, and its file, written without commits, would show every number that comes again.
source "$(dirname "$0")/lib.sh"

KEYS=100
topology() { # PARALLELISM of the second branch
    cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: apart
pes:
  lost: {use: sequence, with: {rate: 20000, keys: $KEYS}, place: {labels: {n: "1"}}}
  lost-counts: {use: count, with: {by: [key]}, place: {labels: {n: "2"}}}
  lost-store: {use: file-sink, with: {path: $WORK/lost, format: tsv}, place: {labels: {n: "1"}}}
  kept: {use: sequence, with: {rate: 20000, keys: $KEYS}, place: {labels: {n: "1"}}}
  kept-counts: {use: count, parallelism: $1, with: {by: [key]}, place: {labels: {n: "3"}}}
  kept-store: {use: file-sink, with: {path: $WORK/kept, format: tsv, commit: flush},
               place: {labels: {n: "1"}}}
streams:
  - {from: lost, to: lost-counts, by: key}
  - {from: lost-counts, to: lost-store}
  - {from: kept, to: kept-counts, by: key}
  - {from: kept-counts, to: kept-store}
checkpoint: {every: 200ms, keep: 2, retain: 0}
YAML
}
ids() { # of the instances of PEs whose name begins with $1
    curl -sS -m 5 "$URL/v1/topologies/apart" | tr -d ' \n' | sed 's/{"name":/\n/g' |
        sed -nE "s/^\"$1[a-z-]*\",\"use\".*\"instances\":\[(.*)/\1/p" | grep -oE '"id":[0-9]+' |
        sort | tr '\n' ' '
}
grown() { [ "$(stat -c %s "$WORK/$1")" -gt "$2" ]; }
recoveries() {
    curl -sS -m 5 "$URL/metrics" | sed -nE 's/^oxbow_recoveries_total\{.*\} //p'
}
recovered() { [ "$(recoveries)" = "$1" ] && state_is apart running; }

# lose ROUND: w2 is killed and comes back.
lose() {
    local kept lost=
    kept=$(ids kept)
    lost=$(ids lost)
    kill -9 "${WORKER_PID[w2]}" && wait "${WORKER_PID[w2]}" 2>/dev/null
    check "round $1: the other branch flows on while the worker is away" \
        wait_for 10 grown kept $(($(stat -c %s "$WORK/kept") + 200000))
    start_worker w2 --label n=2
    check "round $1: it is recovered" wait_for 30 recovered "$1"
    check_same "round $1: the other branch has its instances" "$(ids kept)" "$kept"
    check "round $1: the lost branch has others" test "$(ids lost)" != "$lost"
    check "round $1: the lost branch flows" \
        wait_for 20 grown lost $(($(stat -c %s "$WORK/lost") + 200000))
    check "round $1: the other one, too" \
        wait_for 20 grown kept $(($(stat -c %s "$WORK/kept") + 200000))
    "$BIN/oxbow" --master "$URL" -o json receipt apart >"$WORK/receipt" 2>/dev/null
    check "round $1: the receipt speaks of three instances" \
        grep -q '"instances_touched": 3,' "$WORK/receipt"
    timeout -k 5 30 "$BIN/oxbow" --master "$URL" checkpoint apart >"$WORK/c.out" 2>"$WORK/c.err"
    check_same "round $1: both take checkpoints together again" $? 0
}

start_master
for w in 1 2 3; do start_worker w$w --label n=$w; done
topology 1
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
for f in lost kept; do
    check "$f flows" wait_for 30 lines_above "$WORK/$f" 10000
done
timeout -k 5 30 "$BIN/oxbow" --master "$URL" checkpoint apart >"$WORK/c.out" 2>"$WORK/c.err"
lose 1
lose 2
topology 2
timeout -k 5 60 "$BIN/oxbow" --master "$URL" -o json upgrade "$WORK/t.yaml" --yes \
    >"$WORK/receipt" 2>"$WORK/upgrade.err"
check_same "what stayed can be changed" $? 0
check "and loses nothing by it" \
    test "$(grep -cE '^  "(lost|duplicated|reordered)": 0,' "$WORK/receipt")" = 3
timeout -k 5 30 "$BIN/oxbow" --master "$URL" checkpoint apart >"$WORK/c.out" 2>"$WORK/c.err"
lose 3
timeout -k 5 30 "$BIN/oxbow" --master "$URL" stop apart >"$WORK/stop.out" 2>"$WORK/stop.err"
check_same "stop" $? 0
check "the lost branch: every count is there once and in order" \
    "$BIN/tests/e2e/countseq" "$WORK/lost" $KEYS 0
check "the other branch: every count is there once and in order" \
    "$BIN/tests/e2e/countseq" "$WORK/kept" $KEYS 0
finish
