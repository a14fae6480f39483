#!/bin/bash
# tests/e2e/ended_code.sh - what was running when a change was prepared has said all it had by the
# time the change goes: code, parameters and place change all the same, once, and nothing is lost.
#
# A worker of its own, stopped by a signal, keeps the change from going until the source has ended.
source "$(dirname "$0")/lib.sh"

COUNT=20000
# topology NAME: in COUNT_NOW, RATE, EMIT, SHORT_ON, CHECKPOINT what changes.
topology() {
    cat >"$WORK/$1.yaml" <<YAML
oxbow: 1
topology: $1
${CHECKPOINT:-}
pes:
  short:
    use: sequence
    with: {count: ${COUNT_NOW:-$COUNT}, rate: ${RATE:-20000}, keys: 100}
    place: {labels: {name: ${SHORT_ON:-w1}}}
  tally: {use: count, with: {by: key, emit: ${EMIT:-each}}, place: {labels: {name: w1}}}
  store: {use: file-sink, with: {path: $WORK/$1.out, format: tsv}, place: {labels: {name: w1}}}
  other: {use: sequence, with: {rate: ${RATE:-20000}}, place: {labels: {name: w3}}}
  drop: {use: null-sink, place: {labels: {name: w3}}}
streams:
  - {from: short, to: tally, by: key}
  - {from: tally, to: store, by: key}
  - {from: other, to: drop}
YAML
}
said_all() { [ "$(pe_tuples "$1" short out)" -ge $COUNT ]; }
# pe_state NAME PE: states of its instances, each once
pe_state() {
    curl -sS -m 5 "$URL/v1/topologies/$1" | tr -d ' \n' | sed -E "s/.*\"name\":\"$2\",\"use\"//" |
        sed -E 's/"name":"[a-z]+","use".*//' | grep -oE '"state":"[a-z]+"' | sort -u | tr -d '\n'
}
has_ended() { [ "$(pe_state "$1" "$2")" = '"state":"ended"' ]; }
# deploys NAME: and its source has begun
deploys() {
    topology "$1"
    oxbow deploy "$WORK/$1.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
        give_up "$1: deploys" "$(tail -n1 "$WORK/deploy.err")"
    check "$1: it runs" wait_for 20 tuples_above "$1" short out 0
}
run() { timeout -k 5 60 "$BIN/oxbow" --master "$URL" "$@" >"$WORK/run.out" 2>"$WORK/run.err"; }
# change NAME: to what the variables say, prepared before the end of the source, made behind it
change() {
    local name=$1 upgrade
    topology "$name"
    kill -STOP "${WORKER_PID[w3]}"
    spawn upgrade timeout -k 5 60 "$BIN/oxbow" --master "$URL" -o json \
        upgrade "$WORK/$name.yaml" --yes
    upgrade=$LAST_PID
    wait_for 20 grep -q "w1 is ready" "$WORK/upgrade.err" ||
        give_up "$name: the first worker is ready" "$(tail -n1 "$WORK/upgrade.err")"
    check "$name: the source has said all it had" wait_for 20 said_all "$name"
    kill -CONT "${WORKER_PID[w3]}"
    wait "$upgrade"
    check_same "$name: the change is made" $? 0
    if grep -qE '"(lost|duplicated|reordered)": [^0]' "$WORK/upgrade.out"; then
        not_ok "$name: 0 lost, doubled, out of order" "$(tr -d '\n ' <"$WORK/upgrade.out")"
    fi
}
# ends NAME COUNT: everything has ended, and each tuple was counted once
ends() {
    check "$1: all that comes from it ends" wait_for 20 has_ended "$1" store
    local most
    most=$(cut -f2 "$WORK/$1.out" | sort -n | tail -n1)
    check_same "$1: each tuple was counted once" "$(lines_in "$WORK/$1.out") $most" \
        "$2 $(($2 / 100))"
    oxbow stop "$1" --now >/dev/null 2>&1
}

start_master
start_worker w1 --label name=w1
start_worker w2 --label name=w2
start_worker w3 --label name=w3

deploys source
RATE=40000 change source
ends source $COUNT

deploys longer
COUNT_NOW=30000 RATE=40000 change longer
ends longer 30000

deploys counter
RATE=40000 EMIT=final change counter
check "counter: all that comes from it ends" wait_for 20 has_ended counter store
oxbow stop counter --now >/dev/null 2>&1

deploys moved
SHORT_ON=w2 RATE=40000 change moved
ends moved $COUNT

# ---- a change that is given up: what waited for it ends all the same
deploys aborted
kill -STOP "${WORKER_PID[w3]}"
RATE=40000 topology aborted
run upgrade "$WORK/aborted.yaml" --yes --timeout 2
check "aborted: the change is not made" [ $? != 0 ]
kill -CONT "${WORKER_PID[w3]}"
ends aborted $COUNT

# ---- what has ended is changed, twice, with checkpoints before, between and behind
CHECKPOINT='checkpoint: {every: 100ms}'
deploys saved
RATE=40000 change saved
check "saved: it has ended" wait_for 20 has_ended saved store
for rate in 50000 60000; do
    EMIT=each
    [ $rate = 60000 ] && EMIT=final
    RATE=$rate EMIT=$EMIT topology saved
    run upgrade "$WORK/saved.yaml" --yes
    check_same "saved: what has ended is changed" $? 0
    run checkpoint saved
    check_same "saved: a checkpoint behind it" $? 0
done
kill -9 "${WORKER_PID[w1]}"
start_worker w1 --label name=w1
check "saved: its worker dies and comes back" wait_for 20 state_is saved running
run checkpoint saved
check_same "saved: a checkpoint behind that" $? 0
EMIT=
ends saved $COUNT
finish
