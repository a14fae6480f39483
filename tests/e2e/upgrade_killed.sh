#!/bin/bash
# tests/e2e/upgrade_killed.sh - the master dies before and after each durable write and each message
# of an upgrade: exactly one of the two versions runs afterwards, the CLI says which, and no number
# is lost.
source "$(dirname "$0")/lib.sh"

start_cluster 2
topology() { # STEP: numbers -> two filters -> store, other parameters at each step
    echo "oxbow: 1" && echo "topology: killed" && echo "pes:"
    echo "  numbers: {use: sequence, with: {rate: 20000}}"
    echo "  work: {use: filter, parallelism: 2, with: {field: seq, ge: -$1}}"
    echo "  join: {use: union}"
    echo "  store: {use: file-sink, with: {path: $WORK/numbers, format: tsv, commit: flush}}"
    echo "streams:"
    echo "  - {from: numbers, to: work}"
    echo "  - {from: work, to: join}"
    echo "  - {from: join, to: store}"
}
version() {
    curl -sS -m 5 "$URL/v1/topologies/killed" |
        sed -nE 's/^[^[]*"version": ?([0-9]+).*/\1/p'
}
joined() { [ "$(curl -sS -m 5 "$URL/v1/workers" | grep -o '"state": *"up"' | wc -l)" = 2 ]; }
topology 0 >"$WORK/t.yaml"
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
check "numbers flow" wait_for 10 lines_above "$WORK/numbers" 2000

# killed_at POINT VERSION: die there; `old` or `new` runs afterwards.
step=0
killed_at() {
    local point=$1 wanted=$2 before after code
    step=$((step + 1))
    kill -TERM "$MASTER_PID" && wait "$MASTER_PID" 2>/dev/null
    OXBOW_FAILPOINTS=$point=kill${3:+@$3} start_master
    check "$point: both workers join" wait_for 15 joined
    before=$(version)
    topology $step >"$WORK/t.yaml"
    "$BIN/oxbow" --master "$URL" upgrade "$WORK/t.yaml" --yes >"$WORK/up.out" 2>"$WORK/up.err" &
    local up=$!
    wait "$MASTER_PID" 2>/dev/null
    check_same "$point${3:+@$3}: the master was killed" $? 137
    start_master
    wait $up
    code=$?
    check "$point: it runs" wait_for 15 state_is killed running
    after=$(version)
    if [ "$wanted" = new ]; then
        check "$point: the new version runs ($before, $after)" [ "$after" -gt "$before" ]
        check "$point: and the CLI says so (exit $code)" [ $code = 0 -o $code = 4 ]
    else
        check_same "$point: the old version runs" "$after" "$before"
        check "$point: and the CLI says so (exit $code)" [ $code = 1 -o $code = 4 ]
    fi
    check "$point: both workers join again" wait_for 15 joined
    oxbow upgrade "$WORK/t.yaml" --yes >"$WORK/again.out" 2>"$WORK/again.err"
    check_same "$point: the upgrade is done, or can be done now" $? 0
}
killed_at store.reserve.after old 2
killed_at store.plan.before old
killed_at store.plan.after old
killed_at send.prepare.before old
killed_at send.prepare.after old
killed_at send.prepare.after old 2
killed_at heard.ready.before old 2
killed_at store.decide.before old
killed_at store.decide.after new
killed_at send.go.after new
killed_at send.go.after new 2
killed_at heard.done.before new
killed_at heard.done.after new
killed_at store.receipt.before new
killed_at store.receipt.after new
killed_at store.state.before new
killed_at store.state.after new

timeout -k 5 30 "$BIN/oxbow" --master "$URL" stop killed >"$WORK/stop.out" 2>"$WORK/stop.err"
check_same "stop" $? 0
cut -f1 "$WORK/numbers" | sort -n >"$WORK/seen" # two ways lead to the file
check "every number once ($(lines_in "$WORK/seen"))" \
    cmp -s "$WORK/seen" <(seq 0 $(($(lines_in "$WORK/seen") - 1)))
finish
